package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestKilledBuildsAreTakenUp kills, the hard way, whatever builds a schema in several
// transactions while it is at that: no tenant is there, the same command works again, and
// doctor clears away what no later command meets by its name.
func TestKilledBuildsAreTakenUp(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create table public.naps (seconds float)", "create function public.nap() returns void language sql as "+
		"'select pg_catalog.pg_sleep(coalesce((select max(seconds) from public.naps), 0))'")
	dir, saved := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"1_a.sql": "create type st as enum ('open');\ncreate table deals (s st);",
		"2_b.sql": "alter type st add value 'won';",
		"3_c.sql": "insert into deals values ('won');\nselect public.nap();",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("-- +goose Up\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crmctl := func(want int, args ...string) {
		t.Helper()
		cmd := program(t, f, append(args, "--migrations-dir", dir)...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: exit code %d, want %d\n%s", args, got, want, out)
		}
	}
	crmctl(cli.ExitOK, "tenant", "create", "acme", "gone")
	crmctl(cli.ExitOK, "backup", "create", "acme", "gone", "--dir", saved)
	crmctl(cli.ExitOK, "tenant", "delete", "gone", "--confirm", "gone")
	files := map[string]string{}
	for _, name := range []string{"acme", "gone"} {
		found, err := filepath.Glob(filepath.Join(saved, name+"-*"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		files[name] = found[0]
	}
	for _, c := range []struct {
		args  []string
		again int
	}{
		{[]string{"tenant", "create", "fresh"}, cli.ExitOK},
		{[]string{"tenant", "clone", "acme", "copy"}, cli.ExitOK},
		{[]string{"backup", "restore", files["acme"], "--as", "back"}, cli.ExitOK},
		{[]string{"backup", "restore", files["gone"]}, cli.ExitOK},
		{[]string{"migrate", "drift"}, cli.ExitOK},
	} {
		before := f.Int(t, "select count(*) from public.tenants")
		f.Exec(t, "insert into public.naps values (600)")
		cmd := program(t, f, append(c.args, "--migrations-dir", dir)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		const asleep = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
		for end := time.Now().Add(30 * time.Second); f.Int(t, asleep) == 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%v: it does not come to its last file", c.args)
			}
		}
		f.Exec(t, "delete from public.naps")
		if c.args[1] == "create" {
			crmctl(cli.ExitLocked, append(c.args, "--lock-timeout", "100ms")...)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		cut(t, f)
		settle(t, f)
		if n := f.Int(t, "select count(*) from public.tenants"); n != before ||
			f.Int(t, "select count(*) from public.tenant_builds") != 1 {
			t.Errorf("%v: %d tenants, want %d, and one build", c.args, n, before)
		}
		crmctl(c.again, c.args...)
		if f.Int(t, "select count(*) from public.tenant_builds") > 0 {
			crmctl(cli.ExitPending, "doctor", "--check", "half-built")
			crmctl(cli.ExitOK, "doctor", "--fix", "half-built", "--yes")
		}
		if n := f.Int(t, "select count(*) from public.tenant_builds"); n != 0 {
			t.Errorf("%v: %d builds are left", c.args, n)
		}
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)' and not "+
		"exists (select from public.tenants where schema_name = nspname)"); n != 0 {
		t.Errorf("%d schemas are left", n)
	}
	crmctl(cli.ExitOK, "migrate", "drift")
}
