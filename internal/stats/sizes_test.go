package stats_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// fill puts contacts into a tenant's table, and leaves them to be analyzed.
func fill(t testing.TB, f *fleettest.Fleet, schema string, n int) {
	t.Helper()
	f.Exec(t, fmt.Sprintf(`insert into %s.contacts (email, name, metadata)
		select 'a' || i || '@example.org', repeat('n', 50), jsonb_build_object('k', i) from generate_series(1, %d) i`, schema, n))
}

// sizes fails the test unless every tenant of the registry is in the report once.
func sizes(t testing.TB, f *fleettest.Fleet, o stats.SizeOptions) map[string]stats.TenantSize {
	t.Helper()
	return bySlug(t, report(t, f, o))
}

func report(t testing.TB, f *fleettest.Fleet, o stats.SizeOptions) stats.Report {
	t.Helper()
	r, err := stats.Sizes(context.Background(), f.Connect(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bySlug(t testing.TB, r stats.Report) map[string]stats.TenantSize {
	t.Helper()
	out := map[string]stats.TenantSize{}
	for _, s := range r.Tenants {
		if _, twice := out[s.Slug]; twice {
			t.Errorf("%s is there twice", s.Slug)
		}
		out[s.Slug] = s
	}
	return out
}

// total is what the server says a schema takes.
func total(t testing.TB, f *fleettest.Fleet, schema string) int64 {
	t.Helper()
	return f.Int(t, `select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
		where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'm', 'S')`, schema)
}

func TestExactIsWhatTheServerSays(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "empty")
	fill(t, f, "tenant_acme", 3000)
	fill(t, f, "tenant_globex", 300)
	f.Exec(t,
		// A value that is moved out of line, a sequence, a materialized view, and
		// a partitioned table add to a tenant.
		`insert into tenant_acme.contacts (name) select string_agg(md5(i::text), '') from generate_series(1, 10000) i`,
		"create sequence tenant_globex.numbers",
		"create materialized view tenant_globex.summary as select * from tenant_globex.contacts",
		"create table tenant_globex.parts (i int primary key) partition by range (i)",
		"create table tenant_globex.part1 partition of tenant_globex.parts for values from (0) to (1000)",
		"insert into tenant_globex.parts select generate_series(1, 900)",
		"analyze tenant_acme.contacts",
	)
	got := sizes(t, f, stats.SizeOptions{Mode: stats.Exact})
	if len(got) != 3 {
		t.Fatalf("%d tenants", len(got))
	}
	for _, slug := range []string{"acme", "globex", "empty"} {
		s := got[slug]
		if want := total(t, f, "tenant_"+slug); s.TotalBytes() != want || !s.Known || !s.Exact {
			t.Errorf("%s: %+v, the server says %d", slug, s, want)
		}
		indexes := f.Int(t, `select sum(pg_indexes_size(c.oid))::bigint from pg_class c
			where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'm')`, "tenant_"+slug)
		if s.IndexBytes != indexes {
			t.Errorf("%s: indexes %d, the server says %d", slug, s.IndexBytes, indexes)
		}
	}
	for slug, want := range map[string]int64{"acme": 3001, "empty": 0} {
		if n := got[slug].Contacts; n == nil || *n != want {
			t.Errorf("contacts of %s: %v, want %d", slug, n, want)
		}
	}
	if n := got["globex"].Contacts; n != nil {
		t.Errorf("contacts of a table never analyzed: %d", *n)
	}
}

func TestContactsGrowWithTheTable(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, "alter table tenant_acme.contacts set (autovacuum_enabled = false)")
	fill(t, f, "tenant_acme", 1000)
	f.Exec(t, "analyze tenant_acme.contacts")
	f.Exec(t, "insert into tenant_acme.contacts (name, metadata) select name, metadata from tenant_acme.contacts")
	n := sizes(t, f, stats.SizeOptions{Mode: stats.Exact})["acme"].Contacts
	if n == nil || *n < 1700 || *n > 2300 {
		t.Errorf("about 2000 contacts, estimated from 1000: %v", n)
	}
	n = sizes(t, f, stats.SizeOptions{Mode: stats.Estimate})["acme"].Contacts
	if n == nil || *n != 1000 {
		t.Errorf("as of the last analysis there were 1000: %v", n)
	}
}

// After a vacuum the pages of pg_class are those of the files, but for the maps of
// free and visible pages, which it does not count.
func TestEstimateIsCloseAfterVacuum(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	fill(t, f, "tenant_acme", 5000)
	f.Exec(t, `insert into tenant_acme.contacts (name) select string_agg(md5(i::text || j), '')
		from generate_series(1, 5000) i, generate_series(1, 20) j group by j`, "vacuum analyze")
	maps := func(schema string) int64 {
		return f.Int(t, `with heaps as (select oid, reltoastrelid from pg_class where relnamespace = $1::regnamespace
			and relkind = 'r'),
				tables as (select oid from heaps union all select reltoastrelid from heaps where reltoastrelid <> 0),
				files as (select oid from tables union all select indexrelid from pg_index join tables on oid = indrelid)
			select sum(pg_relation_size(oid, 'fsm') + pg_relation_size(oid, 'vm'))::bigint from files`, schema)
	}
	exact := sizes(t, f, stats.SizeOptions{Mode: stats.Exact})
	estimated := sizes(t, f, stats.SizeOptions{Mode: stats.Estimate})
	for _, slug := range []string{"acme", "globex"} {
		got, want := estimated[slug].TotalBytes(), exact[slug].TotalBytes()-maps("tenant_"+slug)
		// Three pages for the index of TOAST, which is computed.
		if off := got - want; off < -3*8192 || off > 3*8192 || estimated[slug].Exact || !estimated[slug].Known {
			t.Errorf("%s: estimated %d, is %d (%+v)", slug, got, want, estimated[slug])
		}
	}
	if toast := f.Int(t, "select pg_table_size(reltoastrelid) from pg_class where oid = "+
		"'tenant_acme.contacts'::regclass"); toast < 1<<20 {
		t.Errorf("only %d bytes out of line: this test tests nothing", toast)
	}
	if n := estimated["acme"].Contacts; n == nil || *n != 5020 {
		t.Errorf("contacts %v", n)
	}
	if n := estimated["globex"].Contacts; n == nil || *n != 0 {
		t.Errorf("contacts of an empty table that was analyzed: %v", n)
	}
}

func TestOnlyTheRegistrysSchemasCount(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "gone", "hollow")
	f.Exec(t,
		"create schema tenants_archive", "create schema tenant_of_nobody", "create schema tenantxacme",
		"create table tenants_archive.contacts as select * from generate_series(1, 1000)",
		"create table tenant_of_nobody.contacts as select * from generate_series(1, 1000)",
		"drop schema tenant_gone cascade",
		"drop schema tenant_hollow cascade", "create schema tenant_hollow",
		"analyze tenants_archive.contacts", "analyze tenant_of_nobody.contacts",
	)
	for _, mode := range []stats.Mode{stats.Exact, stats.Estimate} {
		got := sizes(t, f, stats.SizeOptions{Mode: mode})
		if len(got) != 3 {
			t.Errorf("mode %d: %d tenants: %v", mode, len(got), got)
		}
		if s := got["gone"]; s.Known || s.Contacts != nil || s.TotalBytes() != 0 {
			t.Errorf("mode %d: a schema that is gone: %+v", mode, s)
		}
		if n := got["acme"].Contacts; (n != nil) != (mode == stats.Exact) {
			t.Errorf("mode %d: contacts of an empty table never analyzed: %v", mode, n)
		}
		if s := got["hollow"]; !s.Known || s.TotalBytes() != 0 || s.Contacts != nil {
			t.Errorf("mode %d: a schema without tables: %+v", mode, s)
		}
		if s := got["acme"]; !s.Known || s.TotalBytes() == 0 {
			t.Errorf("mode %d: %+v", mode, s)
		}
	}
}

