package catalog_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// drift compares tenants with a plan.
func drift(t testing.TB, f *fleettest.Fleet, plan *migrate.Plan, tenants []registry.Tenant,
	o catalog.Options) catalog.Drift {
	t.Helper()
	d, err := catalog.Compare(t.Context(), listed(tenants), catalog.DriftOptions{Options: o, Dial: f.Dial,
		Expect: script(plan)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func script(plan *migrate.Plan) func(int64) ([]db.Statement, error) {
	return func(version int64) ([]db.Statement, error) {
		to, err := plan.To(version)
		if err != nil {
			return nil, err
		}
		return to.Build()
	}
}

// texts returns differences as lines: "missing index people_lower on people".
func texts(differences []catalog.Difference) []string {
	var out []string
	for _, d := range differences {
		out = append(out, string(d.Change)+" "+d.Subject())
	}
	return out
}

// in runs statements in a tenant's schema.
func in(t testing.TB, f *fleettest.Fleet, x registry.Tenant, statements ...string) {
	t.Helper()
	f.Exec(t, append([]string{"set search_path to " + x.Schema.Quoted()}, statements...)...)
}

func listed(tenants []registry.Tenant) []catalog.Tenant {
	list := make([]catalog.Tenant, len(tenants))
	for i, x := range tenants {
		list[i] = catalog.Tenant{Slug: x.Slug, Target: catalog.Target{Schema: x.Schema}, Version: x.Version}
	}
	return list
}

func slugsOf(tenants []catalog.Tenant) string {
	var slugs []string
	for _, x := range tenants {
		slugs = append(slugs, x.Slug)
	}
	return strings.Join(slugs, " ")
}

func TestCompareGroupsTenants(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := append(f.Create(t, fleettest.TenantPlan(t, 3), "old", "older"),
		f.Create(t, plan, "a", "b", "c", "d", "gone", "future")...)
	for i := range tenants {
		if tenants[i].Slug == "future" {
			tenants[i].Version = 99
		}
	}
	in(t, f, tenants[0], "drop index idx_contacts_phone")
	in(t, f, tenants[3], "drop index idx_contacts_phone")
	in(t, f, tenants[4], "drop index idx_contacts_phone")
	in(t, f, tenants[5], "alter table messages add column sentiment text")
	f.Exec(t, "drop schema tenant_gone cascade")
	d := drift(t, f, plan, tenants, catalog.Options{})
	if d.Tenants != 8 || d.Clean != 2 || d.Differing() != 4 || len(d.Groups) != 3 || len(d.Expected) != 2 {
		t.Fatalf("%+v", d)
	}
	for i, want := range []struct{ tenants, difference string }{
		{"b c", "missing index idx_contacts_phone on contacts"},
		{"d", "extra column messages.sentiment"},
		{"old", "missing index idx_contacts_phone on contacts"},
	} {
		g := d.Groups[i]
		if slugsOf(g.Tenants) != want.tenants || strings.Join(texts(g.Differences), "|") != want.difference {
			t.Errorf("group %d: %s: %q, want %v", i, slugsOf(g.Tenants), texts(g.Differences), want)
		}
	}
	if slugsOf(d.Missing) != "gone" {
		t.Errorf("missing %v", d.Missing)
	}
	if len(d.Unread) != 1 || d.Unread[0].Slug != "future" || !strings.Contains(d.Unread[0].Err.Error(), "99") {
		t.Errorf("unread %v", d.Unread)
	}
}

// TestIgnore leaves kinds out.
func TestIgnore(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, "a")
	in(t, f, tenants[0], "comment on table contacts is 'hello'", "grant select on contacts to public")
	if d := drift(t, f, plan, tenants, catalog.Options{Ignore: []catalog.Kind{catalog.KindComment}}); len(d.Groups) != 1 ||
		strings.Join(texts(d.Groups[0].Differences), "|") != "extra grant on table contacts to public" {
		t.Errorf("%+v", d.Groups)
	}
	if d := drift(t, f, plan, tenants, catalog.Options{Ignore: []catalog.Kind{catalog.KindComment,
		catalog.KindGrant}}); d.Clean != 1 {
		t.Errorf("%+v", d.Groups)
	}
}

// TestLockedTenantIsNotWaitedFor holds a lock on a table of one tenant.
func TestLockedTenantIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, fleettest.Names(20)...)
	in(t, f, tenants[7], "drop index idx_contacts_phone")
	holder := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_t0005.contacts in access exclusive mode"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	d := drift(t, f, plan, tenants, catalog.Options{LockTimeout: 50 * time.Millisecond})
	if len(d.Unread) != 1 || d.Unread[0].Slug != "t0005" || !errors.Is(d.Unread[0].Err, catalog.ErrLocked) {
		t.Fatalf("unread %+v", d.Unread)
	}
	if d.Clean != 18 || len(d.Groups) != 1 || slugsOf(d.Groups[0].Tenants) != "t0008" {
		t.Errorf("clean %d, groups %+v", d.Clean, d.Groups)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the lock held everything up for %s", took)
	}
}

