package tenantsql_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// TestScriptLeavesNothingInTheSession runs scripts twice over tenants that share few
// sessions behind a pooler, read only and writing: what the first tenant's script left
// would make the next one fail, or tell it something of the other.
func TestScriptLeavesNothingInTheSession(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"prepared": "prepare kept as select 1; execute kept",
		"temporary": "create temp table stash as select * from things; select (select count(*) from pg_temp.stash) from " +
			"things",
		"setting": "select set_config('app.seen', coalesce(current_setting('app.seen', true), '') || 'x', false) from " +
			"things",
		"lock": "select 1 / (1 - count(*)) from pg_catalog.pg_locks where locktype = 'advisory' and objid = 815 and " +
			"pid = pg_catalog.pg_backend_pid(); select pg_advisory_lock(815)",
		"in a block": "do $$ begin if pg_catalog.current_setting('app.seen', true) <> '' then raise exception 'seen'; end " +
			"if; set app.seen = 'x'; end $$",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := schemas(t, 4)
			f.Exec(t, "create sequence public.counter")
			pooled := fixture{Fleet: &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}, tenants: f.tenants}
			for _, write := range []bool{false, true} {
				if name == "temporary" && !write {
					continue // a read only transaction makes no table
				}
				for _, from := range []fixture{f, pooled} {
					rows, _, report := from.run(t, sql, tenantsql.Options{Write: write, Fleet: fleet.Options{Concurrency: 1}})
					if n := states(report)[fleet.Done]; n != len(f.tenants) {
						t.Errorf("write %t: %d of %d done: %v", write, n, len(f.tenants), report.Outcomes[1].Err)
					}
					for _, row := range rows {
						if name == "setting" && row[len(row)-2:] != "|x" {
							t.Errorf("write %t: %s has seen another tenant's setting", write, row)
						}
					}
				}
			}
		})
	}
}

// TestLastvalIsNotOfAnotherTenant asks for the last value of a sequence in a session in
// which another tenant's script has taken one.
func TestLastvalIsNotOfAnotherTenant(t *testing.T) {
	t.Parallel()
	f := schemas(t, 2)
	f.Exec(t, "create sequence public.counter")
	pooled := fixture{Fleet: &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}, tenants: f.tenants}
	one := tenantsql.Options{Write: true, Fleet: fleet.Options{Concurrency: 1}}
	if _, _, report := pooled.run(t, "select nextval('public.counter')", one); states(report)[fleet.Done] != 2 {
		t.Fatalf("outcomes %+v", report.Outcomes)
	}
	one.Write = false
	_, _, report := pooled.run(t, "select lastval()", one)
	if n := states(report)[fleet.Failed]; n != 2 {
		t.Errorf("%d of 2 failed: the session still knows a value", n)
	}
}
