package migrate_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// answers counts the outcomes in a state with what is known of a lost answer.
func answers(r *migrate.Report, s migrate.State, a migrate.Answer) int {
	n := 0
	for _, o := range r.Outcomes {
		if o.State == s && o.Answer == a {
			n++
		}
	}
	return n
}

// checkAgree checks that the schemas, the registry and the ledger have of each tenant what the
// report says.
func checkAgree(t *testing.T, f *fleettest.Fleet, report *migrate.Report) {
	t.Helper()
	for _, o := range report.Outcomes {
		wantAt(t, f, []registry.Tenant{o.Tenant}, o.To)
		if n := f.Int(t, `select count(*) from public.migration_run_tenants where run_id = $1 and tenant_id = $2
			and state = $3 and from_version = $4 and to_version = $5`, report.RunID, o.Tenant.ID, string(o.State), o.From,
			o.To); n != 1 {
			t.Errorf("%s: the ledger does not say %s from %d to %d", o.Tenant.Slug, o.State, o.From, o.To)
		}
	}
	if n := f.Int(t, `select count(*) from public.migration_runs where id = $1 and finished_at is not null
		and succeeded = $2 and failed = $3 and not_started = $4`, report.RunID,
		report.Count(migrate.Migrated)+report.Count(migrate.Current)+report.Count(migrate.Skipped),
		report.Count(migrate.Failed), report.Count(migrate.NotStarted)); n != 1 {
		t.Error("the ledger does not have the counts of the report")
	}
}

// TestLostAnswerOfAGroup: the connection is cut behind the commit of a group. Its tenants are
// migrated, as long as no other run can have done it.
func TestLostAnswerOfAGroup(t *testing.T) {
	t.Parallel()
	const killed = `insert into public.migration_runs (kind, actor, target_version, tenants, state, finished_at)
		values ('migrate', 'another', 2, 13, 'killed', now())`
	for name, c := range map[string]struct {
		others string
		want   migrate.State
		answer migrate.Answer
	}{
		"alone":          {"", migrate.Migrated, migrate.AnswerRecovered},
		"one was killed": {killed, migrate.Current, migrate.AnswerUnclear},
		"a vacuum goes on": {`insert into public.migration_runs (kind, actor, target_version, tenants)
			values ('vacuum', 'another', -1, 13)`, migrate.Migrated, migrate.AnswerRecovered},
		"one goes on": {`insert into public.migration_runs (kind, actor, target_version, tenants)
			values ('migrate', 'another', 2, 13)`, migrate.Current, migrate.AnswerUnclear},
		"one ended without": {`insert into public.migration_runs (kind, actor, target_version, tenants, state, finished_at)
			values ('migrate', 'another', 2, 0, 'finished', now())`, migrate.Migrated, migrate.AnswerRecovered},
		"one has failed there": {`with r as (` + killed + ` returning id) insert into public.migration_run_tenants
			(run_id, tenant_id, slug, state, from_version, to_version, attempts, duration_ms)
			select r.id, t.id, t.slug, 'failed', 1, 1, 1, 1 from r, public.tenants t`, migrate.Migrated, migrate.AnswerRecovered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table once (x int);"})
			tenants := f.Create(t, old, fleettest.Names(13)...)
			proxy := pgtest.NewProxy(t, f.DSN, 0)
			o := migrate.RunOptions{LockTimeout: 2 * time.Second, Group: 6, Fleet: fleet.Options{Concurrency: 1, Backoff: soon},
				Observe: locking(func(e migrate.Event) {
					if _, ok := e.(migrate.CanaryPassed); ok {
						proxy.CutAfter("create table once", 1)
						if c.others != "" {
							f.Exec(t, c.others)
						}
					}
				})}
			o.Canary.Count = 1
			report, err := plan.Run(t.Context(), f.Connect(t), (&fleettest.Fleet{DSN: proxy.DSN}).Dial, tenants, o)
			if err != nil || proxy.Cuts() != 0 {
				t.Fatalf("%v, %d cuts left", err, proxy.Cuts())
			}
			if n := answers(report, c.want, c.answer); n != 6 {
				t.Errorf("%d tenants are %s and %q, want 6", n, c.want, c.answer)
			}
			if n := answers(report, migrate.Migrated, migrate.AnswerNone); n != 7 {
				t.Errorf("%d others migrated, want 7", n)
			}
			checkAgree(t, f, report)
		})
	}
}

