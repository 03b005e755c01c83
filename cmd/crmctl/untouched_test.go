package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// databasePicture returns everything that stands in a database and could be changed:
// every row of every table with the transaction that wrote it, every sequence,
// relation, function, type, constraint and right, and the roles of the server.
func databasePicture(t *testing.T, dsn string) []string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	lines := func(sql string) []string {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		out, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return out
	}
	const ours = `n.nspname !~ '^pg_(toast|temp|catalog)' and n.nspname <> 'information_schema'`
	var picture []string
	for _, sql := range []string{
		`select concat_ws(' ', 'schema', n.oid, n.nspname, n.nspowner, n.nspacl) from pg_namespace n where ` + ours,
		`select concat_ws(' ', 'relation', n.nspname, c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relfilenode)
			from pg_class c join pg_namespace n on n.oid = c.relnamespace where ` + ours,
		`select concat_ws(' ', 'column', a.attrelid, a.attnum, a.attname, a.atttypid, a.attnotnull, a.attacl)
			from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
				where ` + ours,
		`select concat_ws(' ', 'function', n.nspname, p.oid, p.proname, p.proowner, p.proacl, md5(p.prosrc)) from pg_proc p
			join pg_namespace n on n.oid = p.pronamespace where ` + ours,
		`select concat_ws(' ', 'constraint', k.oid, k.conname, k.conrelid) from pg_constraint k
			join pg_namespace n on n.oid = k.connamespace where ` + ours,
		`select concat_ws(' ', 'type', t.oid, t.typname, t.typowner) from pg_type t
			join pg_namespace n on n.oid = t.typnamespace where ` + ours,
		`select concat_ws(' ', 'sequence', schemaname, sequencename, last_value) from pg_sequences`,
		`select concat_ws(' ', 'role', r.oid, r.rolname, r.rolsuper, r.rolcanlogin, r.rolcreaterole) from pg_roles r`,
		`select concat_ws(' ', 'member', m.roleid, m.member) from pg_auth_members m`,
		`select concat_ws(' ', 'database', d.oid, d.datname, d.datacl) from pg_database d`,
		`select concat_ws(' ', 'setting', s.setdatabase, s.setrole, s.setconfig) from pg_db_role_setting s`,
		`select concat_ws(' ', 'extension', e.oid, e.extname, e.extversion) from pg_extension e`,
		`select concat_ws(' ', 'large object', l.oid) from pg_largeobject_metadata l`,
	} {
		picture = append(picture, lines(sql)...)
	}
	tables := lines(`select format('%I.%I', n.nspname, c.relname) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm') and ` + ours)
	for _, table := range tables {
		picture = append(picture, lines("select concat_ws(' ', 'row', '"+table+"', t.xmin, t::text) from "+table+" t")...)
	}
	slices.Sort(picture)
	return picture
}

