package tenant_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tenant"
)

// many makes n tenants from a script.
func many(t *testing.T, f *fleettest.Fleet, n int, script ...db.Statement) []fleet.Result {
	t.Helper()
	specs := make([]tenant.Spec, n)
	for i, name := range fleettest.Names(n) {
		specs[i] = tenant.Spec{Slug: name}
	}
	_, results, err := tenant.CreateMany(t.Context(), f.Dial, specs, tenant.CreateOptions{
		Template: tenant.Template{Script: script, Version: 1}, Actor: "test"}, false, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestScriptAsOne: the script of many tenants is one block, of few it is statements, and
// where an event trigger is to tell of these.
func TestScriptAsOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tenants int
		trigger bool
		blocks  int64
	}{
		"many": {6, false, 6}, "few": {4, false, 0}, "told": {6, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			if c.trigger {
				f.Exec(t, "create function public.tell() returns event_trigger language plpgsql as 'begin end'",
					"create event trigger tell on ddl_command_end execute function public.tell()")
			}
			results := many(t, f, c.tenants, db.Statement{SQL: "create table told (x int default 1) -- with a comment"},
				db.Statement{SQL: "insert into told default values"},
				db.Statement{SQL: "alter table told add sql text default current_query();"})
			blocks := int64(0)
			for i, r := range results {
				if r.State != fleet.Done {
					t.Fatal(r.Err)
				}
				blocks += f.Int(t, "select count(*) from tenant_"+fleettest.Names(c.tenants)[i]+
					".told where sql not like 'alter table%'")
			}
			if blocks != c.blocks {
				t.Errorf("%d of %d as one block, want %d", blocks, c.tenants, c.blocks)
			}
		})
	}
}

// TestScriptAsOneFails: an error in the script of many tenants names the statement and its
// place, as that of one tenant does, and nothing of any of them is left.
func TestScriptAsOneFails(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	for _, bad := range []string{"create table a (y int)", "create table b (x nothing)", "create table ("} {
		results := many(t, f, 8, db.Statement{SQL: "create table a (x int)", File: "1_a.sql", Line: 2},
			db.Statement{SQL: bad, File: "2_b.sql", Line: 7})
		for _, r := range results {
			if r.State != fleet.Failed || !strings.Contains(r.Err.Error(), "2_b.sql:7") {
				t.Errorf("%s: %+v", bad, r)
			}
		}
	}
	if n := f.Int(t, "select (select count(*) from tenants) + (select count(*) from pg_namespace where nspname like 'tenant%')"); n != 0 {
		t.Errorf("%d rows and schemas are left", n)
	}
}

// TestScriptAsOneWaits: what another session holds fails the statement that wants it, by its
// name, and the tenant is made when the lock is gone.
func TestScriptAsOneWaits(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create table public.kinds (id int primary key)")
	holder := f.Connect(t)
	if _, err := holder.Exec(t.Context(), "begin; lock public.kinds"); err != nil {
		t.Fatal(err)
	}
	script := []db.Statement{{SQL: "create table a (k int references public.kinds)", File: "1_a.sql", Line: 2}}
	specs := make([]tenant.Spec, 6)
	for i, name := range fleettest.Names(6) {
		specs[i] = tenant.Spec{Slug: name}
	}
	o := tenant.CreateOptions{Template: tenant.Template{Script: script, Version: 1}, Actor: "test", LockTimeout: 50e6}
	_, results, err := tenant.CreateMany(t.Context(), f.Dial, specs, o, false, fleet.Options{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if db.SQLState(r.Err) != db.CodeLockNotAvailable || !strings.Contains(r.Err.Error(), "1_a.sql:2") {
			t.Errorf("%+v", r)
		}
	}
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	_, results, err = tenant.CreateMany(t.Context(), f.Dial, specs, o, false, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.State != fleet.Done {
			t.Error(r.Err)
		}
	}
}

// TestScriptAsOneAsksAgain: where the connection is lost that asks whether the server runs a
// script as one, the next asks again.
func TestScriptAsOneAsksAgain(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	proxy.CutBefore("pg_event_trigger", 1)
	specs := make([]tenant.Spec, 6)
	for i, name := range fleettest.Names(6) {
		specs[i] = tenant.Spec{Slug: name}
	}
	_, results, err := tenant.CreateMany(t.Context(), (&fleettest.Fleet{DSN: proxy.DSN}).Dial, specs, tenant.CreateOptions{
		Template: tenant.Template{Script: []db.Statement{{SQL: "create table told (x int)"},
			{SQL: "alter table told add sql text default current_query();"}, {SQL: "insert into told default values"}}, Version: 1},
		Actor: "test"}, false, fleet.Options{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.State != fleet.Done {
			t.Fatal(r.Err)
		}
		if n := f.Int(t, "select count(*) from tenant_"+specs[i].Slug+".told where sql like 'do %'"); n != 1 {
			t.Errorf("%s is not made as one block", specs[i].Slug)
		}
	}
	if results[0].Attempts != 2 {
		t.Errorf("the first took %d attempts: nothing was cut", results[0].Attempts)
	}
}

// TestScriptAsOneReadsStrings: a script that has backslashes read in another way from some
// statement on makes the same of many tenants as of one.
func TestScriptAsOneReadsStrings(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"set local standard_conforming_strings = off", "SET LOCAL standard_conforming_strings TO 'off';",
		"select set_config('standard_conforming_strings', 'false', true)"} {
		f := fleettest.New(t)
		results := many(t, f, 6, db.Statement{SQL: set}, db.Statement{SQL: `create table a (x text default 'C:\\new')`},
			db.Statement{SQL: "insert into a default values"})
		for i, r := range results {
			if r.State != fleet.Done {
				t.Fatal(r.Err)
			}
			if n := f.Int(t, "select length(x) from tenant_"+fleettest.Names(6)[i]+".a"); n != 6 {
				t.Errorf("%s: tenant %d has %d characters, want 6", set, i, n)
			}
		}
	}
}