func TestOrderTopAndSums(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a-gone", "b", "c", "d", "e")
	fill(t, f, "tenant_c", 3000)
	fill(t, f, "tenant_d", 1000)
	f.Exec(t, "drop schema tenant_a_gone cascade", "vacuum analyze tenant_c.contacts", "vacuum analyze tenant_d.contacts")
	for _, mode := range []stats.Mode{stats.Exact, stats.Estimate} {
		r := report(t, f, stats.SizeOptions{Mode: mode})
		var order []string
		for _, s := range r.Tenants {
			order = append(order, s.Slug)
		}
		if want := []string{"c", "d", "b", "e", "a-gone"}; !slices.Equal(order, want) {
			t.Errorf("mode %d: order %v, want %v", mode, order, want)
		}
		all := stats.Sum(r.Tenants)
		if all.Tenants != 5 || all.Unknown != 1 || (all.Estimated == 4) != (mode == stats.Estimate) {
			t.Errorf("mode %d: %+v", mode, all)
		}
		for n := range 8 {
			top, rest := r.Top(n)
			sum := stats.Sum(top)
			if sum.TotalBytes()+rest.TotalBytes() != all.TotalBytes() || sum.TableBytes+rest.TableBytes != all.TableBytes ||
				sum.Tenants+rest.Tenants != all.Tenants || sum.Unknown+rest.Unknown != all.Unknown {
				t.Errorf("mode %d: top %d %+v and rest %+v are not %+v", mode, n, sum, rest, all)
			}
			if want := []int{5, 1, 2, 3, 4, 5, 5, 5}[n]; len(top) != want {
				t.Errorf("top %d has %d", n, len(top))
			}
		}
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "c")
	f.Exec(t, "update public.tenants set status = 'suspended' where slug = 'b'")
	for _, mode := range []stats.Mode{stats.Auto, stats.Exact, stats.Estimate} {
		for _, c := range []struct {
			o             stats.SizeOptions
			want, missing []string
		}{
			{stats.SizeOptions{}, []string{"a", "b", "c"}, nil},
			{stats.SizeOptions{Slugs: []string{}}, nil, nil},
			{stats.SizeOptions{Slugs: []string{"x", "c", "a", "x", "y"}}, []string{"a", "c"}, []string{"x", "y"}},
			{stats.SizeOptions{Statuses: []string{"suspended"}}, []string{"b"}, nil},
			{stats.SizeOptions{Statuses: []string{"active", "deleted"}}, []string{"a", "c"}, nil},
			{stats.SizeOptions{Slugs: []string{"b", "c"}, Statuses: []string{"active"}}, []string{"c"}, []string{"b"}},
		} {
			c.o.Mode = mode
			r := report(t, f, c.o)
			var got []string
			for _, s := range r.Tenants {
				got = append(got, s.Slug)
			}
			if slices.Sort(got); !slices.Equal(got, c.want) || !slices.Equal(r.Missing, c.missing) {
				t.Errorf("%+v: %v, missing %v; want %v, %v", c.o, got, r.Missing, c.want, c.missing)
			}
			if mode == stats.Auto && r.Mode != stats.Exact {
				t.Error("a small fleet is not measured")
			}
		}
	}
}

