package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// model is what a few tenants ought to be: a map, and the moves as one would
// explain them at a table.
type model struct {
	tenants map[string]*modelled
	moves   int // that succeeded, which the audit has to have
}

type modelled struct {
	status, deletedFrom registry.Status
	schema              string // that of the slug it had when it was made, or last renamed with it
	role                bool
}

// apply returns whether a move is possible, and makes it.
func (m *model) apply(move, slug, to string) bool {
	t := m.tenants[slug]
	ok := false
	switch {
	case move == "create" || move == "create with role":
		if ok = t == nil && !m.schemaTaken(slug, nil); ok {
			m.tenants[slug] = &modelled{status: registry.Active, schema: slug, role: move != "create"}
		}
	case t == nil:
	case move == "suspend" && t.status == registry.Active:
		t.status, ok = registry.Suspended, true
	case move == "activate" && t.status == registry.Suspended:
		t.status, ok = registry.Active, true
	case move == "delete" && t.status != registry.Deleted:
		t.deletedFrom, t.status, ok = t.status, registry.Deleted, true
	case move == "undelete" && t.status == registry.Deleted:
		t.status, ok = t.deletedFrom, true
	case move == "purge" && t.status == registry.Deleted:
		delete(m.tenants, slug)
		ok = true
	case strings.HasPrefix(move, "rename") && t.status != registry.Deleted && (m.tenants[to] == nil || to == slug):
		whole := move == "rename with schema"
		if ok = !whole || !m.schemaTaken(to, t); !ok {
			break
		}
		if to == slug && (!whole || t.schema == to) {
			m.moves-- // nothing to change is no move
		}
		delete(m.tenants, slug)
		m.tenants[to] = t
		if whole {
			t.schema = to
		}
	}
	if ok {
		m.moves++
	}
	return ok
}

// draw returns a move at random, most often a possible one.
func (m *model) draw(random *rand.Rand, slugs []string) (move, slug, to string) {
	const most = 30
	possible := random.IntN(4) > 0
	for range most {
		move, slug, to = moves()[random.IntN(len(moves()))], slugs[random.IntN(len(slugs))], slugs[random.IntN(len(slugs))]
		if !possible || m.clone().apply(move, slug, to) {
			break
		}
	}
	return move, slug, to
}

func (m *model) clone() *model {
	c := &model{tenants: make(map[string]*modelled, len(m.tenants))}
	for slug, t := range m.tenants {
		same := *t
		c.tenants[slug] = &same
	}
	return c
}

// see returns a model of what the registry holds at this moment.
func see(ctx context.Context, conn *pgx.Conn) (*model, error) {
	there, err := registry.Default().List(ctx, conn, registry.Filter{})
	m := &model{tenants: make(map[string]*modelled, len(there))}
	for _, t := range there {
		schema := strings.TrimPrefix(t.Schema.String(), "tenant_")
		m.tenants[t.Slug] = &modelled{status: t.Status, deletedFrom: t.DeletedFrom, schema: schema, role: t.Role != ""}
	}
	return m, err
}

func (m *model) schemaTaken(slug string, but *modelled) bool {
	for _, t := range m.tenants {
		if t != but && t.schema == slug {
			return true
		}
	}
	return false
}

// world makes the same moves on a real registry.
type world struct {
	f    *fleettest.Fleet
	conn *pgx.Conn
	o    tenant.CreateOptions
}

func (w *world) apply(t *testing.T, conn *pgx.Conn, move, slug, to string) error {
	t.Helper()
	ctx, o := t.Context(), tenant.MoveOptions{Actor: "model@test", LockTimeout: 5 * time.Second}
	var err error
	switch move {
	case "create", "create with role":
		_, err = tenant.Create(ctx, conn, tenant.Spec{Slug: slug, Role: move != "create"}, w.o)
	case "suspend":
		_, err = tenant.Suspend(ctx, conn, slug, o)
	case "activate":
		_, err = tenant.Activate(ctx, conn, slug, o)
	case "delete":
		_, err = tenant.Delete(ctx, conn, slug, 0, o)
	case "undelete":
		_, err = tenant.Undelete(ctx, conn, slug, o)
	case "rename", "rename with schema":
		_, _, err = tenant.Rename(ctx, conn, slug, tenant.Renaming{Slug: to, Schema: move != "rename"}, o)
	case "purge":
		var found registry.Tenant
		if found, err = registry.Default().Get(ctx, conn, slug); err != nil {
			return err
		}
		purged, results, _ := tenant.PurgeMany(ctx, w.f.Dial, []registry.Tenant{found}, tenant.PurgeOptions{MoveOptions: o},
			fleet.Options{Attempts: 20})
		if err = results[0].Err; err == nil && purged[0].Elsewhere {
			err = &registry.NotFoundError{Slug: slug}
		}
	default:
		t.Fatalf("no move %q", move)
	}
	return err
}