// TestLostAnswerAndNoOtherTry: the answer to a commit is lost, and the run is over before
// another attempt: it is cancelled, or there are none left.
func TestLostAnswerAndNoOtherTry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		group, attempts int
		cancels, lost   bool // lost: the commit does not reach the server
		want            int
	}{
		"a group, cancelled":                {6, 5, true, false, 6},
		"a group that was not committed":    {6, 5, true, true, 0},
		"one, cancelled":                    {1, 5, true, false, 1},
		"one without attempts":              {1, 1, false, false, 1},
		"one without attempts, rolled back": {1, 1, false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table once (x int);"})
			tenants := f.Create(t, old, fleettest.Names(13)...)
			proxy := pgtest.NewProxy(t, f.DSN, 0)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			passed := false
			connect := func(ctx context.Context) (*pgx.Conn, error) {
				if c.cancels && passed && proxy.Cuts() == 0 {
					cancel()
				}
				return (&fleettest.Fleet{DSN: proxy.DSN}).Dial(ctx)
			}
			o := migrate.RunOptions{LockTimeout: 2 * time.Second, Group: c.group,
				Fleet: fleet.Options{Concurrency: 1, Attempts: c.attempts, Backoff: soon},
				Observe: locking(func(e migrate.Event) {
					if _, ok := e.(migrate.CanaryPassed); !ok {
						return
					}
					passed = true
					if c.lost {
						proxy.CutBefore("create table once", 1)
					} else {
						proxy.CutAfter("create table once", 1)
					}
				})}
			o.Canary.Count = 1
			report, err := plan.Run(ctx, f.Connect(t), connect, tenants, o)
			if err != nil || proxy.Cuts() != 0 {
				t.Fatalf("%v, %d cuts left", err, proxy.Cuts())
			}
			if n := answers(report, migrate.Migrated, migrate.AnswerRecovered); n != c.want {
				t.Errorf("%d tenants recovered, want %d", n, c.want)
			}
			if c.cancels && report.Count(migrate.NotStarted) != 12-c.want {
				t.Errorf("%d not started, want %d", report.Count(migrate.NotStarted), 12-c.want)
			}
			if !c.cancels && report.Count(migrate.Failed) != 1-c.want {
				t.Errorf("%d failed, want %d", report.Count(migrate.Failed), 1-c.want)
			}
			checkAgree(t, f, report)
		})
	}
}

// TestServerGoesAwayAtTheBeginning: a connection that is lost before the first tenant is
// opened anew, and the ledger has one run in the end.
func TestServerGoesAwayAtTheBeginning(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(p *pgtest.Proxy){
		"nothing was sent":       func(p *pgtest.Proxy) { p.CutBefore("migration_runs", 1) },
		"it was not committed":   func(p *pgtest.Proxy) { p.CutBefore("\x0bcommit\x00", 1) },
		"the answer is lost":     func(p *pgtest.Proxy) { p.CutAfter("\x0bcommit\x00", 1) },
		"the ledger is open":     func(p *pgtest.Proxy) { p.CutBefore("pg_roles", 1) },
		"the second time passes": func(p *pgtest.Proxy) { p.CutBefore("migration_runs", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
			tenants := f.Create(t, old, fleettest.Names(3)...)
			proxy := pgtest.NewProxy(t, f.DSN, 0)
			through := &fleettest.Fleet{DSN: proxy.DSN}
			conn := through.Connect(t)
			cut(proxy)
			away := 0
			report, err := plan.Run(t.Context(), conn, through.Dial, tenants, migrate.RunOptions{
				LockTimeout: 2 * time.Second, Group: 1, Fleet: fleet.Options{Concurrency: 1, Backoff: soon},
				Observe: locking(func(e migrate.Event) {
					if _, ok := e.(migrate.ServerAway); ok {
						away++
					}
				})})
			if err != nil || proxy.Cuts() != 0 || report.Count(migrate.Migrated) != 3 {
				t.Fatalf("%v, %d cuts left, report %+v", err, proxy.Cuts(), report)
			}
			if away == 0 && name != "the ledger is open" { // there is another connection for that
				t.Error("nobody was told")
			}
			if n := f.Int(t, "select count(*) from public.migration_runs"); n != 1 {
				t.Errorf("%d runs in the ledger", n)
			}
			checkAgree(t, f, report)
		})
	}
}