// filesPicture returns every file below some directories, with its content, mode and
// time of change.
func filesPicture(t *testing.T, dirs ...string) []string {
	t.Helper()
	var picture []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			line := fmt.Sprintf("file %s %s %s", path, info.Mode(), info.ModTime())
			if info.Mode().IsRegular() {
				content, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %x", sha256.Sum256(content))
			}
			picture = append(picture, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return picture
}

// differences returns what is in one picture and not in the other.
func differences(before, after []string) []string {
	was, is := map[string]bool{}, map[string]bool{}
	for _, line := range before {
		was[line] = true
	}
	var out []string
	for _, line := range after {
		if is[line] = true; !was[line] {
			out = append(out, "+ "+line)
		}
	}
	for _, line := range before {
		if !is[line] {
			out = append(out, "- "+line)
		}
	}
	return out[:min(len(out), 20)]
}

// careless is the place of a user whose environment, profiles and files all lead to a
// database with tenants, one of them deleted and overdue.
type careless struct {
	dir, home string
	dsn       string
	env       []string // without anything that leads anywhere
}

func newCareless(t *testing.T) *careless {
	t.Helper()
	server, _ := pgtest.Instance(t, nil)
	dir := t.TempDir()
	c := &careless{dir: filepath.Join(dir, "work"), home: filepath.Join(dir, "home"), dsn: server.DSN}
	for _, d := range []string{c.dir, filepath.Join(c.home, ".config", "crmctl", "profiles.d"),
		filepath.Join(dir, "migrations")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.home, "LANG=C.UTF-8", "GORACE=" + noSleep,
		"CRMCTL_PG_BIN=" + os.Getenv("CRMCTL_PG_BIN"),
	}
	for _, args := range []string{
		"migrate public", "tenant create acme-corp globex keep gone whole", "seed --tenant keep --contacts 20",
		"tenant suspend keep", "tenant delete gone --retention 0s --confirm gone",
	} {
		if out, err := c.run(t, []string{"DATABASE_URL=" + c.dsn}, strings.Fields(args)...); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	return c
}

// run runs the program with more environment.
func (c *careless) run(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "crmctl", args...)
	cmd.Dir, cmd.Env = c.dir, append(slices.Clone(c.env), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (c *careless) write(t *testing.T, path, text string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.home, path)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plantFiles writes every file that names a database.
func (c *careless) plantFiles(t *testing.T) {
	t.Helper()
	cfg, err := pgx.ParseConfig(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	yaml := "database_url: '" + c.dsn + "'\nretention: 0s\noutput: json\ntenant_roles: true\nprofile: " +
		"victim\nprofiles:\n  victim:\n    database_url: '" + c.dsn + "'\n  local:\n    database_url: '" + c.dsn + "'\n"
	c.write(t, filepath.Join(c.dir, "crmctl.yaml"), yaml)
	c.write(t, ".config/crmctl/crmctl.yaml", yaml)
	c.write(t, ".config/crmctl/profiles.d/local.yaml", "database_url: '"+c.dsn+"'\n")
	c.write(t, ".pg_service.conf", fmt.Sprintf("[victim]\nhost=%s\nport=%d\nuser=%s\ndbname=%s\n", cfg.Host, cfg.Port,
		cfg.User, cfg.Database))
	c.write(t, ".pgpass", "*:*:*:*:secret\n")
}

// hostileVariables sets every variable that crmctl knows to something that would
// change what a command does.
func (c *careless) hostileVariables() []string {
	known := map[string]string{
		"CRMCTL_CONFIG":              filepath.Join(c.home, ".config/crmctl/crmctl.yaml"),
		"CRMCTL_DATABASE_URL":        c.dsn,
		"CRMCTL_DIRECT_DATABASE_URL": c.dsn,
		"CRMCTL_PROFILE":             "victim",
		"CRMCTL_MIGRATIONS_DIR":      filepath.Join(filepath.Dir(c.home), "migrations"),
		"CRMCTL_CONCURRENCY":         "1",
		"CRMCTL_LOCK_TIMEOUT":        "1ms",
		"CRMCTL_STATEMENT_TIMEOUT":   "1ms",
		"CRMCTL_TIMEOUT":             "1h", // of the demo as a whole
		"CRMCTL_RETENTION":           "0s",
		"CRMCTL_TENANT_ROLES":        "true",
		"CRMCTL_OUTPUT":              "json",
		"CRMCTL_COLOR":               "always",
		"CRMCTL_UTC":                 "true",
		"CRMCTL_DRY_RUN":             "false",                    // the demo is to run
		"CRMCTL_PG_BIN":              os.Getenv("CRMCTL_PG_BIN"), // where the programs are
	}
	env := []string{"DATABASE_URL=" + c.dsn}
	for _, v := range config.Variables() {
		value, ok := known[v.Name]
		if !ok {
			value = "hostile"
		}
		env = append(env, v.Name+"="+value)
	}
	return env
}

// libpqVariables sets every variable that libpq or pgx knows.
func (c *careless) libpqVariables(t *testing.T) []string {
	t.Helper()
	cfg, err := pgx.ParseConfig(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"PGHOST=" + cfg.Host, "PGHOSTADDR=127.0.0.1", fmt.Sprintf("PGPORT=%d", cfg.Port), "PGDATABASE=" + cfg.Database,
		"PGUSER=" + cfg.User,
		"PGPASSWORD=secret", "PGPASSFILE=" + filepath.Join(c.home, ".pgpass"), "PGSERVICE=victim", "PGSERVICEFILE=" +
			filepath.Join(c.home, ".pg_service.conf"),
		"PGOPTIONS=-c default_transaction_read_only=on -c statement_timeout=1 -c search_path=evil", "PGAPPNAME=evil",
		"PGTZ=nowhere", "PGCONNECT_TIMEOUT=never",
		"PGSSLMODE=verify-full", "PGSSLCERT=/nowhere", "PGSSLKEY=/nowhere", "PGSSLROOTCERT=/nowhere", "PGSSLCERTMODE=require",
		"PGSSLNEGOTIATION=direct",
		"PGREQUIRESSL=1", "PGREQUIREAUTH=scram-sha-256", "PGCHANNELBINDING=require", "PGTARGETSESSIONATTRS=standby",
		"PGMINPROTOCOLVERSION=9.9", "PGMAXPROTOCOLVERSION=1.0",
		"PGKRBSRVNAME=evil", "PGGSSENCMODE=require", "PGDATA=/nowhere", "PGSYSCONFDIR=" + c.home,
		"PGCLIENTENCODING=SQL_ASCII", "PGDATESTYLE=German",
	}
}

// The demo works on its own server, whatever is set.
func TestDemoTouchesNothing(t *testing.T) {
	t.Parallel()
	c := newCareless(t)
	c.plantFiles(t)
	summary := c.write(t, "summary.md", "mine\n")
	garbage := []string{}
	for _, v := range config.Variables() {
		if v.Name != "CRMCTL_PG_BIN" && v.Name != "CRMCTL_DRY_RUN" {
			garbage = append(garbage, v.Name+"=no such thing")
		}
	}
	before := append(databasePicture(t, c.dsn), filesPicture(t, c.dir, c.home)...)
	for name, env := range map[string][]string{
		"every variable":          append(c.hostileVariables(), "GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY="+summary),
		"every variable, garbage": append(garbage, "DATABASE_URL="+c.dsn),
		"libpq":                   c.libpqVariables(t),
		"libpq, no such service":  {"PGSERVICE=nothing", "PGSERVICEFILE=/nowhere", "PGSSLCERTMODE="},
		"files alone":             nil,
	} {
		out, err := c.run(t, env, "demo", "--tenants", "5")
		if err != nil || !strings.Contains(out, "\ndone in ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if strings.Contains(out, "\n{") || !strings.Contains(out, "acme-corp     tenant_acme_corp     version 3") {
			t.Errorf("%s: the answers are not the demo's own:\n%s", name, out)
		}
		if diff := differences(before, append(databasePicture(t, c.dsn), filesPicture(t, c.dir, c.home)...)); len(diff) > 0 {
			t.Fatalf("%s: the user's own was touched:\n%s", name, strings.Join(diff, "\n"))
		}
	}
	// A place for all users cannot be planted in /etc here, but in a run within the process.
	b := newBench(t).setenv("DATABASE_URL="+c.dsn, "CRMCTL_PG_BIN="+os.Getenv("CRMCTL_PG_BIN"))
	b.SystemDir = filepath.Join(c.home, ".config")
	if code := b.run("demo", "--tenants", "3"); code != cli.ExitOK {
		t.Errorf("with a file for all users: exit code %d: %s", code, b.err)
	}
	if diff := differences(before, append(databasePicture(t, c.dsn), filesPicture(t, c.dir, c.home)...)); len(diff) > 0 {
		t.Fatalf("a file for all users: the user's own was touched:\n%s", strings.Join(diff, "\n"))
	}
}

// What would send the demo elsewhere is refused, not ignored.
func TestDemoRefusesADatabase(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--database-url=postgres://h/db", "--profile=prod", "--config=x", "--migrations-dir=x"} {
		b := newBench(t)
		if code := b.run("demo", flag); code != cli.ExitUsage {
			t.Errorf("%s: exit code %d: %s", flag, code, b.err)
		}
	}
}

// A profile of the user's own called "local" wins over the one that crmctl local start
// writes, so nobody may be told to use that name.
func TestLocalProfileIsNotSomebodyElses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	local := (&localOptions{}).local(b.factory(t))
	if origin := local.ShadowedBy("postgres:///mine"); origin != "" {
		t.Errorf("without another profile: %q", origin)
	}
	if _, err := config.WriteProfile(b.Env, "local", "postgres:///mine"); err != nil {
		t.Fatal(err)
	}
	if origin := local.ShadowedBy("postgres:///mine"); origin != "" {
		t.Errorf("with the written one: %q", origin)
	}
	path := filepath.Join(b.dir, "xdg", "crmctl", "crmctl.yaml")
	if err := os.WriteFile(path, []byte("profiles: {local: {database_url: postgres:///theirs}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if origin := local.ShadowedBy("postgres:///mine"); !strings.Contains(origin, path) {
		t.Errorf("with another of that name: %q, want %s", origin, path)
	}
}
