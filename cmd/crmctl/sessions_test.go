package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// openSessions opens sessions of an application for the length of the test: one of a tenant
// holds a lock that no command takes and does nothing, one waits for it, and two are idle.
func openSessions(t *testing.T, f *fleettest.Fleet, tenant string) {
	t.Helper()
	open := func(application string) *pgx.Conn {
		cfg, err := pgx.ParseConfig(f.DSN)
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["application_name"] = application
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	open("psql")
	open("web:" + tenant)
	const lock = "select pg_advisory_xact_lock(4711)"
	if _, err := open("web:"+tenant).Exec(t.Context(), "begin; "+lock, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	waits := open("worker/" + tenant)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = waits.Exec(ctx, lock, pgx.QueryExecModeSimpleProtocol)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for range 200 {
		if f.Int(t, "select count(*) from pg_locks where pid = $1 and not granted", waits.PgConn().PID()) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("nobody waits")
}

// Where nothing is left to show, what cannot be seen is said first.
func TestHiddenSessionsComeFirst(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	openSessions(t, f, "acme")
	name, poor := poorRole(t, f)
	f.Exec(t, `grant usage on schema public to "`+name+`"`, `grant select on all tables in schema public to "`+name+`"`)
	const hidden = "sessions of other roles: what they do is hidden; grant pg_read_all_stats to this role"
	for command, then := range map[string]string{"activity": "apart from that nothing runs, and no transaction is open",
		"locks": ""} {
		for _, terminal := range []bool{false, true} {
			b := newBench(t).setenv("DATABASE_URL=" + poor.DSN)
			if terminal {
				b.onTerminal()
			}
			if code := b.run("stats", command); code != cli.ExitOK {
				t.Fatalf("stats %s: exit code %d\n%s", command, code, b.err)
			}
			text := strings.Join(strings.Fields(b.out.String()+b.err.String()), " ")
			_, after, said := strings.Cut(text, hidden)
			if !said || !strings.Contains(after, then) || strings.Count(text, hidden) != 1 {
				t.Errorf("stats %s, on a terminal %t:\n%s%s", command, terminal, b.out, b.err)
			}
		}
	}
}

// Who blocks is ended by the command that the tree names, and the audit says so; nothing
// that is no single tenant's is ended with --tenant.
func TestConnectionsClean(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	openSessions(t, f, "acme")
	run := func(want int, args ...string) string {
		t.Helper()
		b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
		if code := b.run(args...); code != want {
			t.Errorf("%v: exit code %d, want %d\n%s%s", args, code, want, b.out, b.err)
		}
		return b.out.String() + b.err.String()
	}
	for _, args := range [][]string{{}, {"--kill", "12", "--idle", "5m"}, {"--kill", "12", "--tenant", "acme"},
		{"--idle", "x"}} {
		run(cli.ExitUsage, append([]string{"connections", "clean"}, args...)...)
	}
	run(cli.ExitUsage, "connections", "clean", "--in-transaction", "1ms", "--superusers") // there is nobody to ask
	// who waits shorter than a second is not worth a word
	time.Sleep(1100 * time.Millisecond)
	if text := run(cli.ExitPending, "stats", "diagnose"); !strings.Contains(text, "crmctl stats locks") {
		t.Error(text)
	}
	text := run(cli.ExitOK, "stats", "locks")
	_, command, found := strings.Cut(text, "next: crmctl ")
	if !found {
		t.Fatal(text)
	}
	command, _, _ = strings.Cut(command, "        ")
	run(exitNoTenant, "connections", "clean", "--in-transaction", "1ms", "--tenant", "acm", "--yes")
	run(cli.ExitOK, "connections", "clean", "--in-transaction", "1ms", "--superusers", "--tenant", "globex", "--yes")
	run(cli.ExitOK, "connections", "clean", "--in-transaction", "1ms", "--superusers", "--dry-run")
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'disconnect'"); n != 0 {
		t.Errorf("%d entries of the audit, and nothing was ended", n)
	}
	if text := run(cli.ExitOK, append(strings.Fields(command), "--yes")...); !strings.Contains(text, "ended") {
		t.Error(text)
	}
	if text := run(cli.ExitOK, "stats", "locks"); !strings.Contains(text, "nobody waits for a lock") {
		t.Error(text)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events e join public.tenants t on t.id = e.tenant_id where "+
		"e.action = 'disconnect' and t.slug = 'acme' and e.detail->>'sessions' = '1'"); n != 1 {
		t.Errorf("%d entries of the audit, want one", n)
	}
	run(cli.ExitOK, "connections", "clean", "--idle", "1ms", "--superusers", "--yes")
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'disconnect' and slug = '-'"); n != 1 {
		t.Errorf("%d entries of the audit for sessions of nobody, want one", n)
	}
}