// Many tenants are measured in several statements and, with Dial, on several
// connections; the sums are the same.
func TestChunksAndConnections(t *testing.T) {
	t.Parallel()
	const n = 420
	f := fleettest.New(t)
	f.Exec(t, fmt.Sprintf(`do $$ begin for i in 1..%d loop
			execute format('create schema tenant_%%s', i);
			execute format('create table tenant_%%s.contacts (i int primary key)', i);
			insert into public.tenants (id, slug, display_name, schema_name) values (gen_random_uuid(), i, i, 'tenant_' || i);
			if i %% 7 = 0 then execute format('insert into tenant_%%s.contacts select generate_series(1, 1000)', i); end if;
			if i %% 100 = 0 then commit; end if;
		end loop; end $$`, n))
	dialed, reports := 0, [][2]int{}
	got := sizes(t, f, stats.SizeOptions{
		Mode:     stats.Exact,
		Dial:     func(ctx context.Context) (*pgx.Conn, error) { dialed++; return f.Dial(ctx) },
		Measured: func(done, total int) { reports = append(reports, [2]int{done, total}) },
	})
	if len(got) != n || dialed != 1 {
		t.Errorf("%d tenants on %d further connections", len(got), dialed)
	}
	if want := [][2]int{{100, n}, {200, n}, {300, n}, {400, n}, {n, n}}; !slices.Equal(reports, want) {
		t.Errorf("told %v, want %v", reports, want)
	}
	var sum int64
	for _, s := range got {
		sum += s.TotalBytes()
	}
	want := f.Int(t, `select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
		join pg_namespace n on n.oid = c.relnamespace
		where n.nspname like 'tenant\_%' and c.relkind = 'r'`)
	if sum != want {
		t.Errorf("sum %d, want %d", sum, want)
	}
	left := int64(0)
	for range 100 { // the server ends a session some time after its client
		left = f.Int(t, "select count(*) from pg_stat_activity where datname = current_database() and pid <> "+
			"pg_backend_pid()")
		if left <= 1 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if left > 1 {
		t.Errorf("%d connections are left, beside the test's own", left-1)
	}
	totals, err := stats.TotalBytes(t.Context(), f.Connect(t), registry.Default(), nil)
	if err != nil || len(totals) != n {
		t.Errorf("%d totals, %v", len(totals), err)
	}
}

// A table that a migration holds must not hold up the sizes of the fleet.
func TestLockedTenantIsEstimated(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "locked")
	fill(t, f, "tenant_locked", 1000)
	f.Exec(t, "vacuum analyze tenant_locked.contacts")
	before := sizes(t, f, stats.SizeOptions{Mode: stats.Estimate})["locked"]
	other := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_locked.contacts in access exclusive mode"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	r := report(t, f, stats.SizeOptions{Mode: stats.Exact})
	got := bySlug(t, r)
	if s := got["locked"]; s.Exact || !s.Known || s.TotalBytes() != before.TotalBytes() || *s.Contacts != 1000 {
		t.Errorf("locked: %+v, estimated before: %+v", s, before)
	}
	if s := got["a"]; !s.Exact || s.TotalBytes() != total(t, f, "tenant_a") {
		t.Errorf("not locked: %+v", s)
	}
	if sum := stats.Sum(r.Tenants); r.Mode != stats.Exact || sum.Estimated != 1 {
		t.Errorf("mode %d, %+v", r.Mode, sum)
	}
	totals, err := stats.TotalBytes(t.Context(), f.Connect(t), registry.Default(), nil)
	if err != nil || totals["locked"] != before.TotalBytes() {
		t.Errorf("totals %v, %v", totals, err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("waited %v for the lock", took)
	}
}

func TestTotalBytes(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "gone")
	fill(t, f, "tenant_acme", 1000)
	f.Exec(t, "drop schema tenant_gone cascade")
	conn := f.Connect(t)
	check := func(slugs []string, want map[string]int64) {
		t.Helper()
		got, err := stats.TotalBytes(t.Context(), conn, registry.Default(), slugs)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: %v, want %v", slugs, got, want)
		}
	}
	acme, globex := total(t, f, "tenant_acme"), total(t, f, "tenant_globex")
	check(nil, map[string]int64{"acme": acme, "globex": globex})
	check([]string{"globex", "gone", "nobody"}, map[string]int64{"globex": globex})
	check([]string{}, map[string]int64{})

	// Two hundred more, which have no schema, make the fleet one to be estimated.
	f.Exec(t, `insert into public.tenants (id, slug, display_name, schema_name)
		select gen_random_uuid(), 'x' || i, 'x', 'tenant_x' || i from generate_series(1, 200) i`,
		"vacuum analyze tenant_acme.contacts")
	estimated := sizes(t, f, stats.SizeOptions{Mode: stats.Estimate})
	check(nil, map[string]int64{"acme": estimated["acme"].TotalBytes(), "globex": estimated["globex"].TotalBytes()})
	check([]string{"globex"}, map[string]int64{"globex": globex})
}

func TestWithoutRegistry(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "drop table public.tenants cascade")
	conn := f.Connect(t)
	for _, mode := range []stats.Mode{stats.Auto, stats.Exact, stats.Estimate} {
		if _, err := stats.Sizes(t.Context(), conn, stats.SizeOptions{Mode: mode}); err == nil {
			t.Errorf("mode %d: no error", mode)
		}
	}
	if _, err := stats.TotalBytes(t.Context(), conn, registry.Default(), nil); err == nil {
		t.Error("totals: no error")
	}
}
