package stats_test

import (
	"context"
	"crypto/rand"
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
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// client is a session of somebody's, which is in the middle of what it was told to do.
type client struct {
	*pgx.Conn

	t   testing.TB
	pid int32
}

// open connects as an application, and as a role unless that is "".
func open(t testing.TB, dsn, application, role string) *client {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = application
	if role != "" {
		cfg.User, cfg.Password = role, ""
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &client{Conn: conn, t: t, pid: int32(conn.PgConn().PID())}
}

// run runs statements one after the other.
func (c *client) run(statements ...string) *client {
	c.t.Helper()
	for _, sql := range statements {
		if _, err := c.Exec(c.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			c.t.Fatalf("%s: %v", sql, err)
		}
	}
	return c
}

// wait runs a statement that waits for a lock, and returns when it does.
func (c *client) wait(f *fleettest.Fleet, sql string) *client {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	for range 200 {
		if f.Int(c.t, "select count(*) from pg_locks where pid = $1 and not granted", c.pid) > 0 {
			return c
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("%s does not wait", sql)
	return nil
}

func look(t testing.TB, conn *pgx.Conn) stats.Sessions {
	t.Helper()
	s, err := stats.ReadSessions(t.Context(), conn, registry.Default())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func byPID(t testing.TB, s stats.Sessions, pid int32) stats.Session {
	t.Helper()
	i := slices.IndexFunc(s.Sessions, func(one stats.Session) bool { return one.PID == pid })
	if i < 0 {
		t.Fatalf("session %d is not there", pid)
	}
	return s.Sessions[i]
}

// role makes a role that may log in, for the length of the test.
func role(t testing.TB, f *fleettest.Fleet, name string) string {
	t.Helper()
	name += "_" + strings.ToLower(rand.Text()[:8])
	t.Cleanup(func() { f.DropRoles(t, name) })
	f.Exec(t, "create role "+name+" login")
	return name
}

func TestWhoseSession(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	long := strings.Repeat("n", 56)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "web", long)
	own, foreign := role(t, f, "own"), role(t, f, "foreign")
	f.Exec(t, "update public.tenants set role_name = '"+own+"' where slug = 'globex'",
		"update public.tenants set role_name = '"+foreign+"' where slug = 'web'",
		"create schema shared", "create table shared.t (i int)")
	f.Exec(t, fmt.Sprintf("do $$ begin execute format('comment on role %s is %%L', '%s' || (select id from "+
		"public.tenants "+
		"where slug = 'globex')); end $$", own, db.RoleMark))
	cases := []struct {
		name, application, role, sql string
		tenant                       string
		whose                        stats.Whose
	}{
		{"nothing tells", "psql", "", "", "", stats.Unknown},
		{"it reads a table", "psql", "", "begin; select from tenant_acme.contacts", "acme", stats.ByLocks},
		{"a shared schema is nobody's", "psql", "", "begin; select from tenant_acme.contacts, shared.t", "acme",
			stats.ByLocks},
		{"locks win over names", "crmctl:globex", "", "begin; select from tenant_acme.contacts", "acme", stats.ByLocks},
		{"tables of two", "crmctl:acme", "", "begin; select from tenant_acme.contacts, tenant_globex.contacts", "",
			stats.Several},
		{"a transaction that is over", "psql", "", "begin; select from tenant_acme.contacts; commit", "", stats.Unknown},
		{"crmctl's own name", "crmctl:acme", "", "", "acme", stats.ByApplication},
		{"a name of the schema", "tenant_acme", "", "", "acme", stats.ByApplication},
		{"behind a slash", "worker/globex", "", "", "globex", stats.ByApplication},
		{"with what PgBouncer adds", "web:acme - 10.0.0.7:5512", "", "", "acme", stats.ByApplication},
		{"an application called like a tenant", "web", "", "", "", stats.Unknown},
		{"a name without a tenant", "web:initech", "", "", "", stats.Unknown},
		{"a name that was cut", "crmctl:" + long + "-and-more", "", "", "", stats.Unknown},
		{"a role of its own", "psql", own, "", "globex", stats.ByRole},
		{"the name wins over the role", "web:acme", own, "", "acme", stats.ByApplication},
		{"a role that was not made for it", "psql", foreign, "", "", stats.Unknown},
	}
	pids := make([]int32, len(cases))
	for i, c := range cases {
		one := open(t, f.DSN, c.application, c.role)
		if pids[i] = one.pid; c.sql != "" {
			one.run(c.sql)
		}
	}
	found := look(t, f.Connect(t))
	for i, c := range cases {
		if s := byPID(t, found, pids[i]); s.Tenant != c.tenant || s.Whose != c.whose {
			t.Errorf("%s: %q by %s, want %q by %s", c.name, s.Tenant, s.Whose, c.tenant, c.whose)
		}
	}
	// A tenant that is being dropped, or gone from the registry, is nobody's.
	f.Exec(t, "delete from public.tenants where slug = 'acme'")
	if s := byPID(t, look(t, f.Connect(t)), pids[1]); s.Whose != stats.Unknown {
		t.Errorf("a tenant that has gone: %+v", s)
	}
}

// One session of a transaction that is dropping a tenant does not hold up a look.
func TestSessionsWhileATenantIsDropped(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	drops := open(t, f.DSN, "purge", "").run("begin; drop schema tenant_acme cascade")
	waits := open(t, f.DSN, "web", "").wait(f, "select from tenant_acme.contacts")
	found := look(t, f.Connect(t))
	if s := byPID(t, found, drops.pid); s.Tenant != "acme" {
		t.Errorf("who drops: %+v", s)
	}
	s := byPID(t, found, waits.pid)
	if s.Tenant != "acme" || !s.Waits || len(s.Blockers) != 1 || s.Blockers[0].PID != drops.pid {
		t.Errorf("who waits: %+v", s)
	}
	// The registry is locked away: what can be said is said.
	open(t, f.DSN, "upgrade", "").run("begin; lock table public.tenants")
	begun := time.Now()
	found = look(t, f.Connect(t))
	if !found.RegistryLocked || len(byPID(t, found, waits.pid).Blockers) != 1 || time.Since(begun) > 3*time.Second {
		t.Errorf("%v, %+v", time.Since(begun), found)
	}
}

func TestConnectionsByTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	open(t, f.DSN, "web:acme", "")
	open(t, f.DSN, "web:acme", "").run("begin")
	open(t, f.DSN, "web:acme", "").run("begin; lock table tenant_acme.contacts")
	open(t, f.DSN, "web:acme", "").wait(f, "select from tenant_acme.contacts")
	open(t, f.DSN, "web:globex", "").run("begin; select from tenant_globex.contacts; rollback")
	open(t, f.DSN, "psql", "")
	found := look(t, f.Connect(t))
	// fleettest closes its own sessions, and the server may take a moment to see it.
	rows := slices.DeleteFunc(found.ByTenant(), func(c stats.TenantConnections) bool { return c.Tenant == "" })
	if len(rows) != 2 || rows[0].Tenant != "acme" || rows[1].Tenant != "globex" {
		t.Fatalf("%+v", rows)
	}
	a := rows[0]
	if a.Connections != 4 || a.Idle != 1 || a.InTransaction != 2 || a.Active != 1 || a.Waiting != 1 ||
		a.Whose != stats.ByLocks {
		t.Errorf("acme: %+v", a)
	}
	if a.Oldest <= 0 || a.LongestTransaction <= 0 || a.LongestTransaction > time.Minute {
		t.Errorf("acme: %+v", a)
	}
	if r := found.Room; r.Database < 6 || r.Used < r.Database || r.Left() != min(r.Most-r.Used, 1<<30) || r.Limit != 0 {
		t.Errorf("%+v", r)
	}
	busy := found.Busy(0)
	if len(busy) != 3 || busy[0].For() < busy[2].For() || len(found.Busy(time.Hour)) != 0 {
		t.Errorf("%+v", busy)
	}
	f.Exec(t, "do $$ begin execute format('alter database %I connection limit 7', current_database()); end $$")
	if r := look(t, f.Connect(t)).Room; r.Limit != 7 || r.Left() > 1 {
		t.Errorf("%+v", r)
	}
}

// A role without pg_read_all_stats sees who waits for whom, and is told what it does not
// see.
func TestSessionsOfOthersAreHidden(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	watcher := role(t, f, "watcher")
	f.Exec(t, "grant select on all tables in schema public to "+watcher)
	holds := open(t, f.DSN, "web:acme", "").run("begin; lock table tenant_acme.contacts")
	waits := open(t, f.DSN, "web:acme", "").wait(f, "select 'secret' from tenant_acme.contacts")
	cfg, err := db.ParseConfig(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = watcher
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	found := look(t, conn)
	h, w := byPID(t, found, holds.pid), byPID(t, found, waits.pid)
	if !h.Hidden || !w.Hidden || found.Hidden < 2 || h.Tenant != "acme" || w.Tenant != "acme" || w.Query != "" {
		t.Errorf("%d hidden\n%+v\n%+v", found.Hidden, h, w)
	}
	if !w.Waits || len(w.Blockers) != 1 || w.Blockers[0].PID != holds.pid ||
		!strings.Contains(w.Wants, "tenant_acme.contacts") {
		t.Errorf("%+v", w)
	}
	if rows := found.ByTenant(); rows[0].Tenant != "acme" || rows[0].Hidden != 2 || rows[0].Waiting != 1 {
		t.Errorf("%+v", rows)
	}
	// Nothing is ended whose state is not known, and the server's refusal is no error.
	if picked, _ := found.Pick(stats.PickOptions{Idle: 1, InTransaction: 1}); len(picked) != 0 {
		t.Errorf("picked %+v", picked)
	}
	picked, _ := found.Pick(stats.PickOptions{PIDs: []int32{holds.pid}, Superusers: true})
	if len(picked) != 1 {
		t.Fatalf("%+v", picked)
	}
	if fate, err := stats.End(t.Context(), conn, picked[0], stats.PickOptions{PIDs: []int32{holds.pid},
		Superusers: true}); err != nil ||
		fate != stats.Refused {
		t.Errorf("%s, %v", fate, err)
	}
	f.Exec(t, "grant pg_monitor to "+watcher)
	if found := look(t, conn); found.Hidden != 0 || byPID(t, found, waits.pid).Query == "" {
		t.Errorf("with pg_monitor: %+v", found)
	}
}

// tree draws a tree with the names of its sessions.
func tree(s stats.Sessions, names map[int32]string) string {
	var b strings.Builder
	for _, n := range s.LockTree() {
		name := names[n.PID]
		if n.GID != "" {
			name = n.GID
		}
		fmt.Fprintf(&b, "%s%s %d", strings.Repeat("  ", n.Depth), name, n.Behind)
		for _, also := range n.Also {
			fmt.Fprintf(&b, " also %s", names[also.PID]+also.GID)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestLockTree(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"max_prepared_transactions": "4"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	f.Exec(t, "insert into tenant_globex.contacts (email) values ('a@example.com'), ('b@example.com')")
	names := map[int32]string{}
	named := func(name string) *client {
		c := open(t, f.DSN, name, "")
		names[c.pid] = name
		return c
	}
	// A queue behind an ALTER, which itself waits for a reader.
	named("reader").run("begin; select from tenant_acme.contacts")
	named("alter").wait(f, "alter table tenant_acme.contacts add x int")
	named("first").wait(f, "select from tenant_acme.contacts")
	named("second").wait(f, "select from tenant_acme.contacts limit 1")
	// Three deep, by rows.
	named("root").run("begin; update tenant_globex.contacts set name = 'x' where email = 'a@example.com'")
	named("middle").run("begin; update tenant_globex.contacts set name = 'x' where email = 'b@example.com'").
		wait(f, "update tenant_globex.contacts set name = 'y' where email = 'a@example.com'")
	named("leaf").wait(f, "update tenant_globex.contacts set name = 'z' where email = 'b@example.com'")
	// A prepared transaction, which has no process.
	named("gone").run("begin; lock table tenant_initech.contacts; prepare transaction 'left behind'")
	named("waits").wait(f, "select from tenant_initech.contacts")

	found := look(t, f.Connect(t))
	const want = `reader 3
  alter 2
    first 0
    second 0
root 2
  middle 1
    leaf 0
left behind 1
  waits 0
`
	if got := tree(found, names); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, n := range found.LockTree() {
		tenant := map[bool]string{true: "initech"}[n.GID != "" || names[n.PID] == "waits"]
		switch names[n.PID] {
		case "reader", "alter", "first", "second":
			tenant = "acme"
		case "root", "middle", "leaf":
			tenant = "globex"
		}
		if n.Tenant != tenant || n.Whose != stats.ByLocks || n.IsRoot() != (n.Depth == 0) {
			t.Errorf("%s%s: %q by %s", names[n.PID], n.GID, n.Tenant, n.Whose)
		}
		if n.Depth > 0 && (n.Waited <= 0 || n.Waited > time.Minute || n.Wants == "") {
			t.Errorf("%s: waits %s for %q", names[n.PID], n.Waited, n.Wants)
		}
	}
	for pid, name := range names {
		if s := byPID(t, found, pid); name == "alter" && s.Wants != "AccessExclusiveLock on tenant_acme.contacts" {
			t.Errorf("%+v", s)
		}
	}
}

// Of two in the way the one that itself waits has to end last.
func TestLockTreeOfManyBlockers(t *testing.T) {
	t.Parallel()
	one := func(pid int32, blockers ...int32) stats.Session {
		s := stats.Session{PID: pid}
		for _, b := range blockers {
			s.Blockers = append(s.Blockers, stats.Blocker{PID: b})
		}
		return s
	}
	names := map[int32]string{1: "a", 2: "b", 3: "c", 4: "d", 5: "e", 6: "f", 9: "elsewhere"}
	for _, c := range []struct {
		sessions []stats.Session
		want     string
	}{
		{nil, ""},
		{[]stats.Session{one(1), one(2)}, ""},
		{[]stats.Session{one(1), one(2, 1), one(3, 1, 2)}, "a 2\n  b 1\n    c 0 also a\n"},
		{[]stats.Session{one(1), one(2), one(3, 1, 2)}, "a 1\n  c 0 also b\nb 0\n"},
		{[]stats.Session{one(3, 9)}, "elsewhere 1\n  c 0\n"},
		{[]stats.Session{one(1, 2), one(2, 1), one(3, 2)}, "a 2\n  b 1\n    c 0\n"},
	} {
		got := tree(stats.Sessions{Sessions: c.sessions}, names)
		if c.want != got && !strings.Contains(c.want, "a 2\n  b 1\n    c 0\n") ||
			len(strings.Split(got, "\n")) != len(strings.Split(c.want, "\n")) {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestPickAndEnd(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	app := role(t, f, "app")
	idle := open(t, f.DSN, "web:acme", app)
	other := open(t, f.DSN, "web:globex", app)
	unknown := open(t, f.DSN, "web", app)
	open1 := open(t, f.DSN, "web:acme", app).run("begin")
	super := open(t, f.DSN, "web:acme", "")
	elsewhere := open(t, pgtest.Empty(t), "web:acme", app)
	time.Sleep(50 * time.Millisecond)
	conn := f.Connect(t)
	found := look(t, conn)
	pids := func(o stats.PickOptions) []int32 {
		picked, _ := found.Pick(o)
		var out []int32
		for _, s := range picked {
			if s.Application != "crmctl" { // sessions of the test's own that are just ending
				out = append(out, s.PID)
			}
		}
		slices.Sort(out)
		return out
	}
	sorted := func(clients ...*client) (out []int32) {
		for _, c := range clients {
			out = append(out, c.pid)
		}
		slices.Sort(out)
		return out
	}
	acme := func(slug string) bool { return slug == "acme" }
	const short = 10 * time.Millisecond
	for _, c := range []struct {
		name string
		o    stats.PickOptions
		want []int32
	}{
		{"nothing is asked for", stats.PickOptions{}, nil},
		{"idle", stats.PickOptions{Idle: short}, sorted(idle, other, unknown)},
		{"idle long enough", stats.PickOptions{Idle: time.Hour}, nil},
		{"in a transaction", stats.PickOptions{InTransaction: short}, sorted(open1)},
		{"both", stats.PickOptions{Idle: short, InTransaction: short}, sorted(idle, other, unknown, open1)},
		{"of a tenant", stats.PickOptions{Idle: short, Tenant: acme}, sorted(idle)},
		{"superusers too", stats.PickOptions{Idle: short, Tenant: acme, Superusers: true}, sorted(idle, super)},
		{"by process", stats.PickOptions{PIDs: sorted(idle, super, elsewhere)}, sorted(idle)},
	} {
		if got := pids(c.o); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	own := int32(conn.PgConn().PID())
	if _, left := found.Pick(stats.PickOptions{PIDs: []int32{super.pid, elsewhere.pid, own, 0}}); len(left) != 4 {
		t.Errorf("%+v", left)
	}
	// One that is at work again is not ended, nor one whose process serves another by now.
	o := stats.PickOptions{Idle: short}
	other.run("select 1")
	end := func(c *client, want stats.Fate) {
		t.Helper()
		if fate, err := stats.End(t.Context(), conn, byPID(t, found, c.pid),
			stats.PickOptions{Idle: time.Second}); err != nil ||
			fate != stats.Changed {
			t.Errorf("not idle long enough: %s, %v", fate, err)
		}
		if fate, err := stats.End(t.Context(), conn, byPID(t, found, c.pid), o); err != nil || fate != want {
			t.Errorf("%s, %v, want %s", fate, err, want)
		}
	}
	end(idle, stats.Ended)
	other.run("begin")
	end(other, stats.Changed)
	end(super, stats.Changed)
	if idle.Ping(t.Context()) == nil || other.Ping(t.Context()) != nil || super.Ping(t.Context()) != nil {
		t.Error("the wrong one has ended")
	}
}

// Behind PgBouncer a look and what follows may be on different server processes.
func TestSessionsBehindAPooler(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	conn := pooled.Connect(t)
	through := open(t, pooled.DSN, "web:acme", "").run("begin; select from tenant_acme.contacts")
	u, err := url.Parse(pooled.DSN)
	if err != nil || u.Path == "" {
		t.Fatal(err)
	}
	found := look(t, conn)
	i := slices.IndexFunc(found.Sessions, func(s stats.Session) bool { return s.Tenant == "acme" && s.IsInTransaction() })
	if i < 0 || found.Sessions[i].Whose != stats.ByLocks {
		t.Fatalf("%+v", found.Sessions)
	}
	o := stats.PickOptions{InTransaction: time.Nanosecond, Superusers: true}
	if fate, err := stats.End(t.Context(), conn, found.Sessions[i], o); err != nil || fate != stats.Ended {
		t.Errorf("%s, %v", fate, err)
	}
	if _, err := through.Exec(t.Context(), "select 1", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("it goes on")
	}
	if path, err := db.Select(t.Context(), conn, pgx.RowTo[string],
		"select current_setting('statement_timeout')"); err != nil ||
		path[0] != "0" {
		t.Errorf("left behind: %q, %v", path, err)
	}
}
