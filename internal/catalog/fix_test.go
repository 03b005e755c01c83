package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// repair runs a drift's fixes as they are printed.
func repair(t *testing.T, f *fleettest.Fleet, d catalog.Drift) {
	t.Helper()
	for _, g := range d.Groups {
		for _, x := range g.Tenants {
			f.Exec(t, g.Fix().SQL(x.Schema)...)
		}
	}
}

// TestFixMends breaks tenants, runs what the fix says, and compares again.
func TestFixMends(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := richPlan(t)
	cases := []string{
		"drop index people_feeling",
		"drop index people_lower", // with its comment
		"drop index moods_feeling",
		"update pg_index set indisvalid = false where indexrelid = 'people_lower'::regclass",
		"alter table people drop column score cascade", // the last, with a check and its comment
		"alter table people alter column score drop default",
		"alter table people alter column code drop default; drop sequence tickets",
		"alter table people drop constraint people_score",
		"alter table people drop constraint people_boss_fkey; alter table people add constraint people_boss_fkey foreign " +
			"key (boss) references people (id) deferrable not valid",
		"alter table people drop constraint people_pkey cascade",
		"alter table people drop constraint people_nick_key",
		"drop view happy cascade", // happier stands on it, a rule belongs to it
		"drop materialized view moods",
		"comment on table people is null; comment on column people.nick is null; comment on function double(integer) is " +
			"null; comment on constraint people_score on people is null",
		"drop procedure forget",
		"drop trigger people_touch on people; drop function touch",
		"drop statistics people_stats",
		"drop index events_at",
	}
	names := fleettest.Names(len(cases))
	tenants := f.Create(t, plan, names...)
	for i, x := range tenants {
		in(t, f, x, "insert into people (mail, nick, code) values ('a@example.com', 'O''Neill', 7)", cases[i])
	}
	broken := drift(t, f, plan, tenants, catalog.Options{})
	if broken.Differing() != len(cases) {
		t.Fatalf("%d of %d tenants differ", broken.Differing(), len(cases))
	}
	repair(t, f, broken)
	left := drift(t, f, plan, tenants, catalog.Options{})
	for _, g := range left.Groups {
		for _, x := range g.Tenants {
			i := slices.Index(names, x.Slug)
			t.Errorf("%s: left %q", cases[i], texts(g.Differences))
		}
	}
	if n := f.Int(t, "select count(*) from tenant_t0001.people"); n != 1 {
		t.Errorf("%d rows are left of 1", n)
	}
}

// TestFixGuessesNothing has differences that only a person can decide about.
func TestFixGuessesNothing(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := richPlan(t)
	cases := map[string]string{
		"extra":  "alter table people add column extra int",
		"type":   "alter table people alter column score type numeric(12,2)",
		"value":  "alter table people alter column score set default 5",
		"index":  "drop index people_feeling; create index people_feeling on people (boss)",
		"grant":  "revoke select on people from public",
		"body":   "create or replace function double(n integer) returns integer language sql immutable as 'select n + n'",
		"remark": "comment on table people is 'somebody''s own words'",
		"policy": "drop policy people_own on people",
	}
	var slugs []string
	for slug := range cases {
		slugs = append(slugs, slug)
	}
	tenants := f.Create(t, plan, slugs...)
	for i, x := range tenants {
		in(t, f, x, cases[slugs[i]])
	}
	d := drift(t, f, plan, tenants, catalog.Options{})
	if d.Differing() != len(cases) {
		t.Errorf("%d of %d tenants differ", d.Differing(), len(cases))
	}
	for _, g := range d.Groups {
		if fix := g.Fix(); !fix.Empty() || len(fix.Unmended) != len(g.Differences) {
			t.Errorf("%s: %q, unmended %q", g.Tenants[0].Slug, fix.SQL(g.Tenants[0].Schema), texts(fix.Unmended))
		}
	}
}

// TestFixPutsColumnsAtTheEnd says so where that is not their place.
func TestFixPutsColumnsAtTheEnd(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	tenants := f.Create(t, plan, "a")
	in(t, f, tenants[0], "alter table contacts drop column metadata cascade")
	d := drift(t, f, plan, tenants, catalog.Options{})
	fix := d.Groups[0].Fix()
	if got := texts(fix.Unmended); !slices.Equal(got, []string{"different column order of contacts"}) {
		t.Errorf("unmended %q", got)
	}
	repair(t, f, d)
	d = drift(t, f, plan, tenants, catalog.Options{})
	if len(d.Groups) != 1 || strings.Join(texts(d.Groups[0].Differences), "|") != "different column order of contacts" {
		t.Errorf("%+v", d.Groups)
	}
	if fix := d.Groups[0].Fix(); !fix.Empty() || len(fix.Unmended) != 1 {
		t.Errorf("%q", fix.SQL(tenants[0].Schema))
	}
	if d := drift(t, f, plan, tenants, catalog.Options{Ignore: []catalog.Kind{catalog.KindColumnOrder}}); d.Clean != 1 {
		t.Errorf("%+v", d.Groups)
	}
}
