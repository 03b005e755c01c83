package main

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// statsLeaves returns the commands of the group stats.
func statsLeaves(t *testing.T) (leaves []*cobra.Command) {
	t.Helper()
	stats, _, err := newRootCmd(newBench(t).factory(t)).Find([]string{"stats"})
	if err != nil {
		t.Fatal(err)
	}
	return stats.Commands()
}

func TestStatsSayWhatTheyCost(t *testing.T) {
	t.Parallel()
	for _, cmd := range statsLeaves(t) {
		if !strings.Contains(cmd.Long, "What it costs: ") {
			t.Errorf("stats %s does not say what it costs", cmd.Name())
		}
	}
}

// reading holds what a process sends against the rule for statistics: every statement is in a
// transaction that only reads, with a bound for each statement and a short one for locks.
type reading struct {
	mu   sync.Mutex
	sent int
	bad  []string
}

var (
	setsLimit  = regexp.MustCompile(`set_config\('(lock|statement)_timeout', \$(\d+), true\)`)
	readsAlone = regexp.MustCompile(`^begin( isolation level [a-z ]+,)? read only$`)
)

func (r *reading) see(conn *pgx.Conn, statements []db.Sent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const key = "reading: bounds"
	data := conn.PgConn().CustomData()
	if conn.PgConn().TxStatus() == 'I' {
		data[key] = ""
	}
	state, _ := data[key].(string)
	for _, s := range statements {
		r.sent++
		sql := strings.Join(strings.Fields(s.SQL), " ")
		switch {
		case strings.HasPrefix(sql, "begin"):
			if state = ""; readsAlone.MatchString(sql) {
				state = "read"
			}
		case sql == "commit", sql == "rollback":
			state = ""
		case sql == "set transaction read only" && state != "":
		case (state == "read" || strings.Contains(sql, "set_config('transaction_read_only', 'on', true)")) && bounded(s):
			state = "bound"
		case state != "bound":
			r.bad = append(r.bad, fmt.Sprintf("%.300s", sql))
		}
	}
	data[key] = state
}

// bounded reports whether a statement sets both limits, to at most a minute and a second.
func bounded(s db.Sent) bool {
	found := map[string]bool{}
	for _, m := range setsLimit.FindAllStringSubmatch(s.SQL, -1) {
		n, _ := strconv.Atoi(m[2])
		limit, _ := strconv.Atoi(fmt.Sprint(s.Args[n-1]))
		found[m[1]] = limit > 0 && limit <= map[string]int{"lock": 1000, "statement": 60_000}[m[1]]
	}
	return found["lock"] && found["statement"]
}

// crowded is a server with a thousand tenants, looked at by a role that may do nothing in half
// of them, through a pooler.
type crowded struct {
	*fleettest.Fleet

	watcher string // the connection string of the role
	pooled  string // the same, through the pooler
}

