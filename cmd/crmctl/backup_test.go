package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// crmctl runs the program on a fleet's database and returns its exit code and what it
// printed.
func crmctl(t *testing.T, f *fleettest.Fleet, args ...string) (code int, out string) {
	t.Helper()
	cmd := program(t, f, args...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func ok(t *testing.T, f *fleettest.Fleet, args ...string) string {
	t.Helper()
	code, out := crmctl(t, f, args...)
	if code != cli.ExitOK {
		t.Fatalf("crmctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// one returns the only file that matches.
func one(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files[0]
}

// TestEverythingComesBack saves the registry and every tenant, and brings them back
// into a new database: nothing but the pool is missing, and doctor is content.
func TestEverythingComesBack(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "revoke create on schema public from public")
	ok(t, f, "tenant", "create", "acme", "globex", "-q")
	f.Exec(t, "insert into tenant_acme.contacts (name) values ('Ada')")
	ok(t, f, "tenant", "suspend", "globex", "--yes")
	dir := t.TempDir()
	ok(t, f, "backup", "create", "--all", "--registry", "--dir", dir)
	const events = "select string_agg(e::text, '|' order by seq) from public.tenant_events e where action not in " +
		"('backup', 'restore')"
	var want, got string
	f.Scan(t, []any{&want}, events)

	other := &fleettest.Fleet{DSN: pgtest.Empty(t)}
	saved := one(t, filepath.Join(dir, "_registry-*.crmctl"))
	if code, out := crmctl(t, other, "backup", "restore", saved); code != cli.ExitFailure ||
		!strings.Contains(out, "crmctl migrate public") {
		t.Errorf("without a registry: exit code %d\n%s", code, out)
	}
	ok(t, other, "migrate", "public")
	other.Exec(t, "revoke create on schema public from public")
	ok(t, other, "backup", "restore", saved)
	other.Scan(t, []any{&got}, events)
	if got != want {
		t.Errorf("the audit is\n%s\nwant\n%s", got, want)
	}
	if code, out := crmctl(t, other, "backup", "restore", saved); code != cli.ExitFailure ||
		!strings.Contains(out, "the registry has tenants") {
		t.Errorf("over tenants: exit code %d\n%s", code, out)
	}
	if code, out := crmctl(t, other, "doctor", "--check", "ghost-row", "-q"); code != cli.ExitPending ||
		out != "acme\nglobex\n" {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	for _, slug := range []string{"acme", "globex"} {
		file := one(t, filepath.Join(dir, slug+"-*.crmctl"))
		if out := ok(t, other, "backup", "restore", file, "--dry-run"); !strings.Contains(out,
			"\nwould restore\t"+slug+"\t") {
			t.Error(out)
		}
		ok(t, other, "backup", "restore", file)
		if code, out := crmctl(t, other, "backup", "restore", file, "--dry-run"); code != cli.ExitFailure ||
			!strings.Contains(out, "exists already") {
			t.Errorf("again: exit code %d\n%s", code, out)
		}
	}
	ok(t, other, "doctor", "--skip", "connections,locks,autovacuum")
	if n := other.Int(t, "select count(*) from tenant_acme.contacts where name = 'Ada'"); n != 1 {
		t.Errorf("%d contacts", n)
	}
	if n := other.Int(t, "select count(*) from public.tenants where slug = 'globex' and status = 'suspended'"); n != 1 {
		t.Error("globex is not suspended any more")
	}

	// The audit of a purged tenant stands in the way of another registry.
	other.Exec(t, "drop schema tenant_acme cascade", "drop schema tenant_globex cascade", "delete from public.tenants")
	if code, out := crmctl(t, other, "backup", "restore", saved); code != cli.ExitFailure ||
		!strings.Contains(out, "never emptied") {
		t.Errorf("over an audit: exit code %d\n%s", code, out)
	}
}

// TestRegistryBackupLeavesThePoolOut: a pool belongs to its database.
func TestRegistryBackupLeavesThePoolOut(t *testing.T) {
	t.Parallel()
	tables := registry.Tables()
	f := fleettest.New(t)
	if !slices.Contains(tables, "tenant_pool") || !slices.Contains(tables, "tenant_shapes") {
		t.Fatalf("the tables of the registry are %v: the test shows nothing", tables)
	}
	dir := t.TempDir()
	ok(t, f, "backup", "create", "--registry", "--dir", dir)
	data, err := os.ReadFile(one(t, filepath.Join(dir, "_registry-*.crmctl")))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"tenant_events"`) || strings.Contains(string(data), `"tenant_pool"`) ||
		strings.Contains(string(data), `"tenant_shapes"`) {
		t.Error("the manifest names the pool, or nothing")
	}
}

// TestRolesOfMadeTenants: the flag wins over the configuration, which wins over the
// data.
func TestRolesOfMadeTenants(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	slug := strings.TrimPrefix(database, "crmctl_test_")
	has := func(name string) bool {
		t.Helper()
		return f.Int(t, "select count(*) from public.tenants t join pg_roles r on r.rolname = t.role_name and r.rolname = "+
			"t.schema_name where slug = $1", name) == 1
	}
	t.Cleanup(func() {
		f.Exec(t, `do $$ declare r text; begin for r in select role_name from public.tenants where role_name is not null loop
			execute format('drop owned by %I', r); execute format('drop role %I', r); end loop; end $$`)
	})
	ok(t, f, "tenant", "create", slug+"-roled", "--role", "-q")
	ok(t, f, "tenant", "create", slug+"-plain", "-q")
	dir := t.TempDir()
	ok(t, f, "backup", "create", "--all", "--dir", dir)
	for i, c := range []struct {
		source string
		args   []string
		env    string
		want   bool
	}{
		{"roled", nil, "", true},
		{"roled", []string{"--role=false"}, "", false},
		{"roled", []string{"--role=false"}, "true", false},
		{"plain", nil, "", false},
		{"plain", nil, "true", true},
		{"plain", []string{"--role"}, "false", true},
	} {
		made := []string{slug + "-restored" + string(rune('a'+i)), slug + "-cloned" + string(rune('a'+i))}
		for k, args := range [][]string{
			{"backup", "restore", one(t, filepath.Join(dir, slug+"-"+c.source+"-*.crmctl")), "--as", made[0]},
			{"tenant", "clone", slug + "-" + c.source, made[1]},
		} {
			cmd := program(t, f, append(args, c.args...)...)
			if c.env != "" {
				cmd.Env = append(cmd.Env, "CRMCTL_TENANT_ROLES="+c.env)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			if got := has(made[k]); got != c.want {
				t.Errorf("%v %v, tenant_roles %q: a role is %v, want %v", args, c.args, c.env, got, c.want)
			}
		}
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where action in ('restore', 'clone') and program like "+
		"'crmctl %' and actor like '%@%' and os_user <> '' and after ->> 'slug' = slug"); n != 12 {
		t.Errorf("%d rows of the audit with actor and program, want 12", n)
	}
	for _, action := range []string{"backup", "restore", "clone"} {
		if out := ok(t, f, "audit", "list", "--action", action, "-o", "csv"); !strings.Contains(out, ","+action+",") {
			t.Errorf("audit list --action %s:\n%s", action, out)
		}
	}
	f.Exec(t, `create role "tenant_`+slug+`_taken" nologin`)
	t.Cleanup(func() { f.Exec(t, `drop role "tenant_`+slug+`_taken"`) })
	code, out := crmctl(t, f, "tenant", "clone", slug+"-roled", slug+"-taken")
	if code != cli.ExitFailure || !strings.Contains(out, "exists already, and roles belong to the whole cluster") ||
		!strings.Contains(out, "--role=false") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestBackupWhereNothingCanBeWritten: backups are taken, with a
// word about the audit, and what has to write says why it cannot.
func TestBackupWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	ok(t, f, "tenant", "create", "acme", "-q")
	still := &fleettest.Fleet{DSN: f.DSN + "&default_transaction_read_only=on"}
	dir := t.TempDir()
	out := ok(t, still, "backup", "create", "--all", "--registry", "--dir", dir)
	if !strings.Contains(out, "saved\tacme") || !strings.Contains(out, "the audit does not tell of these backups") {
		t.Error(out)
	}
	file := one(t, filepath.Join(dir, "acme-*.crmctl"))
	ok(t, still, "backup", "verify", file)
	ok(t, still, "backup", "restore", file, "--as", "again", "--dry-run")
	for _, args := range [][]string{{"backup", "restore", file, "--as", "again"}, {"tenant", "clone", "acme", "again"}} {
		if code, out := crmctl(t, still, args...); code != cli.ExitFailure ||
			!strings.Contains(out, "no replica; default_transaction_read_only is on: set for the client") ||
			!strings.Contains(out, "25006") {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where action <> 'create'"); n != 0 {
		t.Errorf("%d events", n)
	}
}
