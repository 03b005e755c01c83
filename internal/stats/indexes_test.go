package stats_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
)

// An index is one line, however many tenants have it, and the line says in how many it is
// missing, unused, invalid or there twice.
func TestIndexesByName(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 5, "contacts")
	for _, i := range []string{"1", "2", "3", "4"} {
		f.Exec(t, "create index by_email on tenant_"+i+".contacts (email)")
	}
	f.Exec(t, "create index again on tenant_2.contacts (email)", "create index again on tenant_3.contacts (email)",
		"create index part on tenant_4.contacts (email) where id > 5",
		"create index id_again on tenant_1.contacts (id)",
		"create schema other", "create table other.contacts (email text)", "create index by_email on other.contacts (email)",
		"update pg_index set indisvalid = false where indexrelid = 'tenant_4.by_email'::regclass",
		"insert into tenant_1.contacts select i, repeat('x', 100) || i from generate_series(1, 5000) i",
		"vacuum analyze tenant_1.contacts")
	work(t, f, "set enable_seqscan = off", "select count(*) from tenant_1.contacts where email = 'x'",
		"select count(*) from tenant_1.contacts where email = 'y'")
	found, err := stats.IndexesByName(t.Context(), f.Connect(t), stats.Selected{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]stats.IndexUse{}
	for _, i := range found.Indexes {
		got[i.Name] = i
	}
	if len(got) != 5 || found.Indexes[0].Name != "by_email" || got["by_email"].Bytes < 500_000 {
		t.Errorf("%d indexes, %+v", len(got), found.Indexes)
	}
	for name, want := range map[string]stats.IndexUse{
		"by_email":      {Tenants: 4, Missing: 1, Unused: 3, Invalid: 1, Scans: 2, Duplicate: 2, DuplicateOf: "again"},
		"again":         {Tenants: 2, Missing: 3, Unused: 2},
		"part":          {Tenants: 1, Missing: 4, Unused: 1},
		"id_again":      {Tenants: 1, Missing: 4, Unused: 1, Duplicate: 1, DuplicateOf: "contacts_pkey"},
		"contacts_pkey": {Tenants: 5, Unused: 5, Constraint: true},
	} {
		i := got[name]
		want.Table, want.Name, want.Bytes = "contacts", name, i.Bytes
		if i != want {
			t.Errorf("got %+v, want %+v", i, want)
		}
	}
}