func newCrowded(t *testing.T) crowded {
	t.Helper()
	server, _ := pgtest.Instance(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "fsync": "off",
		"max_locks_per_transaction": "64", "max_connections": "30"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Crowd(t, 1000, "contacts", "messages")
	f.Exec(t, "create extension pg_stat_statements", "create role watcher login",
		"grant usage on schema public to watcher", "grant select on all tables in schema public to watcher",
		`do $$ begin for i in 1..500 loop
			execute format('grant usage on schema tenant_%s to watcher', i);
			execute format('grant select on all tables in schema tenant_%s to watcher', i);
		end loop; end $$`, "analyze")
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("watcher")
	return crowded{Fleet: f, watcher: u.String(), pooled: pgtest.Pooler(t, u.String())}
}

// statsLines are command lines for each command of the group, and words that its answer has at
// the fleet of TestStatsOfAThousand.
func statsLines() map[string][]struct{ args, has string } {
	type line = struct{ args, has string }
	return map[string][]line{
		"activity":    {{"", "tenant_7.contacts"}},
		"catalog":     {{"", "schemas"}, {"--by tenant --top 3", ""}},
		"connections": {{"", "t7"}},
		"diagnose":    {{"", "blocked"}},
		"explain":     {{"t3 select", "Result"}},
		"indexes":     {{"", "contacts_pkey"}, {"--suggest", ""}},
		"load":        {{"--interval 1s", ""}},
		"locks":       {{"", "t7"}},
		"metrics":     {{"--format prometheus", "crmctl_blocked_sessions 1"}},
		"queries":     {{"", ""}, {"--by tenant", ""}},
		"sizes": {{"--top 3", "their schemas are gone"}, {"--exact --top 3", "1 tenant is estimated: a table of it is locked"},
			{"--by table --exact", "contacts"}, {"--by table", "contacts"}, {"--by tablespace --exact", "pg_default"},
			{"--by tablespace", "pg_default"}, {"--history --top 3", "HISTORY"}},
	}
}

// The statistics of a thousand tenants, some of which are locked, dropped meanwhile, or closed
// to the role, through a pooler: each ends soon, says what it found, and only reads.
func TestStatsOfAThousand(t *testing.T) {
	t.Parallel()
	c := newCrowded(t)
	holder := c.Connect(t)
	if _, err := holder.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), "lock table tenant_7.contacts in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	waiter, err := pgx.Connect(t.Context(), c.DSN) // not one that is observed: it may come late
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiter.Close(context.Background()) })
	ctx, cancel := context.WithCancel(t.Context())
	var waits sync.WaitGroup
	waits.Go(func() { _, _ = waiter.Exec(ctx, "select count(*) from tenant_7.contacts") })
	waits.Go(func() { c.dropSome(ctx, t) })
	t.Cleanup(func() { cancel(); waits.Wait() })
	waitFor(t, func() bool {
		return c.Int(t, `select count(*) from pg_stat_activity where wait_event_type = 'Lock'
			and query = 'select count(*) from tenant_7.contacts'`) > 0
	})
	lines := statsLines()
	for _, cmd := range statsLeaves(t) {
		if cmd.Name() == "serve" || cmd.Name() == "top" { // metrics and the others do what they do
			continue
		}
		if lines[cmd.Name()] == nil {
			t.Errorf("stats %s is not tried", cmd.Name())
		}
		for _, line := range lines[cmd.Name()] {
			args := append([]string{"stats", cmd.Name()}, strings.Fields(line.args)...)
			for _, way := range []struct{ name, dsn string }{{"owner", c.DSN}, {"pooler", c.pooled}} {
				has := line.has
				if way.dsn == c.pooled && (cmd.Name() == "activity" || cmd.Name() == "metrics") {
					has = map[string]string{"activity": "is hidden", "metrics": "crmctl_connections"}[cmd.Name()]
				}
				c.try(t, way.name, way.dsn, args, has)
			}
		}
	}
}

func (c crowded) try(t *testing.T, way, dsn string, args []string, has string) {
	t.Helper()
	var r reading
	pgtest.Observe(t, dsn, r.see)
	b := newBench(t).setenv("DATABASE_URL="+dsn, "NO_COLOR=1")
	begun := time.Now()
	code := b.run(args...)
	took := time.Since(begun)
	name := way + ": " + strings.Join(args, " ")
	t.Logf("%s: %d ms", name, took.Milliseconds())
	text := b.out.String() + b.err.String()
	if code != cli.ExitOK && code != cli.ExitPending || !strings.Contains(text, has) {
		t.Errorf("%s: exit code %d\n%.3000s", name, code, text)
	}
	if took > 15*time.Second {
		t.Errorf("%s: took %s", name, took)
	}
	if r.sent == 0 {
		t.Errorf("%s: nothing was sent", name)
	}
	for _, sql := range r.bad {
		t.Errorf("%s: sent outside of a bounded transaction that only reads: %s", name, sql)
	}
}

// dropSome drops the schemas of some tenants, one after another.
func (c crowded) dropSome(ctx context.Context, t *testing.T) {
	conn, err := pgx.Connect(ctx, c.DSN) // not one that is observed
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for i := 900; i < 1000; i++ {
		if _, err := conn.Exec(ctx, fmt.Sprintf("drop schema tenant_%d cascade", i)); err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
