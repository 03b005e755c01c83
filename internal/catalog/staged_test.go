package catalog_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestStagedReference compares tenants with a history of several transactions, from the
// version on that needs them.
func TestStagedReference(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": "create type st as enum ('a');\ncreate table t (s st);",
		"2_b.sql": "alter type st add value 'b';", "3_c.sql": "alter table t alter column s set default 'b';"}
	plan := fleettest.Plan(t, fleettest.Files(files))
	tenants := f.Create(t, plan, "acme", "other")
	in(t, f, tenants[1], "create index more on t (s)")
	d := drift(t, f, plan, tenants, catalog.Options{})
	if d.Clean != 1 || d.Differing() != 1 || len(d.Groups) != 1 || len(d.Groups[0].Differences) != 1 {
		t.Errorf("%+v", d)
	}
	if n := f.Int(t, `select (select count(*) from public.tenant_builds) + (select count(*) from pg_catalog.pg_namespace
		where nspname ~ '^crmctl_')`); n != 0 {
		t.Errorf("%d things are left", n)
	}
}