// expected reports whether an error is one that an impossible move may have.
func expected(err error) bool {
	return errors.Is(err, registry.ErrState) || errors.Is(err, registry.ErrExists) ||
		errors.Is(err, registry.ErrNotFound) || errors.Is(err, db.ErrBusy)
}

// invariants are what holds after every move, whatever the model says.
func (w *world) invariants(t *testing.T) {
	t.Helper()
	for name, sql := range map[string]string{
		"a row without its schema": `select count(*) from public.tenants t where not exists (select from pg_namespace
			where nspname = t.schema_name)`,
		"a schema without a row": `select count(*) from pg_namespace n where nspname like 'tenant\_%'
			and not exists (select from public.tenants where schema_name = nspname)`,
		"a schema without tables": `select count(*) from public.tenants t where (select count(*) from pg_tables
			where schemaname = t.schema_name) < 2`,
		"a row without its role": `select count(*) from public.tenants t where role_name is not null
			and not exists (select from pg_roles where rolname = role_name)`,
		"a role beside its schema": `select count(*) from public.tenants where role_name <> schema_name`,
		"access that is wrong": `select count(*) from public.tenants where role_name is not null
			and has_schema_privilege(role_name, schema_name, 'usage') <> (status = 'active')`,
		"a tenant that is not audited": `select count(*) from public.tenants t where not exists (select
			from public.tenant_events where tenant_id = t.id and action = 'create')`,
		"a last word of the audit that is not true": `select count(*) from public.tenants t join lateral
			(select after ->> 'status' as status from public.tenant_events e where e.tenant_id = t.id and after ? 'status'
				order by seq desc limit 1) e on true
			where e.status <> t.status`,
		"a tombstone beside a tenant": `select count(*) from public.tenants t where exists (select from public.tenant_events
			where tenant_id = t.id and action = 'purge')`,
	} {
		if n := w.count(t, sql); n != 0 {
			t.Errorf("%d times %s", n, name)
		}
	}
}

func (w *world) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := w.conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// agree compares the registry with the model.
func (w *world) agree(t *testing.T, m *model, prefix string) {
	t.Helper()
	there, err := registry.Default().List(t.Context(), w.conn, registry.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(there) != len(m.tenants) {
		t.Errorf("%d tenants, the model has %d", len(there), len(m.tenants))
	}
	for _, got := range there {
		want := m.tenants[got.Slug]
		if want == nil || got.Status != want.status || got.Schema.String() != "tenant_"+want.schema ||
			(got.Role != "") != want.role {
			t.Errorf("%s: %s %s %q, the model has %+v", got.Slug, got.Status, got.Schema, got.Role, want)
		}
	}
	if n := w.count(t, "select count(*) from public.tenant_events"); n != m.moves {
		t.Errorf("%d rows in the audit for %d moves", n, m.moves)
	}
	if n := w.count(t, `select count(*) from pg_roles where starts_with(rolname, $1)`, "tenant_"+prefix); n != m.roles() {
		t.Errorf("%d roles, the model has %d", n, m.roles())
	}
}

func (m *model) roles() (n int) {
	for _, t := range m.tenants {
		if t.role {
			n++
		}
	}
	return n
}

// seed is that of a test, printed so that a failure can be had again.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := rand.Uint64()
	if given := os.Getenv("CRMCTL_TEST_SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s = parsed
	}
	t.Logf("CRMCTL_TEST_SEED=%d", s)
	return s
}

func newWorld(t *testing.T, slugs []string) *world {
	t.Helper()
	f := fleettest.New(t)
	w := &world{f: f, conn: f.Connect(t), o: options(t)}
	// A small template: the moves are what is tried.
	w.o.Template.Script = []db.Statement{
		{SQL: "create table contacts (name text)"}, {SQL: "create table goose_db_version (version_id bigint)"},
	}
	w.o.LockTimeout = 5 * time.Second
	for _, s := range slugs {
		dropAtEnd(t, f, "tenant_"+s)
	}
	return w
}

