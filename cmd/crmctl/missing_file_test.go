package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// That a file is not there is said in words, with what may have been meant.
func TestMissingFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leads := filepath.Join(dir, "leads.csv")
	if err := os.WriteFile(leads, []byte("email\na@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := filepath.Join(dir, "nowhere")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"contacts", "inspect", filepath.Join(dir, "lead.csv")},
			filepath.Join(dir, "lead.csv") + ` does not exist; did you mean "` + leads + `"?`},
		{[]string{"contacts", "import", "nofile", "--tenant", "a"}, "nofile does not exist\n  looked for it in: /"},
		{[]string{"contacts", "import", filepath.Join(nowhere, "x"), "--tenant", "a"}, "there is no directory " + nowhere},
		{[]string{"backup", "restore", "nofile"}, "nofile does not exist\n"},
		{[]string{"backup", "verify", "nofile", "--restore=false"}, "crmctl: nofile does not exist\n"},
		{[]string{"backup", "list", "nodir"}, "nodir does not exist\n"},
		{[]string{"backup", "prune", "nodir", "--keep", "7d"}, "nodir does not exist\n"},
		{[]string{"tenant", "create", "--from", "nofile"}, "nofile does not exist\n"},
		{[]string{"tenant", "list", "--tenants-from", "nofile"}, "nofile does not exist\n"},
		{[]string{"tenant", "exec", "a", "-f", "nofile"}, "nofile does not exist\n"},
		{[]string{"tenant", "list", "--config", "nofile"}, "no configuration file nofile (--config)"},
		{[]string{"migrate", "plan", "--migrations-dir", nowhere}, "there is no directory " + nowhere + " with the migrations"},
		{[]string{"migrate", "lint", "--migrations-dir", nowhere}, "there is no directory " + nowhere + " with the migrations"},
		{[]string{"migrate", "plan", "--migrations-dir", dir}, "no migration files (like 00001_create_contacts.sql) in " + dir},
	} {
		b := newBench(t).setenv("DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
		code := b.run(tt.args...)
		if got := b.err.String(); code == cli.ExitOK || !strings.Contains(got, tt.want) || strings.Contains(got, "stat ") ||
			strings.Contains(got, "no such file") {
			t.Errorf("%v: exit code %d, want %q\n%s", tt.args, code, tt.want, got)
		}
	}
}

// A list shows the tenants where the migrations cannot be read; how many are pending is not
// known then, and nobody is called up to date.
func TestListWithoutMigrations(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 3), "acme")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "00001_x.sql"), []byte("-- +goose Up\ncommit;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout, stderr string, code int) {
		b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
		code = b.run(append(args, "--migrations-dir", dir)...)
		return b.out.String(), b.err.String(), code
	}
	const unknown = "crmctl: warning: how many migrations are pending is not known: "
	for _, args := range [][]string{{"tenant", "list"}, {"tenant", "show", "acme"}} {
		out, errs, code := run(args...)
		if code != cli.ExitOK || !strings.Contains(out, "acme") || strings.Contains(out, "newest") ||
			!strings.Contains(strings.Join(strings.Fields(errs), " ")+" ", unknown) || !strings.Contains(errs, "00001_x.sql") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
		if out, _, code = run(append(args, "-o", "json")...); code != cli.ExitOK || !strings.Contains(out, `"behind": null`) {
			t.Errorf("%v -o json: exit code %d\n%s", args, code, out)
		}
	}
	if out, errs, code := run("tenant", "list", "--behind"); code != cli.ExitUsage || strings.Contains(errs, unknown) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// To migrate is advised where it helps, not where the application has no contacts at all.
func TestNoContactsAtAll(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	dir := t.TempDir()
	write := func(name, sql string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("-- +goose Up\n"+sql+";\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, int) {
		b := newBench(t).setenv("DATABASE_URL="+f.DSN, "CRMCTL_MIGRATIONS_DIR="+dir)
		code := b.run(args...)
		return b.err.String(), code
	}
	write("00001_orders.sql", "create table orders (id uuid primary key)")
	if errs, code := run("tenant", "create", "acme"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	list := []string{"contacts", "list", "--tenant", "acme"}
	errs, code := run(list...)
	if code != cli.ExitFailure || !strings.Contains(errs, "crmctl: table tenant_acme.contacts is not there\n"+
		"  all its migrations are applied; for its own tables: crmctl tenant exec acme -c SQL\n") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	write("00002_contacts.sql", "create table contacts (id uuid primary key)")
	if errs, code = run(list...); code != cli.ExitFailure || !strings.Contains(errs, "bring it up to date: crmctl migrate tenant acme") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}
