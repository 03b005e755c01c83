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
	flying  map[string]flight // by the tenant's id
	blocked map[string][]Blocker
}

type flight struct {
	tenant registry.Tenant
	pid    uint32 // of the server process, 0 where only the tenant's lock tells
	since  time.Time
}

func newWatcher(reg registry.Registry, connect func(context.Context) (*pgx.Conn, error), observe func(Event)) *watcher {
	return &watcher{reg: reg, connect: connect, observe: observe, flying: map[string]flight{}, blocked: map[string][]Blocker{}}
}

func (w *watcher) begin(t registry.Tenant, pid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying[t.ID] = flight{t, pid, time.Now()}
}

// end takes a tenant out and returns what it was last seen waiting for.
func (w *watcher) end(t registry.Tenant) []Blocker {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flying, t.ID)
	seen := w.blocked[t.ID]
	delete(w.blocked, t.ID)
	return seen
}

// slow returns the tenants under way for longer than watchAfter.
func (w *watcher) slow() []flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	var flights []flight
	for _, f := range w.flying {
		if time.Since(f.since) >= watchAfter {
			flights = append(flights, f)
		}
	}
	return flights
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
		flights := w.slow()
		if len(flights) == 0 {
			continue
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = w.connect(ctx); err != nil {
				conn = nil
				continue
			}
		}
		found, err := blockers(ctx, conn, w.reg, flights)
		if err != nil {
			continue
		}
		w.report(flights, found, n%2 == 0)
	}
}

func (w *watcher) report(flights []flight, found map[string][]Blocker, tell bool) {
	for _, f := range flights {
		w.mu.Lock()
		_, flying := w.flying[f.tenant.ID]
		if flying && len(found[f.tenant.ID]) > 0 {
			w.blocked[f.tenant.ID] = found[f.tenant.ID]
		}
		w.mu.Unlock()
		if flying && tell {
			w.observe(TenantWaiting{Tenant: f.tenant, For: time.Since(f.since), Blockers: found[f.tenant.ID]})
		}
	}
}

// blockers returns the sessions that the work on each tenant waits for.
func blockers(ctx context.Context, conn *pgx.Conn, reg registry.Registry, flights []flight) (map[string][]Blocker, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	ids, pids := make([]string, len(flights)), make([]int32, len(flights))
	for i, f := range flights {
		ids[i], pids[i] = f.tenant.ID, int32(f.pid)
	}
	return db.Waiting(ctx, conn, reg.Tenants(), ids, pids)
}
