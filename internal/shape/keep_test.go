package shape_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/shape"
)

// TestGetKeepsWhatItMade changes what is kept and sees the change come back, which
// nobody would have made again.
func TestGetKeepsWhatItMade(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	h := history(t, grown...)
	key, err := shape.ReadKey(t.Context(), conn, registry.Default(), h)
	if err != nil {
		t.Fatal(err)
	}
	first, err := shape.Get(t.Context(), conn, key, h, catalog.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	f.Exec(t, `update public.tenant_shapes set script = script || array['select 1 as mark']`)
	second, err := shape.Get(t.Context(), conn, key, h, catalog.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := len(first.Script)
	if n == 0 || len(second.Script) != n+1 || !slices.EqualFunc(first.Script, second.Script[:n],
		func(a, b db.Statement) bool {
			return a.SQL == b.SQL
		}) {
		t.Errorf("%d statements, then %d", n, len(second.Script))
	}
	if first.Fingerprint != second.Fingerprint || first.Fingerprint == "" {
		t.Errorf("fingerprints %q, %q", first.Fingerprint, second.Fingerprint)
	}
}

// TestReasonsAreKnown finds out once why a history goes one by one, and asks again after
// a day and with another version of the program.
func TestReasonsAreKnown(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	h := history(t, "create table a (n float)", "insert into a values (random())")
	get := func() *shape.Final {
		t.Helper()
		key, err := shape.ReadKey(t.Context(), conn, registry.Default(), h)
		if err != nil {
			t.Fatal(err)
		}
		final, err := shape.Get(t.Context(), conn, key, h, catalog.Options{}, true)
		if err != nil || final.Script != nil || final.Reason == "" {
			t.Fatalf("%+v, %v", final, err)
		}
		return final
	}
	if final := get(); final.Known {
		t.Errorf("known from the beginning: %+v", final)
	}
	if final := get(); !final.Known {
		t.Errorf("not known the second time: %+v", final)
	}
	f.Exec(t, "update public.tenant_shapes set made_at = made_at - interval '25 hours'")
	if final := get(); !final.Known || f.Int(t, "select count(*) from public.tenant_shapes where made_at > now() - "+
		"interval '1 hour'") != 1 {
		t.Errorf("the next day: %+v", final)
	}
	f.Exec(t, "update public.tenant_shapes set made_at = made_at - interval '25 hours', reason = 'another'")
	if final := get(); final.Known || final.Reason == "another" {
		t.Errorf("another reason: %+v", final)
	}
	f.Exec(t, "update public.tenant_shapes set reason = 'what an older version could not'")
	h.Program = "a newer version"
	if final := get(); final.Known || strings.Contains(final.Reason, "older version") {
		t.Errorf("a newer version: %+v", final)
	}
}

func TestShortHistoriesAreNotWorthIt(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	h := history(t, "create table a (n integer)")
	key, err := shape.ReadKey(t.Context(), conn, registry.Default(), h)
	if err != nil {
		t.Fatal(err)
	}
	final, err := shape.Get(t.Context(), conn, key, h, catalog.Options{}, false)
	if err != nil || final.Script != nil || final.Reason != "" {
		t.Errorf("%+v, %v", final, err)
	}
	if final, err = shape.Get(t.Context(), conn, key, h, catalog.Options{}, true); err != nil || final.Script == nil {
		t.Errorf("asked for it all the same: %+v, %v", final, err)
	}
}

// TestKeyFollowsTheEnvironment changes, one by one, what migrations depend on, and
// what they do not.
func TestKeyFollowsTheEnvironment(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	role := "shape_" + strings.ToLower(rand.Text())
	f.Exec(t, "create type public.mood as enum ('sad')")
	h := history(t, "create table a (n integer, m public.mood)",
		"do $$ begin if exists (select from pg_roles where rolname = '"+role+"') then grant select on a to "+role+
			"; end if; end $$")
	read := func() registry.ShapeKey {
		t.Helper()
		key, err := shape.ReadKey(t.Context(), f.Connect(t), registry.Default(), h)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	before := read()
	plan := fleettest.TenantPlan(t, 0)
	f.Create(t, plan, "acme", "globex")
	if read() != before {
		t.Error("tenants changed the key")
	}
	t.Cleanup(func() { f.Exec(t, "drop role if exists "+role+", "+role+"_other") })
	if f.Exec(t, "create role "+role+"_other"); read() != before {
		t.Error("a role that the migrations do not name changed the key")
	}
	for _, change := range []string{
		"create role " + role,
		`alter type public.mood add value 'ok'`,
		`do $$ begin execute format('alter database %I set app.currency = ''USD''', current_database()); end $$`,
		`alter default privileges grant select on tables to pg_monitor`,
		`create function public.helper() returns int language sql as 'select 1'`,
		`create or replace function public.helper() returns int language sql as 'select 2'`,
		`create extension if not exists pg_trgm`,
		`do $$ begin execute format('alter database %I set transform_null_equals = on', current_database()); end $$`,
		`create function public.on_ddl() returns event_trigger language plpgsql as 'begin end'`,
		`create event trigger shape_test on ddl_command_end execute function public.on_ddl()`,
	} {
		f.Exec(t, change)
		after := read()
		if after == before {
			t.Errorf("the key stayed the same after %s", change)
		}
		before = after
	}
	h.Program = "1.2.4"
	if read() == before {
		t.Error("the key of another version of the program is the same")
	}
	other := history(t, "create table a (n bigint)")
	key, err := shape.ReadKey(t.Context(), f.Connect(t), registry.Default(), other)
	if err != nil {
		t.Fatal(err)
	}
	if key.Plan == before.Plan || len(key.Plan) != 64 || strings.ToLower(key.Plan) != key.Plan {
		t.Errorf("plans %q and %q", key.Plan, before.Plan)
	}
}
