package maintain_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// crew is a fleet, and its tables as items.
func crew(t *testing.T, tenants int) (*fleettest.Fleet, []maintain.Item) {
	t.Helper()
	f := fleettest.New(t)
	var items []maintain.Item
	for _, tenant := range f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(tenants)...) {
		items = append(items, maintain.Item{Tenant: tenant, Tables: []maintain.Table{{Name: "contacts", May: true},
			{Name: "messages", May: true}}})
	}
	return f, items
}

func quick(action maintain.Action) maintain.Options {
	return maintain.Options{Registry: registry.Default(), Action: action, Actor: "a@b", LockTimeout: 200 * time.Millisecond,
		Fleet: fleet.Options{Concurrency: 2, Backoff: func(int) time.Duration { return 100 * time.Millisecond }}}
}

func run(t *testing.T, connect maintain.Connect, items []maintain.Item, o maintain.Options) *maintain.Report {
	t.Helper()
	r, err := maintain.Run(t.Context(), connect, connect, items, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// as connects as a login.
func as(f *fleettest.Fleet, login string) maintain.Connect {
	return func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := f.Dial(ctx)
		if err == nil {
			_, err = conn.Exec(ctx, "set session authorization "+login)
		}
		return conn, err
	}
}

// stamped counts the tables of tenants that were vacuumed or analyzed since a time.
func stamped(t *testing.T, f *fleettest.Fleet, what string) int64 {
	t.Helper()
	time.Sleep(700 * time.Millisecond) // before PostgreSQL 15 a process writes the counters down
	return f.Int(t, "select count(*) from pg_stat_user_tables where schemaname like 'tenant\\_%' and last_"+what+" is not null")
}

// Settings of the database and the login do not reach the work: neither their time limits, nor
// the silence that would hide what the server passes by. Nor does one that makes transactions
// read only, as a database may be set whose disk is full: the run is recorded all the same.
func TestMaintenanceUnderHostileSettings(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 12)
	f.Exec(t, "create index contacts_ccnew on tenant_t0001.contacts (created_at)",
		"update pg_index set indisvalid = false where indexrelid = 'tenant_t0001.contacts_ccnew'::regclass",
		`do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database());
		execute format('alter database %I set statement_timeout = 300', current_database());
		execute format('alter database %I set lock_timeout = 1', current_database());
		execute format('alter database %I set client_min_messages = error', current_database());
		execute format('alter database %I set search_path = tenant_t0001', current_database()); end $$`)
	for action, stamp := range map[maintain.Action]string{maintain.Vacuum: "vacuum", maintain.Analyze: "analyze"} {
		r := run(t, f.Dial, items, quick(action))
		if s := r.Summary(); s.Done != 12 || !s.Whole() {
			t.Errorf("%s: %+v", action, s)
		}
		if n := stamped(t, f, stamp); n != 24 {
			t.Errorf("%s: %d tables", action, n)
		}
	}
	before := f.Int(t, "select sum(relfilenode::bigint) from pg_class where relname = 'contacts_pkey'")
	if r := run(t, f.Dial, items, quick(maintain.Reindex)); r.Summary().Done != 12 {
		t.Errorf("reindex: %+v", r.Summary())
	}
	if before == f.Int(t, "select sum(relfilenode::bigint) from pg_class where relname = 'contacts_pkey'") {
		t.Error("no index was built anew")
	}
	if n := f.Int(t, "select count(*) from pg_index where not indisvalid"); n != 0 {
		t.Errorf("%d invalid indexes", n)
	}
	if n := f.Int(t, `select count(*) from public.migration_runs where kind in ('vacuum', 'analyze', 'reindex')
		and state = 'finished' and succeeded = 12 and failed + not_started = 0`); n != 3 {
		t.Errorf("%d runs in the ledger", n)
	}
}