// TestServerStaysAwayAtTheBeginning: the error is that the server is not to be reached.
func TestServerStaysAwayAtTheBeginning(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, "acme")
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	through := &fleettest.Fleet{DSN: proxy.DSN}
	conn := through.Connect(t)
	proxy.CutBefore("migration_runs", 1)
	proxy.RefuseAfterCut()
	_, err := plan.Run(t.Context(), conn, through.Dial, tenants, migrate.RunOptions{Fleet: fleet.Options{Backoff: soon}})
	if !errors.Is(err, db.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	if n := f.Int(t, "select count(*) from public.migration_runs"); n != 0 {
		t.Errorf("%d runs in the ledger", n)
	}
}

// TestRunThatEndsBeforeItsFirstTenant closes its row in the ledger.
func TestRunThatEndsBeforeItsFirstTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
	tenants := f.Create(t, old, "acme")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	var asked atomic.Bool
	connect := func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := f.Dial(context.WithoutCancel(ctx))
		if err != nil || asked.Swap(true) {
			return conn, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for n := 0; n == 0; { // until the run is in the ledger
			err := conn.QueryRow(context.WithoutCancel(ctx), "select count(*) from public.migration_runs").Scan(&n)
			if err != nil {
				return nil, err
			}
		}
		cancel(why)
		return nil, why
	}
	if _, err := plan.Run(ctx, f.Connect(t), connect, tenants, migrate.RunOptions{}); err == nil {
		t.Fatal("the run did not fail")
	}
	if n := f.Int(t, "select count(*) from public.migration_runs where state = 'stopped' and not_started = 1 and "+
		"finished_at is not null and reason <> ''"); n != 1 {
		t.Error("the run is open in the ledger")
	}
}

// TestRedoOfADirectFileComesHalfWay: the answer that the file was taken back is lost. The next
// attempt applies that file again, and does not take back the one before it.
func TestRedoOfADirectFileComesHalfWay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, plan := plans(t, map[string]string{
		"1_a.sql": "-- +goose Up\n" + first + "\n-- +goose Down\ndrop table a;",
		"2_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on a (x);\n-- +goose Down\n" +
			"drop index concurrently i;",
	})
	tenants := f.Create(t, plan, "acme")
	f.Exec(t, "insert into tenant_acme.a values (1)")
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	proxy.CutAfter("goose_db_version where version_id operator(pg_catalog.=)", 1)
	report, err := plan.Run(t.Context(), f.Connect(t), (&fleettest.Fleet{DSN: proxy.DSN}).Dial, tenants,
		migrate.RunOptions{
			Route: migrate.Route{Kind: migrate.Redo}, LockTimeout: 2 * time.Second, Fleet: fleet.Options{Backoff: soon},
		})
	if err != nil || proxy.Cuts() != 0 || report.Count(migrate.Migrated) != 1 {
		t.Fatalf("%v, %d cuts left: %+v", err, proxy.Cuts(), report.Outcomes)
	}
	wantAt(t, f, tenants, 2)
	if n := f.Int(t, "select count(*) from tenant_acme.a"); n != 1 {
		t.Errorf("%d rows: the file before it was taken back", n)
	}
}
