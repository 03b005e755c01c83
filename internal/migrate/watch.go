package migrate

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	watchInterval = 500 * time.Millisecond
	// watchAfter is how long a tenant may take before somebody asks why. It is
	// below the default lock timeout, so that the session in the way is known by
	// the time the tenant gives up.
	watchAfter   = time.Second
	watchTimeout = 3 * time.Second
)

// watcher looks after the tenants under way and finds out what the slow ones wait
// for. It opens a connection of its own only once there is one.
type watcher struct {
	reg     registry.Registry
	connect func(context.Context) (*pgx.Conn, error)
	observe func(Event)

	mu      sync.Mutex
	running map[string]runningTenant // by the tenant's id
	blocked map[string][]Blocker
}

type runningTenant struct {
	tenant registry.Tenant
	pid    uint32 // of the server process, 0 where only the tenant's lock tells
	since  time.Time
}

func newWatcher(reg registry.Registry, connect func(context.Context) (*pgx.Conn, error), observe func(Event)) *watcher {
	return &watcher{reg: reg, connect: connect, observe: observe, running: map[string]runningTenant{},
		blocked: map[string][]Blocker{}}
}

func (w *watcher) begin(t registry.Tenant, pid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[t.ID] = runningTenant{t, pid, time.Now()}
}

// end takes a tenant out and returns what it was last seen waiting for.
func (w *watcher) end(t registry.Tenant) []Blocker {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, t.ID)
	seen := w.blocked[t.ID]
	delete(w.blocked, t.ID)
	return seen
}

// slow returns the tenants under way for longer than watchAfter.
func (w *watcher) slow() []runningTenant {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tenants []runningTenant
	for _, f := range w.running {
		if time.Since(f.since) >= watchAfter {
			tenants = append(tenants, f)
		}
	}
	return tenants
}

// run watches until ctx is done. Not being able to look is no reason to
// complain: the run itself meets the same trouble and tells.
func (w *watcher) run(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		tenants := w.slow()
		if len(tenants) == 0 {
			continue
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = w.connect(ctx); err != nil {
				conn = nil
				continue
			}
		}
		found, err := blockers(ctx, conn, w.reg, tenants)
		if err != nil {
			continue
		}
		w.report(tenants, found, n%2 == 0)
	}
}

func (w *watcher) report(tenants []runningTenant, found map[string][]Blocker, tell bool) {
	for _, f := range tenants {
		w.mu.Lock()
		_, running := w.running[f.tenant.ID]
		if running && len(found[f.tenant.ID]) > 0 {
			w.blocked[f.tenant.ID] = found[f.tenant.ID]
		}
		w.mu.Unlock()
		if running && tell {
			w.observe(TenantWaiting{Tenant: f.tenant, For: time.Since(f.since), Blockers: found[f.tenant.ID]})
		}
	}
}

// blockers returns the sessions that the work on each tenant waits for.
func blockers(ctx context.Context, conn *pgx.Conn, reg registry.Registry,
	tenants []runningTenant) (map[string][]Blocker, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	ids, pids := make([]string, len(tenants)), make([]int32, len(tenants))
	for i, f := range tenants {
		ids[i], pids[i] = f.tenant.ID, int32(f.pid)
	}
	return db.Waiting(ctx, conn, reg.Tenants(), ids, pids)
}