// TestMigratedMeanwhile shows a tenant at a newer version than it was said to be.
func TestMigratedMeanwhile(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	list := listed(f.Create(t, plan, "a", "b"))
	list[1].Version = 3
	asked := ""
	o := catalog.DriftOptions{Dial: f.Dial, Expect: script(plan), Versions: func(_ context.Context,
		slugs []string) (map[string]int64, error) {
		asked = strings.Join(slugs, " ")
		return map[string]int64{"b": 4}, nil
	}}
	d, err := catalog.Compare(t.Context(), list, o)
	if err != nil || d.Clean != 2 || asked != "b" {
		t.Errorf("%+v, %v; asked for %q", d, err, asked)
	}
}

// TestConfusableNames builds the same in schemas whose names occur in it, in each
// other, or need quotes. No fingerprint may depend on them.
func TestConfusableNames(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	// A function that names its own schema, as a migration can make it do.
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"00001_rich.sql": rich, "00002_self.sql": `
-- +goose Up
-- +goose StatementBegin
do $do$ begin
	if current_schema() not in ('people', 'nick', 'double') then
		execute format($f$ create function self() returns bigint language sql set search_path = %1$I, pg_temp as $b$select count(*) from %1$I.people$b$ $f$, current_schema());
	end if;
end $do$;
-- +goose StatementEnd
`}))
	conn := f.Connect(t)
	steps, err := script(plan)(2)
	if err != nil {
		t.Fatal(err)
	}
	expected, err := catalog.Build(t.Context(), conn, steps, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	prints := map[string]catalog.Fingerprint{"": expected.Fingerprint()}
	names := []string{"tenant_a", "tenant_ab", "select", `Ten"ant. A`, "it's", "tënant", "own schema", "{own schema}",
		"people", "nick", "double"}
	for _, name := range names {
		schema, err := db.RegisteredSchema(name)
		if err != nil {
			t.Fatal(err)
		}
		var p db.Pipeline
		p.Begin(db.Locals{Schema: schema})
		p.Exec("create schema " + schema.Quoted())
		p.Script(steps)
		p.CheckSchema(schema)
		p.Exec("commit")
		if err := p.Run(t.Context(), conn); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		readings, err := catalog.Fingerprints(t.Context(), conn, []catalog.Target{{Schema: schema}}, catalog.Options{})
		if err != nil || readings[0].Err != nil {
			t.Fatalf("%s: %v %v", name, err, readings)
		}
		prints[name] = readings[0].Fingerprint
		if !slices.Contains([]string{"people", "nick", "double"}, name) && readings[0].Fingerprint != expected.Fingerprint() {
			got, _ := catalog.Read(t.Context(), conn, catalog.Target{Schema: schema}, catalog.Options{})
			for _, d := range catalog.Diff(expected, got) {
				t.Errorf("%s: %s %s\n want %s\n  got %s", name, d.Change, d.Subject(), d.Want, d.Got)
			}
		}
	}
	if prints["people"] != prints["nick"] || prints["people"] != prints["double"] {
		t.Errorf("fingerprints %v", maps.Collect(maps.All(prints)))
	}
	// A reference to another tenant is no reference to one's own.
	f.Exec(t, "create or replace view tenant_ab.happier as select id from tenant_a.happy")
	got, err := catalog.Read(t.Context(), conn, catalog.Target{Schema: mustSchema(t, "tenant_ab")}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if found := texts(catalog.Diff(expected, got)); !slices.Equal(found, []string{"different view happier"}) {
		t.Errorf("found %q", found)
	}
}

func mustSchema(t *testing.T, name string) db.Schema {
	t.Helper()
	schema, err := db.RegisteredSchema(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestVersionTableOfGoose has what the plain goose command line makes.
func TestVersionTableOfGoose(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, "a", "b")
	in(t, f, tenants[0], "drop table goose_db_version", `create table goose_db_version (
		id integer primary key generated by default as identity, version_id bigint not null,
		is_applied boolean not null, tstamp timestamp not null default now())`)
	in(t, f, tenants[1], "drop table goose_db_version", `create table goose_db_version (
		id serial primary key, version_id bigint not null, is_applied boolean not null, tstamp timestamp null default now())`)
	if d := drift(t, f, plan, tenants, catalog.Options{}); d.Clean != 2 {
		t.Errorf("%+v", d.Groups)
	}
}

// TestOwnRole grants each tenant to a role of its own.
func TestOwnRole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, "a", "b", "c")
	list := listed(tenants)
	for i, x := range tenants[:2] {
		role := "crmctl_catalog_" + x.Slug
		list[i].Role = role
		in(t, f, x, "create role "+role, "grant usage on schema "+x.Schema.Quoted()+" to "+role,
			"grant select, insert on all tables in schema "+x.Schema.Quoted()+" to "+role,
			"alter default privileges in schema "+x.Schema.Quoted()+" grant select on tables to "+role)
		t.Cleanup(func() {
			f.Exec(t, "drop owned by "+role, "drop role "+role)
		})
	}
	d, err := catalog.Compare(t.Context(), list, catalog.DriftOptions{Dial: f.Dial, Expect: script(plan)})
	if err != nil || d.Clean != 3 {
		t.Errorf("%+v, %v", d.Groups, err)
	}
	read := func(i int) catalog.Reading {
		readings, err := catalog.Fingerprints(t.Context(), f.Connect(t), []catalog.Target{list[i].Target},
			catalog.Options{OwnRole: true})
		if err != nil {
			t.Fatal(err)
		}
		return readings[0]
	}
	if a, b, c := read(0), read(1), read(2); a != b || a == c {
		t.Errorf("with the rights of their own roles: %v %v %v", a, b, c)
	}
	// The role of somebody else is not one's own.
	in(t, f, tenants[1], "grant select on contacts to crmctl_catalog_a")
	d, err = catalog.Compare(t.Context(), list, catalog.DriftOptions{Dial: f.Dial, Expect: script(plan)})
	if err != nil || len(d.Groups) != 1 || texts(d.Groups[0].Differences)[0] != "extra grant on table contacts to crmctl_catalog_a" {
		t.Errorf("%+v, %v", d.Groups, err)
	}
}

