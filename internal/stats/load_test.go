package stats_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
)

// work runs statements in a session of its own, whose counters are there when it returns.
func work(t testing.TB, f *fleettest.Fleet, statements ...string) {
	t.Helper()
	conn := f.Connect(t)
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	var pid int
	if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	// A session hands in what it counted when it ends. Before PostgreSQL 15 a process of
	// the server gets it, and writes it down within half a second.
	_ = conn.Close(t.Context())
	for f.Int(t, "select count(*) from pg_stat_activity where pid = $1", pid) > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	if f.Int(t, "select current_setting('server_version_num')::int") < 150000 {
		time.Sleep(2 * time.Second)
	}
}

func sample(t testing.TB, conn *pgx.Conn, o stats.Selected) stats.LoadSample {
	t.Helper()
	s, err := stats.SampleLoad(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The tenants that make the load stand first, in the order of what they do, and the
// counts are those of their statements.
func TestLoadRanksTheNoisyNeighbours(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 1000, "contacts")
	work(t, f, "create table public.queue (i int)",
		"insert into tenant_7.contacts select i, repeat('x', 500) from generate_series(1, 20000) i",
		"insert into tenant_500.contacts select i, repeat('x', 500) from generate_series(1, 5000) i",
		"insert into tenant_12.contacts select i, repeat('x', 500) from generate_series(1, 200) i",
		"analyze tenant_7.contacts", "analyze tenant_500.contacts", "analyze tenant_12.contacts")
	conn := f.Connect(t)
	before := sample(t, conn, stats.Selected{})
	work(t, f,
		"select count(email) from tenant_7.contacts", "select count(email) from tenant_7.contacts",
		"select count(email) from tenant_7.contacts",
		"select count(email) from tenant_500.contacts",
		"set enable_seqscan = off", "select email from tenant_12.contacts where id = 5",
		"update tenant_12.contacts set email = 'y' where id = 5",
		"insert into public.queue select generate_series(1, 1000)")
	l := stats.LoadBetween(before, sample(t, conn, stats.Selected{}))
	if len(l.Tenants) != 3 || l.Tenants[0].Slug != "t7" || l.Tenants[1].Slug != "t500" || l.Tenants[2].Slug != "t12" {
		t.Fatalf("ranked %+v", l.Tenants)
	}
	count := func(perSecond float64) int { return int(perSecond*l.Seconds + 0.5) }
	blocks := f.Int(t, "select pg_relation_size('tenant_7.contacts') / current_setting('block_size')::int")
	if n := count(l.Tenants[0].Fetched); n < int(3*blocks) || n > int(3*blocks)+100 {
		t.Errorf("t7 fetched %d blocks, 3 times %d were read", n, blocks)
	}
	for i, want := range [][4]int{{60_000, 0, 3, 0}, {5000, 0, 1, 0}, {2, 1, 0, 2}} {
		c := l.Tenants[i].Counters
		got := [4]int{count(c.Rows), count(c.Written), count(c.SeqScans), count(c.IndexScans)}
		if got != want {
			t.Errorf("%s: rows, written, sequential scans, index scans %v, want %v", l.Tenants[i].Slug, got, want)
		}
	}
	if n := count(l.Outside.Written); n != 1000 {
		t.Errorf("%d rows written outside of the tenants, want 1000", n)
	}
	if sum := l.Sum(); count(sum.Rows) != 65_002 || l.Back != 0 || sum.Read() < 0 {
		t.Errorf("sum %+v, %d went back", sum, l.Back)
	}
}

// TOAST and its index stand in another schema and belong to the tenant all the same.
func TestLoadCountsTOAST(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 3, "contacts")
	work(t, f, "alter table tenant_2.contacts alter email set storage external",
		"insert into tenant_2.contacts select i, repeat('x', 100000) from generate_series(1, 50) i")
	conn := f.Connect(t)
	before := sample(t, conn, stats.Selected{})
	work(t, f, "select sum(length(email || '')) from tenant_2.contacts")
	l := stats.LoadBetween(before, sample(t, conn, stats.Selected{}))
	if len(l.Tenants) != 1 || l.Tenants[0].Slug != "t2" || l.Tenants[0].Fetched*l.Seconds < 500 {
		t.Errorf("5 MB were read out of line: %+v", l.Tenants)
	}
	if l.Outside.Fetched > 0 {
		t.Errorf("outside of the tenants: %+v", l.Outside)
	}
}

// What cannot be known is no load: a table that was dropped takes its counters with it.
func TestLoadOfCountersThatGoBack(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 3, "contacts")
	work(t, f, "create table tenant_1.old as select generate_series(1, 100000) i", "select count(*) from tenant_1.old",
		"insert into tenant_2.contacts values (1, 'x')")
	conn := f.Connect(t)
	before := sample(t, conn, stats.Selected{Slugs: []string{"t1", "t3"}})
	work(t, f, "drop table tenant_1.old", "drop schema tenant_3 cascade", "insert into tenant_2.contacts values (2, 'x')")
	l := stats.LoadBetween(before, sample(t, conn, stats.Selected{Slugs: []string{"t1", "t3"}}))
	if l.Back != 1 || l.Sum().Rows != 0 {
		t.Errorf("%d went back, %+v", l.Back, l.Tenants)
	}
	if l.Outside.Written*l.Seconds < 0.5 {
		t.Errorf("a tenant that is not selected is outside: %+v", l.Outside)
	}
}

// TestLoadWaitsForNobody: a table that somebody holds is counted all the same.
func TestLoadWaitsForNobody(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 2, "contacts")
	other := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_1.contacts in access exclusive mode"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	conn := f.Connect(t)
	start := time.Now()
	sample(t, conn, stats.Selected{})
	if took := time.Since(start); took > 400*time.Millisecond {
		t.Errorf("waited %v for a lock", took)
	}
}