// A locked table holds up neither the others of its tenant nor other tenants; it is done when it
// is free, and told with who is in the way where it never is.
func TestMaintenancePassesByWhatIsLocked(t *testing.T) {
	t.Parallel()
	for _, action := range []maintain.Action{maintain.Vacuum, maintain.Reindex} {
		t.Run(string(action), func(t *testing.T) {
			t.Parallel()
			f, items := crew(t, 3)
			lock := func(tenant int) *pgx.Conn {
				conn := f.Connect(t)
				for _, sql := range []string{"begin", fmt.Sprintf("lock table tenant_t%04d.contacts", tenant)} {
					if _, err := conn.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				return conn
			}
			lock(1)
			soon := lock(2)
			time.AfterFunc(700*time.Millisecond, func() { _ = soon.Close(context.Background()) })
			o := quick(action)
			o.Fleet.Attempts = 8
			r := run(t, f.Dial, items, o)
			if s := r.Summary(); s.Done != 2 || s.Failed != 1 {
				t.Errorf("%+v", s)
			}
			locked := r.Outcomes[0]
			if blocked, ok := errors.AsType[*db.BlockedError](locked.Err); !ok || len(blocked.Blockers) == 0 ||
				db.SQLState(locked.Err) != db.CodeLockNotAvailable || locked.Tables != 1 || locked.Attempts != 8 {
				t.Errorf("%+v: %v", locked, locked.Err)
			}
			if out := r.Outcomes[1]; out.Tables != 2 || out.Attempts < 2 {
				t.Errorf("%+v", out)
			}
			if n := f.Int(t, "select count(*) from pg_index where not indisvalid"); n != 0 {
				t.Errorf("%d invalid indexes", n)
			}
		})
	}
}

// What a role may not vacuum the server passes by with a warning alone: it is not called done,
// whether that was known before or not.
func TestMaintenanceWithoutTheRight(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 2)
	keeper := "keeper_" + strings.ToLower(rand.Text()[:8])
	t.Cleanup(func() { f.DropRoles(t, keeper) })
	f.Exec(t, "create role "+keeper+" login", "grant usage on schema tenant_t0001 to "+keeper,
		"alter table tenant_t0001.messages owner to "+keeper, "grant select, insert, update on migration_runs to "+keeper,
		"grant select, insert, update on migration_run_tenants to "+keeper, "grant select, update on tenants to "+keeper)
	connect := as(f, keeper)
	items[0].Tables[0].May = false
	r, err := maintain.Run(t.Context(), connect, f.Dial, items[:1], quick(maintain.Vacuum))
	if err != nil {
		t.Fatal(err)
	}
	refused, ok := errors.AsType[*maintain.RefusedError](r.Outcomes[0].Err)
	if !ok || len(refused.Tables) != 1 || refused.Tables[0] != "contacts" || r.Outcomes[0].Tables != 1 ||
		r.Outcomes[0].State != fleet.Failed {
		t.Errorf("%+v", r.Outcomes[0])
	}
	items[0].Tables[0].May = true // it was taken away since
	if r, err = maintain.Run(t.Context(), connect, f.Dial, items[:1], quick(maintain.Vacuum)); err != nil {
		t.Fatal(err)
	}
	refused, ok = errors.AsType[*maintain.RefusedError](r.Outcomes[0].Err)
	if !ok || len(refused.Tables) != 1 || refused.Tables[0] != "contacts" || r.Outcomes[0].Tables != 1 {
		t.Errorf("%+v", r.Outcomes[0])
	}
}

// A login that is a member of the tables' owner and does not inherit from it takes that role.
func TestMaintenanceAsTheOwner(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 3)
	suffix := strings.ToLower(rand.Text()[:8])
	keeper, app := "keeper_"+suffix, "app_"+suffix
	t.Cleanup(func() { f.DropRoles(t, keeper, app) })
	f.Exec(t, "create role "+app, "create role "+keeper+" login noinherit", "grant "+app+" to "+keeper)
	var schemas []db.Schema
	for i, item := range items {
		schemas = append(schemas, item.Tenant.Schema)
		f.Exec(t, "alter schema "+item.Tenant.Schema.Quoted()+" owner to "+app)
		for k, table := range item.Tables {
			items[i].Tables[k].May = false
			f.Exec(t, "alter table "+db.Quoted(item.Tenant.Schema.String(), table.Name)+" owner to "+app)
		}
	}
	f.Exec(t, "alter table tenant_t0003.messages owner to current_user")
	connect := as(f, keeper)
	conn, err := connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, action := range []maintain.Action{maintain.Vacuum, maintain.Analyze, maintain.Reindex} {
		o := quick(action)
		if o.Owners, err = owner.Read(t.Context(), conn, schemas); err != nil {
			t.Fatal(err)
		}
		r, err := maintain.Run(t.Context(), connect, f.Dial, items, o)
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Summary(); s.Done != 2 || s.Failed != 1 || r.Outcomes[1].Tables != 2 {
			t.Errorf("%s: %+v: %v", action, s, r.Outcomes[1].Err)
		}
		// What is another's is not called done, and keeps the rest from nothing.
		refused, ok := errors.AsType[*maintain.RefusedError](r.Outcomes[2].Err)
		if !ok || !slices.Equal(refused.Tables, []string{"messages"}) || r.Outcomes[2].Tables != 1 {
			t.Errorf("%s: %+v", action, r.Outcomes[2])
		}
	}
}

// The session of the ledger holds the run's lock, so that a run that was killed is known at once;
// behind a pooler, and where somebody else has it, the run gives signs of life.
func TestMaintenanceTellsThatItLives(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 1)
	lock := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_t0001.contacts"} {
		if _, err := lock.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	reader := f.Connect(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	for name, record := range map[string]maintain.Connect{"session": f.Dial, "pooler": pooled.Dial} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o := quick(maintain.Vacuum)
			o.Fleet.Attempts = 1000
			_, _ = maintain.Run(ctx, f.Dial, record, items, o)
		}()
		beats := int64(0)
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			runs, err := registry.Default().ListRuns(t.Context(), reader, 1)
			if err != nil {
				t.Fatal(err)
			}
			if beats = f.Int(t, "select count(heartbeat_at) from migration_runs where finished_at is null"); len(runs) == 1 &&
				runs[0].State == "running" && (beats == 0) == (name == "session") {
				break
			}
		}
		if (beats == 0) != (name == "session") {
			t.Errorf("%s: %d runs give signs of life", name, beats)
		}
		cancel()
		<-ended
	}
}