// TestOrdinaryRole compares as a role that owns the schemas and is no superuser.
func TestOrdinaryRole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	const role = "crmctl_catalog_owner"
	f.Exec(t, "create role "+role+" login")
	t.Cleanup(func() { f.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
	var name string
	f.Scan(t, []any{&name}, "select current_database()")
	f.Exec(t, "grant create on database "+pgx.Identifier{name}.Sanitize()+" to "+role,
		"grant usage on schema public to "+role, "grant all on all tables in schema public to "+role)
	as := *f
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	as.DSN = u.String()
	plan := richPlan(t)
	tenants := as.Create(t, plan, "a", "b")
	in(t, f, tenants[1], "drop index people_lower")
	for _, who := range []*fleettest.Fleet{f, &as} { // the superuser builds the expected shape as itself
		d := drift(t, who, plan, tenants, catalog.Options{})
		if d.Clean != 1 || len(d.Groups) != 1 || texts(d.Groups[0].Differences)[0] != "missing index people_lower on people" {
			for _, g := range d.Groups {
				t.Log(slugsOf(g.Tenants), texts(g.Differences))
			}
			t.Errorf("%+v", d)
		}
	}
}

// TestNothingStays looks for what building a shape could leave behind, and at a
// server that only reads.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := richPlan(t)
	drift(t, f, plan, f.Create(t, plan, "a"), catalog.Options{})
	if n := f.Int(t, "select count(*) from pg_namespace where nspname like 'crmctl_shape%'"); n != 0 {
		t.Errorf("%d schemas left", n)
	}
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "set default_transaction_read_only to on"); err != nil {
		t.Fatal(err)
	}
	steps, _ := script(plan)(1)
	if _, err := catalog.Build(t.Context(), conn, steps, catalog.Options{}); !errors.Is(err, catalog.ErrReadOnly) {
		t.Errorf("on a read-only server: %v", err)
	}
	if _, err := catalog.Build(t.Context(), conn, []db.Statement{{SQL: "select 1 / 0", File: "x.sql", Line: 3}},
		catalog.Options{}); err == nil {
		t.Error("a script that fails makes a shape")
	}
	if _, err := catalog.Read(t.Context(), conn, catalog.Target{Schema: mustSchema(t, "nowhere")},
		catalog.Options{}); !errors.Is(err, catalog.ErrNoSchema) {
		t.Errorf("a schema that is not there: %v", err)
	}
}
