package db_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	acme   = "00000000-0000-7000-8000-000000000001"
	globex = "00000000-0000-7000-8000-000000000002"
)

// twoTenants makes a database with two tenants, and something that refers to them.
func twoTenants(t *testing.T) string {
	t.Helper()
	dsn := pgtest.Empty(t)
	exec(t, connect(t, dsn),
		"create table public.tenants (id uuid primary key, schema_name text not null unique, schema_version bigint not "+
			"null default 0)",
		"create table public.refers (tenant_id uuid not null references public.tenants)",
		"insert into public.tenants values ('"+acme+"', 'tenant_acme'), ('"+globex+"', 'tenant_globex')",
		"create schema tenant_acme", "create table tenant_acme.c (x int)")
	return dsn
}

// lock takes the lock of a tenant in a transaction of its own, and calls within in it.
func lock(t *testing.T, conn *pgx.Conn, id string, s db.Schema, wait bool, within func(q db.Querier)) error {
	t.Helper()
	locals := db.Locals{Tenant: row(id), Wait: wait, LockTimeout: 200 * time.Millisecond}
	if !s.IsZero() {
		locals.Schema = s
	}
	return db.InTx(t.Context(), conn, locals, func(_ context.Context, q db.Querier) error {
		if within != nil {
			within(q)
		}
		return nil
	})
}

// named makes sure that err is about a lock and names the session in the way.
func named(t *testing.T, err error, pid uint32) *db.BusyError {
	t.Helper()
	busy, ok := errors.AsType[*db.BusyError](err)
	if !ok || !errors.Is(err, db.ErrBusy) || !db.Retryable(err) {
		t.Fatalf("error %v", err)
	}
	if len(busy.Blockers) != 1 || busy.Blockers[0].PID != int32(pid) {
		t.Fatalf("in the way: %v, want %d", busy.Blockers, pid)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("pid %d (role ", pid)) {
		t.Errorf("error %v", err)
	}
	return busy
}