// Behind a pooler no setting is left with the server's session; a reindex is refused.
func TestMaintenanceBehindAPooler(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 6)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	if s := run(t, pooled.Dial, items, quick(maintain.Vacuum)).Summary(); s.Done != 6 {
		t.Errorf("%+v", s)
	}
	if n := stamped(t, f, "vacuum"); n != 12 {
		t.Errorf("%d tables", n)
	}
	conn := pooled.Connect(t)
	for range 4 {
		var path, wait string
		if err := conn.QueryRow(t.Context(), "select current_setting('search_path'), current_setting('lock_timeout')").
			Scan(&path, &wait); err != nil || path != `"$user", public` || wait != "0" {
			t.Errorf("left behind: %s, %s, %v", path, wait, err)
		}
	}
	if r := run(t, pooled.Dial, items, quick(maintain.Reindex)); !errors.Is(r.Outcomes[0].Err, maintain.ErrPooled) {
		t.Errorf("reindex: %+v", r.Summary())
	}
	f.Exec(t, `do $$ begin execute format('alter database %I set client_min_messages = error', current_database()); end $$`)
	quiet := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	if r := run(t, quiet.Dial, items, quick(maintain.Vacuum)); !errors.Is(r.Outcomes[0].Err, maintain.ErrSilenced) {
		t.Errorf("without warnings: %+v", r.Summary())
	}
}

// What a reindex that was killed has left is dropped and told, in a tenant's schema and of its
// TOAST; a valid index of such a name stays, and tables that are gone are no failure.
func TestReindexDropsWhatAnotherLeft(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 2)
	f.Exec(t, "create index contacts_ccnew on tenant_t0001.contacts (created_at)",
		"create index mine_ccnew1 on tenant_t0001.contacts (created_at)",
		"update pg_index set indisvalid = false where indexrelid = 'tenant_t0001.mine_ccnew1'::regclass",
		"drop table tenant_t0002.messages cascade")
	r := run(t, f.Dial, items, quick(maintain.Reindex))
	if s := r.Summary(); s.Done != 2 {
		t.Fatalf("%+v", s)
	}
	if got := strings.Join(r.Outcomes[0].Dropped, ","); got != `"tenant_t0001"."mine_ccnew1"` {
		t.Errorf("dropped %s", got)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname in ('contacts_ccnew', 'mine_ccnew1')"); n != 1 {
		t.Errorf("%d indexes left", n)
	}
	if out := r.Outcomes[1]; out.Gone != 1 || out.Tables != 1 {
		t.Errorf("%+v", out)
	}
}

// Two runs at once, and a fleet that changes under them, come to their ends.
func TestTwoMaintenanceRuns(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 20)
	var wg sync.WaitGroup
	reports := make([]*maintain.Report, 3)
	for i, action := range []maintain.Action{maintain.Reindex, maintain.Reindex, maintain.Vacuum} {
		wg.Go(func() {
			o := quick(action)
			o.LockTimeout, o.Fleet.Attempts = 2*time.Second, 300
			reports[i] = run(t, f.Dial, items, o)
		})
	}
	f.Exec(t, "drop schema tenant_t0019 cascade", "drop schema tenant_t0020 cascade")
	wg.Wait()
	for i, r := range reports {
		if s := r.Summary(); s.Done != 20 {
			t.Errorf("run %d: %+v", i, s)
		}
	}
	if n := f.Int(t, "select count(*) from pg_index where not indisvalid"); n != 0 {
		t.Errorf("%d invalid indexes", n)
	}
}

// A drained run says in the ledger what is left, and a failing tenant ends a run that may have
// none.
func TestMaintenanceEndsEarly(t *testing.T) {
	t.Parallel()
	f, items := crew(t, 10)
	drain := make(chan struct{})
	close(drain)
	o := quick(maintain.Analyze)
	o.Fleet.Drain = drain
	if r := run(t, f.Dial, items, o); !errors.Is(r.Stopped, fleet.ErrDrained) || r.Summary().NotStarted != 10 {
		t.Errorf("%+v", r.Summary())
	}
	if n := f.Int(t, "select not_started from migration_runs where kind = 'analyze' and state = 'stopped'"); n != 10 {
		t.Errorf("the ledger has %d", n)
	}
	for i := range items {
		items[i].Tables[0].May = false
	}
	o = quick(maintain.Vacuum)
	o.Fleet.StopAfter, o.Fleet.Concurrency = 2, 1
	if r := run(t, f.Dial, items, o); !errors.Is(r.Stopped, fleet.ErrTooManyFailures) || r.Summary().Failed != 2 {
		t.Errorf("%+v", r.Summary())
	}
}
