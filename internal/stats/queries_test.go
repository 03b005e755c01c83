package stats_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/stats"
)

// counting is a fleet on a server that counts statements.
func counting(t *testing.T, tenants int) *fleettest.Fleet {
	t.Helper()
	server, _ := pgtest.Instance(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "fsync": "off",
		"max_locks_per_transaction": "256", "pg_stat_statements.max": "10000"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Crowd(t, tenants, "contacts")
	return f
}

func queries(t testing.TB, conn *pgx.Conn, o stats.QueryOptions) stats.Queries {
	t.Helper()
	found, err := stats.ReadQueries(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// like returns the statements whose text has a part.
func like(found stats.Queries, part string) []stats.Query {
	var out []stats.Query
	for _, q := range found.Queries {
		if strings.Contains(q.Text, part) {
			out = append(out, q)
		}
	}
	return out
}

const (
	heavy  = "select id, (select count(*) from generate_series(1, 20000)) as heavy from contacts"
	middle = "select id, (select max(i) from generate_series(1, 4000) i) as middle from contacts"
	light  = "select id as light from contacts where email in ('a', 'b')"
)

// A thousand tenants run three statements: these are three lines, in the order of the time
// they take, though the server has an entry for each tenant before PostgreSQL 18. Tenants
// that are gone stay in the sums.
func TestQueriesOfAThousandTenants(t *testing.T) {
	t.Parallel()
	const n = 1000
	f := counting(t, n)
	f.Exec(t, "create schema extensions", "create extension pg_stat_statements schema extensions",
		"select extensions.pg_stat_statements_reset()")
	conn := f.Connect(t)
	for i := 1; i <= n; i++ {
		var b pgx.Batch
		b.Queue(fmt.Sprintf("set search_path to tenant_%d, public", i))
		b.Queue("insert into contacts values (1, 'a') on conflict do nothing")
		b.Queue(light)
		b.Queue(heavy)
		b.Queue(strings.ReplaceAll(middle, " contacts", fmt.Sprintf(" tenant_%d.contacts", i)))
		if err := conn.SendBatch(t.Context(), &b).Close(); err != nil {
			t.Fatal(err)
		}
	}
	f.Exec(t, "drop schema tenant_7 cascade", "delete from public.tenants where slug = 't7'")
	start := time.Now()
	found := queries(t, f.Connect(t), stats.QueryOptions{})
	t.Logf("%d entries, %d statements in %v", found.Entries, len(found.Queries), time.Since(start))
	if len(found.Queries) < 5 || !strings.Contains(found.Queries[0].Text, "heavy") ||
		!strings.Contains(found.Queries[1].Text, "middle") || found.Dealloc != 0 || found.Most != 10_000 ||
		time.Since(found.Since) > time.Hour {
		t.Fatalf("%.3000s", fmt.Sprintf("%+v", found))
	}
	for _, part := range []string{"heavy", "middle", "light", "insert into contacts", "set search_path"} {
		q := like(found, part)
		entries, known := n, 0
		if found.ByName && part != "set search_path" {
			entries = 1
		}
		if !found.ByName && (part == "middle" || part == "set search_path") {
			known = n - 1 // one is gone
		}
		if part == "set search_path" {
			if len(q) != 1 || q[0].Calls != n {
				t.Errorf("%s: %+v", part, q)
			}
			continue
		}
		if len(q) != 1 || q[0].Calls != n || q[0].Rows > n || q[0].Entries != entries || q[0].Tenants != known ||
			strings.Contains(q[0].Text, "tenant_") || q[0].Total <= 0 || q[0].Max < q[0].Mean() {
			t.Errorf("%s: %+v", part, q)
		}
	}
	if sum := found.All; sum.Calls < 5*n || sum.Total < found.Queries[0].Total || sum.HitRatio() > 1 {
		t.Errorf("all: %+v", sum)
	}
	if !found.ByName {
		if len(found.Tenants) != n-1 {
			t.Errorf("%d tenants are known", len(found.Tenants))
		}
		one := queries(t, f.Connect(t), stats.QueryOptions{Tenant: func(slug string) bool { return slug == "t12" }})
		if q := like(one, "middle"); len(q) != 1 || q[0].Calls != 1 || len(like(one, "heavy")) != 0 ||
			len(one.Tenants) != 1 || one.Tenants[0].Whose != stats.ByText || one.Unknown.Calls < n {
			t.Errorf("of t12: %+v", one)
		}
	}
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	if again := queries(t, pooled.Connect(t), stats.QueryOptions{}); len(like(again, "heavy")) != 1 {
		t.Errorf("behind a pooler: %+v", again.Queries)
	}
}

// login returns the connection string of a role that may log in.
func login(t *testing.T, f *fleettest.Fleet, role string) *fleettest.Fleet {
	t.Helper()
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return &fleettest.Fleet{DSN: u.String()}
}

// Where tenants have roles of their own the time of each is known, whatever the version;
// a role that may not see others' statements counts them, and says so.
func TestQueriesByRole(t *testing.T) {
	t.Parallel()
	f := counting(t, 3)
	f.Exec(t, "create extension pg_stat_statements")
	for _, sql := range []string{"create role tenant_1_login login", "create role tenant_2_login login", "create role app login",
		"grant usage on schema tenant_1 to tenant_1_login", "grant select on tenant_1.contacts to tenant_1_login",
		"grant usage on schema tenant_2 to tenant_2_login", "grant select on tenant_2.contacts to tenant_2_login",
		"grant usage on schema public to app", "grant select on public.tenants to app",
		"update public.tenants set role_name = schema_name || '_login' where slug <> 't3'",
		"do $$ declare t record; begin for t in select * from public.tenants where role_name is not null loop execute " +
			"format('comment on role %I is %L', t.role_name, '" + db.RoleMark + "' || t.id); end loop; end $$"} {
		f.Exec(t, sql)
	}
	f.Exec(t, "select pg_stat_statements_reset()")
	work(t, login(t, f, "tenant_1_login"), "set search_path to tenant_1", heavy, heavy, heavy)
	work(t, login(t, f, "tenant_2_login"), "set search_path to tenant_2", heavy)
	work(t, f, "set search_path to tenant_3", heavy)
	found := queries(t, f.Connect(t), stats.QueryOptions{})
	if q := like(found, "heavy"); len(q) != 1 || q[0].Calls != 5 || q[0].Tenants != 2 || len(q[0].Roles) != 1 {
		t.Errorf("%+v", q)
	}
	i := slices.IndexFunc(found.Tenants, func(q stats.TenantQueries) bool { return q.Slug == "t1" })
	if i < 0 || found.Tenants[i].Calls < 4 || found.Tenants[i].Queries < 2 || found.Tenants[i].Whose != stats.ByRole ||
		found.Tenants[i].Mean() <= 0 {
		t.Errorf("t1: %+v", found.Tenants)
	}
	one := queries(t, f.Connect(t), stats.QueryOptions{Tenant: func(slug string) bool { return slug == "t2" }})
	if q := like(one, "heavy"); len(q) != 1 || q[0].Calls != 1 || len(one.Tenants) != 1 {
		t.Errorf("of t2: %+v", one)
	}
	app := login(t, f, "app")
	work(t, app, "select 1 as mine")
	hidden := queries(t, app.Connect(t), stats.QueryOptions{})
	if hidden.Hidden.Calls < 8 || len(like(hidden, "mine")) != 1 || len(like(hidden, "heavy")) != 0 ||
		hidden.All.Calls < hidden.Hidden.Calls+1 {
		t.Errorf("as a role that may not see others': %+v", hidden)
	}
	if i := slices.IndexFunc(hidden.Tenants, func(q stats.TenantQueries) bool { return q.Slug == "t1" }); i < 0 ||
		hidden.Tenants[i].Calls < 4 {
		t.Errorf("the time of a tenant is known by its role though the text is not: %+v", hidden.Tenants)
	}
	f.Exec(t, "grant pg_read_all_stats to app")
	if all := queries(t, app.Connect(t), stats.QueryOptions{}); all.Hidden.Calls != 0 || len(like(all, "heavy")) != 1 {
		t.Errorf("with pg_read_all_stats: %+v", all)
	}
	f.Exec(t, "drop extension pg_stat_statements")
	if _, err := stats.ReadQueries(t.Context(), f.Connect(t), stats.QueryOptions{}); !errors.Is(err, stats.ErrNotCreated) {
		t.Errorf("without the extension: %v", err)
	}
	f.Exec(t, "create extension pg_stat_statements version '1.8'")
	if _, err := stats.ReadQueries(t.Context(), f.Connect(t), stats.QueryOptions{}); !errors.Is(err, stats.ErrOutdated) {
		t.Errorf("with an old extension: %v", err)
	}
}

// Texts of any kind are statements like others.
func TestQueriesOfHostileTexts(t *testing.T) {
	t.Parallel()
	f := counting(t, 2)
	f.Exec(t, "create extension pg_stat_statements", "create role secretive login", "select pg_stat_statements_reset()")
	f.Exec(t, "select 1 as \"\x1b[31mred\x1b[0m\"", "alter role secretive password 'open sesame'",
		"select 1 as long, '"+strings.Repeat("x", 1<<20)+"'",
		"select "+strings.Repeat("1, ", 1600)+"1 + 1 + 1 as many", "select 1 + 2 as \"'; drop table x; --\"",
		"select 1 * 2 as \"\u202e\", 'ä', $tag$tenant_1.contacts$tag$")
	found := queries(t, f.Connect(t), stats.QueryOptions{})
	for _, q := range found.Queries {
		if strings.Contains(q.Text, "sesame") || len(q.Text) > 5000 {
			t.Errorf("%.200q", q.Text)
		}
	}
	for _, part := range []string{"red", "alter role", "as long", "many", "drop table", "\u202e"} {
		if len(like(found, part)) != 1 {
			t.Errorf("no statement with %q", part)
		}
	}
}

// A server without the library says so.
func TestQueriesWithoutTheLibrary(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if _, err := stats.ReadQueries(t.Context(), f.Connect(t), stats.QueryOptions{}); !errors.Is(err, stats.ErrNotLoaded) {
		t.Errorf("error %v", err)
	}
}