func TestLockTenant(t *testing.T) {
	t.Parallel()
	dsn := twoTenants(t)
	a, b := connect(t, dsn), connect(t, dsn)
	s := schema(t, "acme")
	err := lock(t, a, acme, s, false, func(q db.Querier) {
		if busy := named(t, lock(t, b, acme, s, false, nil), a.PgConn().PID()); !busy.Ours() {
			t.Errorf("not known as ours: %+v", busy.Blockers)
		}
		begun := time.Now()
		err := lock(t, b, acme, s, true, nil)
		if named(t, err, a.PgConn().PID()); db.SQLState(err) != db.CodeLockNotAvailable ||
			time.Since(begun) < 200*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if err := lock(t, b, globex, db.Schema{}, false, nil); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		// Whoever only reads or refers to the tenant never waits.
		exec(t, b, "set lock_timeout = '1s'", "select * from public.tenants", "insert into public.refers values ('"+acme+"')",
			"reset lock_timeout")
		// Nothing behind the lock has run.
		var p db.Pipeline
		p.LockTenant(row(acme), s, false)
		p.Exec("create table public.never (x int)")
		if err := p.Run(t.Context(), b); !errors.Is(err, db.ErrBusy) || value(t, b,
			"select count(*)::text from pg_class where relname = 'never'") != "0" {
			t.Errorf("behind a refused lock: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(t, b, acme, s, false, nil); err != nil {
		t.Errorf("after the commit: %v", err)
	}
	for id, s := range map[string]db.Schema{acme: schema(t, "globex"), "00000000-0000-7000-8000-000000000009": {}} {
		for _, wait := range []bool{false, true} {
			locals := db.Locals{Tenant: row(id), Wait: wait}
			var p db.Pipeline
			p.Begin(locals)
			p.LockTenant(row(id), s, wait)
			err := p.Run(t.Context(), b)
			if err := db.Rollback(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(err, db.ErrNoTenant) || db.Retryable(err) {
				t.Errorf("%s %s, wait %t: %v", id, s, wait, err)
			}
		}
	}
}

// What runs behind the lock sees what its last holder has committed, whichever way it
// came to the lock.
func TestLockTenantSeesTheLastHolder(t *testing.T) {
	t.Parallel()
	dsn := twoTenants(t)
	a, b := connect(t, dsn), connect(t, dsn)
	exec(t, a, "begin", "update public.tenants set schema_version = 7 where id = '"+acme+"'",
		"insert into tenant_acme.c values (1)")
	done := make(chan error, 1)
	go func() {
		var version, rows int
		var p db.Pipeline
		p.Begin(db.Locals{Tenant: row(acme), Wait: true, LockTimeout: time.Minute})
		p.QueryRow([]any{&version, &rows}, "select schema_version, (select count(*) from tenant_acme.c) from "+
			"public.tenants where id = '"+acme+"'")
		p.Exec("commit")
		err := p.Run(t.Context(), b)
		if err == nil && (version != 7 || rows != 1) {
			err = fmt.Errorf("version %d, %d rows", version, rows)
		}
		done <- err
	}()
	waits := connect(t, dsn)
	for value(t, waits, "select count(*)::text from pg_locks where not granted") == "0" {
		time.Sleep(5 * time.Millisecond)
	}
	exec(t, a, "commit")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The row's xmax stands for one transaction or, with keys that refer to the tenant,
// for several; a savepoint has a transaction of its own.
func TestHolderIsFound(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string][]string{
		"a lock":          {"select from public.tenants where id = $id for no key update"},
		"a stronger lock": {"select from public.tenants where id = $id for update"},
		"a shared lock":   {"select from public.tenants where id = $id for share"},
		"a changed row":   {"update public.tenants set schema_version = 1 where id = $id"},
		"a savepoint":     {"savepoint s", "update public.tenants set schema_version = 1 where id = $id"},
		"locked, then changed": {"select from public.tenants where id = $id for no key update", "savepoint s",
			"update public.tenants set schema_version = 1 where id = $id"},
		"a released savepoint": {"savepoint s", "select from public.tenants where id = $id for no key update",
			"release savepoint s"},
		"the table itself":       {"lock table public.tenants in access exclusive mode"},
		"the table's writers":    {"lock table public.tenants in exclusive mode"},
		"a lock and a reference": {"select from public.tenants where id = $id for no key update", "refer"},
		"a reference and a lock": {"refer", "select from public.tenants where id = $id for no key update"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := twoTenants(t)
			a, b, other := connect(t, dsn), connect(t, dsn), connect(t, dsn)
			exec(t, a, "set application_name = 'report'", "begin")
			for _, sql := range hold {
				if sql == "refer" {
					exec(t, other, "begin", "insert into public.refers values ('"+acme+"')")
					continue
				}
				exec(t, a, strings.ReplaceAll(sql, "$id", "'"+acme+"'"))
			}
			var err error
			if strings.HasPrefix(name, "the table") {
				err = lock(t, b, acme, db.Schema{}, false, nil)
				if name == "the table itself" {
					exec(t, a, "commit") // nobody can look at it meanwhile
					if !errors.Is(err, db.ErrBusy) {
						t.Errorf("error %v", err)
					}
					return
				}
			} else {
				err = lock(t, b, acme, schema(t, "acme"), false, nil)
			}
			busy := named(t, err, a.PgConn().PID())
			if got := busy.Blockers[0]; got.Application != "report" || got.State != "idle in transaction" || got.Query == "" ||
				busy.Ours() {
				t.Errorf("blocker %+v", got)
			}
			exec(t, a, "rollback")
			if err := lock(t, b, acme, schema(t, "acme"), false, nil); err != nil {
				t.Errorf("with a reference alone: %v", err)
			}
		})
	}
}

// A holder that is killed leaves nothing behind, and a foreign login can hold what
// it likes.
func TestLockTenantAgainstOthers(t *testing.T) {
	t.Parallel()
	dsn := twoTenants(t)
	a, b := connect(t, dsn), connect(t, dsn)
	role := "locker_" + strings.ReplaceAll(value(t, a, "select gen_random_uuid()::text"), "-", "_")
	exec(t, a, "create role "+role+" login")
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err == nil {
			_, err = conn.Exec(context.Background(), "drop role "+role)
			_ = conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	foreign := connect(t, as(t, dsn, role))
	for _, sql := range []string{
		"select from public.tenants for key share", "select from public.tenants for no key update",
		"select from public.tenants", "update public.tenants set schema_version = 1",
	} {
		if _, err := foreign.Exec(t.Context(), sql); db.SQLState(err) != db.CodeInsufficientPrivilege {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, what := range []string{"tenant_acme", "purge:" + acme, "pool", "public"} {
		exec(t, foreign, fmt.Sprintf("select pg_advisory_lock(%d)", db.Key(what)))
	}
	if err := lock(t, b, acme, schema(t, "acme"), false, nil); err != nil {
		t.Errorf("the lock of a tenant: %v", err)
	}
	hold := func(conn *pgx.Conn, within func()) error {
		return db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
			err := registry.Default().HoldKey(ctx, q, "pool")
			if err == nil && within != nil {
				within()
			}
			return err
		})
	}
	if err := hold(b, nil); err != nil {
		t.Errorf("a key that a foreign login holds: %v", err)
	}
	exec(t, foreign, "select pg_advisory_unlock_all()")
	if err := hold(a, func() { named(t, hold(b, nil), a.PgConn().PID()) }); err != nil {
		t.Errorf("a key that nobody holds: %v", err)
	}
	// The login may join those that may, without having their rights at once.
	owner := value(t, a, "select current_user::text")
	exec(t, a, "grant "+pgx.Identifier{owner}.Sanitize()+" to "+role, "alter role "+role+" noinherit")
	exec(t, foreign, fmt.Sprintf("select pg_advisory_lock(%d)", db.Key("pool")))
	named(t, hold(b, nil), foreign.PgConn().PID())

	exec(t, a, "begin", "select from public.tenants where id = '"+acme+"' for no key update")
	exec(t, b, fmt.Sprintf("select pg_terminate_backend(%d, 5000)", a.PgConn().PID()))
	if err := lock(t, b, acme, schema(t, "acme"), false, nil); err != nil {
		t.Errorf("after the holder was killed: %v", err)
	}
}

// Who held a lock that was not granted in time is named after the fact too.
func TestBlockerOfAnyLock(t *testing.T) {
	t.Parallel()
	dsn := twoTenants(t)
	a, b := connect(t, dsn), connect(t, dsn)
	exec(t, a, "begin", "select * from tenant_acme.c")
	locals := db.Locals{Schema: schema(t, "acme"), Tenant: row(acme), LockTimeout: 50 * time.Millisecond}
	err := db.InTx(t.Context(), b, locals, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, "alter table c add y int")
		return err
	})
	blocked, ok := errors.AsType[*db.BlockedError](err)
	if !ok || len(blocked.Blockers) != 1 || blocked.Blockers[0].PID != int32(a.PgConn().PID()) ||
		db.SQLState(err) != db.CodeLockNotAvailable {
		t.Errorf("error %v", err)
	}
}

// A prepared transaction is named too, before the server has been restarted and after it.
func TestPreparedBlocker(t *testing.T) {
	t.Parallel()
	server, o := pgtest.Instance(t, map[string]string{"max_prepared_transactions": "2"})
	exec(t, connect(t, server.DSN), "create schema tenant_acme", "create table tenant_acme.c (x int)",
		"begin", "lock table tenant_acme.c", "prepare transaction 'left behind'")
	blocker := func() {
		t.Helper()
		conn := connect(t, server.DSN)
		locals := db.Locals{Schema: schema(t, "acme"), LockTimeout: 50 * time.Millisecond}
		err := db.InTx(t.Context(), conn, locals, func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, "select from c")
			return err
		})
		blocked, ok := errors.AsType[*db.BlockedError](err)
		if !ok || len(blocked.Blockers) != 1 || blocked.Blockers[0].State != "prepared as left behind" ||
			blocked.Blockers[0].User == "" {
			t.Errorf("error %v", err)
		}
	}
	blocker()
	pgtest.Restart(t, server, o)
	blocker()
}

// as returns the connection string for another role.
func as(t *testing.T, dsn, role string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

func row(id string) db.Row { return registry.Default().Row(id) }