func moves() []string {
	return []string{
		"create", "create with role", "create with role", "suspend", "activate", "rename", "rename with schema",
		"delete", "delete", "undelete", "purge",
	}
}

// TestModel makes random moves, possible and impossible ones, and compares the world
// with the model after each.
func TestModel(t *testing.T) {
	t.Parallel()
	const steps = 300
	s := seed(t)
	random := rand.New(rand.NewPCG(s, 1))
	prefix := unique("m")
	slugs := []string{prefix + "a", prefix + "b", prefix + "c", prefix + "d"}
	w, m := newWorld(t, slugs), &model{tenants: map[string]*modelled{}}
	made := map[string]int{}
	for i := range steps {
		move, slug, to := m.draw(random, slugs)
		step := fmt.Sprintf("step %d: %s %s (to %s)", i, move, slug, to)
		err := w.apply(t, w.conn, move, slug, to)
		if ok := m.apply(move, slug, to); ok != (err == nil) || err != nil && !expected(err) {
			t.Fatalf("%s: %v, the model says %v", step, err, ok)
		}
		if err == nil {
			made[move]++
		}
		w.invariants(t)
		w.agree(t, m, prefix)
		if t.Failed() {
			t.Fatal("after ", step)
		}
	}
	for _, move := range moves() {
		if made[move] == 0 {
			t.Errorf("%s never succeeded: the test shows less than it should", move)
		}
	}
}

// TestModelAtOnce makes the same moves from several connections at once: whatever
// order they took, the invariants hold, and the audit has exactly those that
// succeeded.
func TestModelAtOnce(t *testing.T) {
	t.Parallel()
	const movers, steps = 4, 60
	s := seed(t)
	prefix := unique("m")
	slugs := []string{prefix + "a", prefix + "b", prefix + "c"}
	w := newWorld(t, slugs)
	var wg sync.WaitGroup
	done := make([]int, movers)
	for i := range movers {
		wg.Go(func() {
			conn, err := w.f.Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(t.Context()) }()
			random := rand.New(rand.NewPCG(s, uint64(i)))
			for range steps {
				seen, err := see(t.Context(), conn)
				if err != nil {
					t.Error(err)
					return
				}
				move, slug, to := seen.draw(random, slugs)
				if to == slug {
					continue
				}
				err = w.apply(t, conn, move, slug, to)
				switch {
				case err == nil:
					done[i]++
				case !expected(err) && !db.Retryable(err):
					t.Errorf("%s %s (to %s): %v", move, slug, to, err)
				}
			}
		})
	}
	wg.Wait()
	w.invariants(t)
	total := 0
	for _, n := range done {
		total += n
	}
	audited := w.count(t, "select count(*) from public.tenant_events")
	if audited != total {
		t.Errorf("%d rows in the audit for %d moves", audited, total)
	}
	if t.Logf("%d moves", total); total < movers*steps/10 {
		t.Error("so few moves show little")
	}
}

// TestMoveOfATenantRenamedMeanwhile waits for the row of a tenant that another
// session is about to rename: it is not the tenant that was meant any more, or the
// lock that was taken is that of its former schema.
func TestMoveOfATenantRenamedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"slug":   {"update public.tenants set slug = 'other' where slug = 'acme'", registry.ErrNotFound},
		"schema": {"update public.tenants set schema_name = 'tenant_other' where slug = 'acme'", db.ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Create(t, fleettest.TenantPlan(t, 1), "acme")
			conn := f.Connect(t)
			done := make(chan error, 1)
			err := db.InTx(t.Context(), f.Connect(t), db.Locals{}, func(ctx context.Context, q db.Querier) error {
				if _, err := q.Exec(ctx, c.sql); err != nil {
					return err
				}
				go func() {
					_, err := tenant.Suspend(ctx, conn, "acme", tenant.MoveOptions{LockTimeout: time.Minute})
					done <- err
				}()
				for f.Int(t, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = "+
					"current_database()") == 0 {
					time.Sleep(5 * time.Millisecond)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			if n := f.Int(t, "select count(*) from public.tenants where status = 'active'"); n != 1 {
				t.Error("the wrong tenant was moved")
			}
		})
	}
}
