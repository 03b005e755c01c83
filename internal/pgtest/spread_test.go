package pgtest

import "testing"

func TestRefusedOnACluster(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, want string }{
		{"select pg_catalog.current_schema()", ""},
		{"select pg_catalog.current_schema() from tenant_x.contacts",
			"current_schema() beside a tenant's table, where it runs on the node"},
		{"select 1 from tenant_x.contacts where name = pg_catalog.current_setting('crmctl.x')",
			"current_setting() beside a tenant's table: what was set is unknown on the node"},
		{"select pg_catalog.current_setting('crmctl.x') from public.tenants", ""},
		{"insert into tenant_x.contacts (a) values (1) returning id", ""},
		{"insert into tenant_x.contacts (a) values (1) returning (select 1 from tenant_x.messages)",
			"a subquery in what an INSERT returns"},
		{"insert into tenant_x.contacts as c (a) values (1) on conflict (a) do update set t = excluded.t", ""},
		{"insert into tenant_x.contacts as c (a) values (1) on conflict (a) do update set t = pg_catalog.now()",
			"a function that is not immutable in DO UPDATE"},
		{"delete from tenant_x.contacts c where not exists (select 1 from pg_temp.crmctl_rows r where r.id = c.id)", ""},
		{"delete from tenant_x.contacts c where not exists (select 1 from public.rows r where r.id = c.id)",
			"EXISTS with a tenant's table and public.rows"},
		{"select 1 from tenant_x.contacts c left join public.rows r on true",
			"an outer join of a tenant's table and public.rows"},
		{"select 1 from public.tenants t left join public.rows r on true", ""},
		{"select 1 from tenant_x.contacts; select 2", "several statements in one message"},
	} {
		if got := refusedOnACluster(c.sql); got != c.want {
			t.Errorf("%s: %q, want %q", c.sql, got, c.want)
		}
	}
	if sql, is := spreads(`select 1 from "tenant_acme_2"."contacts"`); !is || sql != `select 1 from "tenant_x"."contacts"` {
		t.Errorf("%q, %v", sql, is)
	}
	if _, is := spreads("select 1 from public.tenants"); is {
		t.Error("the registry is no tenant")
	}
}
