package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// The statements of a fleet, from a server that counts them: on a terminal, as JSON, and
// the words that say how to get there where it does not.
func TestStatsQueries(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "fsync": "off"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme-corp", "globex")
	run := func(code int, args ...string) string {
		t.Helper()
		b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
		b.Width = func() int { return 80 }
		if got := b.run(args...); got != code {
			t.Errorf("%s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, b.err.String())
		}
		text := b.out.String() + b.err.String()
		for _, line := range tooWide(lastFrames(text), 80) {
			if !strings.Contains(line, "crmctl ") {
				t.Errorf("%s: too wide: %s", strings.Join(args, " "), line)
			}
		}
		return text
	}
	if text := run(cli.ExitFailure, "stats", "queries"); !strings.Contains(text, "create extension pg_stat_statements") {
		t.Errorf("without the extension:\n%s", text)
	}
	f.Exec(t, "create schema extensions", "create extension pg_stat_statements schema extensions",
		"select extensions.pg_stat_statements_reset()")
	for range 3 {
		for _, schema := range []string{"tenant_acme_corp", "tenant_globex"} {
			f.Exec(t, "select count(*) from "+schema+".contacts where email like '%@example.com' and phone is not null")
		}
	}
	f.Exec(t, "set search_path to tenant_globex", "select pg_sleep(0.05)")
	text := run(cli.ExitOK, "stats", "queries", "--sort", "calls", "--limit", "3")
	if !strings.Contains(text, "select count(*) from contacts") || !strings.Contains(text, "counted since") {
		t.Errorf("the statements:\n%s", text)
	}
	t.Log("\n" + text)
	byTenants := run(cli.ExitOK, "stats", "queries", "--by", "tenant")
	if !strings.Contains(byTenants, "(unknown)") {
		t.Errorf("by tenant:\n%s", byTenants)
	}
	t.Log("\n" + byTenants)
	t.Log("\n" + run(cli.ExitOK, "stats", "queries", "--tenant", "globex"))
	run(exitNoTenant, "stats", "queries", "--tenant", "nobody")
	run(cli.ExitUsage, "stats", "queries", "--sort", "nonsense")
	run(cli.ExitUsage, "stats", "queries", "--limit", "-1")
	for name, args := range map[string][]string{"stats-queries-counted": nil, "stats-queries-by-tenant": {"--by", "tenant"}} {
		b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
		b.run(append([]string{"stats", "queries", "-o", "json"}, args...)...)
		var document any
		if err := json.Unmarshal([]byte(b.out.String()), &document); err != nil {
			t.Fatalf("%v\n%s", err, b.err.String())
		}
		names := map[string]string{}
		shapeOf(names, "", document)
		checkGolden(t, name, names)
	}
}
