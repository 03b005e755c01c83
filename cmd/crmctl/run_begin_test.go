//go:build unix

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestServerGoesAwayBeforeARun: where the server is lost while a run is planned, it is waited
// for; where it does not come back, that is said as it is later in the run.
func TestServerGoesAwayBeforeARun(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"00001_a.sql": "create table a (x int);",
		"00002_b.sql": "create table b (x int);"})
	one, err := fleettest.Plan(t, os.DirFS(dir)).To(1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		before string // what the connection is cut before
		back   bool
		code   int
	}{
		"while it looks, and comes back":           {"migration_sources", true, cli.ExitOK},
		"while it looks, for good":                 {"migration_sources", false, cli.ExitUnreachable},
		"while the run begins, and comes back":     {"insert into public.migration_runs", true, cli.ExitOK},
		"while the run begins, for good":           {"insert into public.migration_runs", false, cli.ExitUnreachable},
		"in the canary, for good":                  {"create table b", false, cli.ExitUnreachable},
		"in the canary, and comes back":            {"create table b", true, cli.ExitOK},
		"before it knows whose the registry is":    {"migration_files", true, cli.ExitOK},
		"while it looks who is trusted, for good":  {"pg_roles", false, cli.ExitUnreachable},
		"while it looks who is trusted, then back": {"pg_roles", true, cli.ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Create(t, one, fleettest.Names(3)...)
			proxy := pgtest.NewProxy(t, f.DSN, 0)
			proxy.CutBefore(c.before, 1)
			if !c.back {
				proxy.RefuseAfterCut()
			}
			out, code := outcome(t, &fleettest.Fleet{DSN: proxy.DSN}, "migrate", "all-tenants", "--migrations-dir", dir)
			if proxy.Cuts() != 0 || code != c.code {
				t.Errorf("exit code %d, want %d, %d cuts left\n%s", code, c.code, proxy.Cuts(), out)
			}
			if !c.back && !strings.Contains(out, "database unreachable") {
				t.Errorf("it does not say why\n%s", out)
			}
			if n := f.Int(t, "select count(*) from public.tenants where schema_version = 2"); c.back && n != 3 {
				t.Errorf("%d tenants migrated\n%s", n, out)
			}
			if n := f.Int(t, "select count(*) from public.migration_runs where finished_at is null"); c.back && n != 0 {
				t.Errorf("%d runs are open in the ledger", n)
			}
		})
	}
}
