package stats_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
)

// A foreign key is served by an index that begins with its columns, in any order, and by
// no other; tables are named once, however many tenants have them.
func TestWantedForeignKeys(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 4, "contacts")
	for i := 1; i <= 4; i++ {
		s := fmt.Sprintf("tenant_%d.", i)
		f.Exec(t, "alter table "+s+"contacts add unique (id, email)",
			"create table "+s+"deals (id int primary key, contact int references "+s+"contacts, "+
				`"Owner" int references `+s+"contacts, served int references "+s+"contacts, "+
				"partly int references "+s+"contacts, a int, b text, "+
				"foreign key (a, b) references "+s+"contacts (id, email))",
			"create index on "+s+"deals (served, id)", "create index on "+s+"deals (b, a)",
			"create index on "+s+"deals (partly) where partly > 5", "create index on "+s+"deals (id, contact)")
	}
	f.Exec(t, "create index on tenant_1.deals (contact)", "create index broken on tenant_2.deals (contact)",
		"update pg_index set indisvalid = false where indexrelid = 'tenant_2.broken'::regclass",
		"insert into tenant_3.contacts select i, i from generate_series(1, 300) i",
		"insert into tenant_3.deals (id, contact) select i, i from generate_series(1, 300) i",
		"analyze tenant_3.deals")
	work(t, f, "delete from tenant_3.contacts where id > 1000", "delete from tenant_3.deals where id > 290",
		"delete from tenant_3.contacts where id > 290")
	got := wanted(t, f, stats.Selected{})
	want := []stats.WantedIndex{
		{Columns: []string{"Owner"}, Tenants: 4, Statement: `create index on deals ("Owner")`},
		{Columns: []string{"contact"}, Tenants: 3, Statement: "create index on deals (contact)"},
		{Columns: []string{"partly"}, Tenants: 4, Statement: "create index on deals (partly)"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, w := range want {
		w.Kind, w.Table, w.References, w.Rows, w.Deleted = stats.ForeignKey, "deals", "contacts", 300, 10
		if fmt.Sprint(got[i]) != fmt.Sprint(w) {
			t.Errorf("got %+v, want %+v", got[i], w)
		}
	}
	if only := wanted(t, f, stats.Selected{Slugs: []string{"t1"}}); len(only) != 2 || only[0].Tenants != 1 {
		t.Errorf("of t1: %+v", only)
	}
}

// Large tables that are read from end to end are named, with how often; small ones, and
// those of which a query reads the first rows, are not.
func TestWantedForSequentialScans(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 3, "contacts")
	for _, s := range []string{"tenant_1.", "tenant_2."} {
		f.Exec(t, "insert into "+s+"contacts select i, i from generate_series(1, 20000) i",
			"create table "+s+"peeked as select generate_series(1, 20000) i", "analyze "+s+"peeked", "analyze "+s+"contacts")
	}
	// What makes an index reads its table too, and is to be counted by now.
	work(t, f, "insert into tenant_3.contacts select i, i from generate_series(1, 100) i", "analyze tenant_3.contacts")
	before := f.Int(t, "select coalesce(sum(seq_scan), 0)::int from pg_stat_user_tables where relname = 'contacts'")
	work(t, f, "select count(*) from tenant_1.contacts where email = 'x'",
		"select count(*) from tenant_1.contacts where email = 'y'", "select count(*) from tenant_2.contacts where email = 'x'",
		"select count(*) from tenant_3.contacts where email = 'x'", "set enable_seqscan = off",
		"select from tenant_2.contacts where id = 5", "set enable_seqscan = on", "set enable_indexscan = off",
		"select from tenant_1.peeked limit 1", "select from tenant_2.peeked limit 1", "select from tenant_2.peeked limit 1")
	found := wanted(t, f, stats.Selected{})
	i := slices.IndexFunc(found, func(w stats.WantedIndex) bool { return w.Table == "contacts" })
	if i < 0 || len(found) != 1 {
		t.Fatalf("got %+v", found)
	}
	got := found[i]
	if got.Kind != stats.SequentialScans || got.Tenants != 2 || got.Rows != 40_000 || got.Statement != "" ||
		got.Scans < 3 || got.Scans > float64(before)+3 || got.RowsRead < 60_000 || got.IndexScans < 1 {
		t.Errorf("got %+v", got)
	}
}

func wanted(t testing.TB, f *fleettest.Fleet, o stats.Selected) []stats.WantedIndex {
	t.Helper()
	found, err := stats.FindWanted(t.Context(), f.Connect(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return found.Indexes
}
