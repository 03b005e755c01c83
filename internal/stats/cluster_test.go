package stats_test

import (
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
)

// TestStatisticsOfTablesOnACluster: what tables and indexes take, how they are used, what a
// vacuum would do and what tenants ask for is told by the nodes where they stand. On the
// coordinator they are empty, and no index is used.
func TestStatisticsOfTablesOnACluster(t *testing.T) {
	t.Parallel()
	f := fleettest.OnCitus(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	work(t, f, "alter table tenant_acme.contacts set (autovacuum_enabled = false)",
		"insert into tenant_acme.contacts (name, email) select 'x', i || '@example.com' from generate_series(1, 3000) i",
		"insert into tenant_globex.contacts (name) values ('x')",
		"analyze tenant_acme.contacts", "vacuum analyze tenant_globex.contacts")
	conn := f.Connect(t)
	before := sample(t, conn, stats.Selected{})
	work(t, f, "update tenant_acme.contacts set name = 'y'",
		"select id from tenant_acme.contacts where id = '01890000-0000-7000-8000-000000000000'")

	// A node's session hands in what it counted a little after the coordinator's has ended.
	index := func(name string) (u stats.IndexUse) {
		found, err := stats.IndexesByName(t.Context(), conn, stats.Selected{})
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(found.Indexes, func(u stats.IndexUse) bool { return u.Name == name }); i >= 0 {
			u = found.Indexes[i]
		}
		return u
	}
	for until := time.Now().Add(30 * time.Second); index("contacts_pkey").Scans == 0 && time.Now().Before(until); {
		time.Sleep(50 * time.Millisecond)
	}
	u := index("contacts_pkey")
	if u.Tenants != 3 || u.Unused != 2 || u.Scans != 1 || u.Invalid != 0 || u.Missing != 0 || u.Bytes < 50_000 {
		t.Errorf("an index that one of three tenants uses: %+v", u)
	}

	tables, err := stats.TablesByName(t.Context(), conn, stats.SizeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c := tables.Tables[0]; c.Name != "contacts" || c.Tenants != 3 || c.Largest != "acme" || c.Rows == nil ||
		*c.Rows != 3001 || c.HeapBytes < 200_000 || c.IndexBytes < 200_000 || c.DeadBytes < 100_000 ||
		tables.Mode != stats.Exact {
		t.Errorf("contacts take %+v, told as %v", c, tables.Mode)
	}

	due, err := stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{Due: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(due) != 1 || !due[0].Off || due[0].Slug != "acme" || due[0].Table != "contacts" || due[0].Dead != 3000 || !due[0].Vacuum ||
		!due[0].Analyze || due[0].LastAnalyze == nil {
		t.Errorf("due are %+v", due)
	}
	all, err := stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{Selected: stats.Selected{Slugs: []string{"globex"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		if u.Due() || (u.LastVacuum != nil) != (u.Table == "contacts") {
			t.Errorf("globex has %+v", u)
		}
	}

	load := stats.LoadBetween(before, sample(t, conn, stats.Selected{}))
	if len(load.Tenants) != 1 || load.Tenants[0].Slug != "acme" || load.Tenants[0].Written*load.Seconds < 2999 {
		t.Errorf("at work are %+v", load.Tenants)
	}
}
