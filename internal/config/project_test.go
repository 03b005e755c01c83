package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/config"
)

// The file of the working directory names no program: not by itself, not in a profile.
func TestProjectFileNamesNoProgram(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"pg_bin: ./evil\n", "profile: p\nprofiles: {p: {pg_bin: /evil}}\n"} {
		w := newWorld(t)
		path := w.write(projectFile, text)
		c := w.mustLoad()
		if c.PGBin != "" || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], path) ||
			!strings.Contains(c.Warnings[0], "CRMCTL_PG_BIN") {
			t.Errorf("%q: pg_bin %q, warnings %q", text, c.PGBin, c.Warnings)
		}
		w.write(userFile, "pg_bin: /mine\n")
		if c := w.mustLoad(); c.PGBin != "/mine" {
			t.Errorf("%q: the user's own: %q", text, c.PGBin)
		}
	}
	w := newWorld(t)
	w.flags["config"] = w.write(projectFile, "pg_bin: /named\n")
	if c := w.mustLoad(); c.PGBin != "/named" || len(c.Warnings) != 0 {
		t.Errorf("named by --config: %q, %q", c.PGBin, c.Warnings)
	}
}

// What a planted address could do beside leading somewhere is refused by name.
func TestProjectFileAddresses(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://app@db/crm", "postgres://app@db1:5432,db2:5433/crm?target_session_attrs=read-write&sslmode=verify-full",
		"host=db dbname=crm user='a b' options='-c search_path=x -cstatement_timeout=5s --lock-timeout=1'",
		"service=crm-prod", "postgres://db/crm?options=endpoint%3Dcool-name", "postgres:///crm?host=/run/postgresql", "",
	} {
		w := newWorld(t)
		w.write(projectFile, "database_url: \""+dsn+"\"\n")
		if _, err := w.load(); err != nil {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	for _, dsn := range []string{
		"postgres://db/crm?passfile=/home/me/.pgpass", "postgres://db/crm?%70assfile=x", "host=db passfile=x",
		"host = db PASSFILE = 'x'",
		"postgres://db/crm?servicefile=x&service=y", "host=db sslkey=engine:evil", "host=db sslcert=x",
		"host=db sslkeylogfile=x", "host=db gssdelegation=1",
		"host=db require_auth=password", "host=db krbsrvname=x", "host=db session_preload_libraries=/tmp/x.so",
		"postgres://db/crm?local_preload_libraries=x",
		"host=db options='-c session_preload_libraries=/tmp/x'", "host=db options='--session-preload-libraries=x'",
		"postgres://db/crm?options=-c%20session_preload_libraries%3Dx",
		"host=db options=-csession_preload_libraries=x", "host=db options='-f x'", "host=db oauth_issuer=x", "nonsense",
		"host=db 'passfile'",
		`host=db\ passfile=x sslkey=y`, "host='a\\' b' sslkey=y",
	} {
		for _, text := range []string{"database_url: ", "direct_database_url: ", "profiles:\n  p:\n    database_url: "} {
			w := newWorld(t)
			path := w.write(projectFile, text+"'"+strings.ReplaceAll(dsn, "'", "''")+"'\n")
			if _, err := w.load(); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s%s: %v", text, dsn, err)
			}
			w.flags["config"] = path
			if _, err := w.load(); err != nil {
				t.Errorf("named by --config: %s%s: %v", text, dsn, err)
			}
		}
	}
}

// The user's own profiles and guards are not undone by a file of the directory.
func TestProjectFileUndoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(userFile, "dry_run: true\nexpect_database: crm\nprofiles: {prod: {database_url: 'postgres://mine/crm', "+
		"protected: true}}\n")
	planted := w.write(projectFile, "dry_run: false\nexpect_database: other\nprofiles: {prod: {database_url: "+
		"'postgres://planted/crm'}}\n")
	w.env = append(w.env, "CRMCTL_PROFILE=prod")
	c := w.mustLoad()
	if !c.DryRun || c.ExpectDatabase != "crm" || !c.Protected || string(c.DatabaseURL) != "postgres://mine/crm" ||
		c.DatabaseFromProject() {
		t.Errorf("dry run %v, expects %q, protected %v, %s", c.DryRun, c.ExpectDatabase, c.Protected, c.DatabaseURL)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], planted) {
		t.Errorf("warnings %q", c.Warnings)
	}
	// The one that crmctl local start wrote, too.
	w = newWorld(t)
	if _, err := config.WriteProfile(w.env, "local", "postgres:///local"); err != nil {
		t.Fatal(err)
	}
	w.write(projectFile, "profiles: {local: {database_url: 'postgres://planted/crm'}}\n")
	w.flags["profile"] = "local"
	if c := w.mustLoad(); string(c.DatabaseURL) != "postgres:///local" {
		t.Errorf("local is %s", c.DatabaseURL)
	}
	// By itself the project's file says what it is there for.
	w = newWorld(t)
	w.write(projectFile, "dry_run: true\nexpect_database: crm\nmigrations_dir: db\nprofile: dev\nprofiles: {dev: "+
		"{database_url: 'postgres://dev/crm'}}\n")
	if c := w.mustLoad(); !c.DryRun || c.ExpectDatabase != "crm" || string(c.DatabaseURL) != "postgres://dev/crm" ||
		!c.DatabaseFromProject() {
		t.Errorf("dry run %v, expects %q, %s", c.DryRun, c.ExpectDatabase, c.DatabaseURL)
	}
}
