package migrate

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	watchInterval = 500 * time.Millisecond
	// watchAfter is how long a tenant may take before somebody asks why. It is
	// below the default lock timeout, so that the session in the way is known by
	// the time the tenant gives up.
	watchAfter   = time.Second
	watchTimeout = 3 * time.Second
	queryShown   = 200 // characters of a blocker's query
)

// watcher looks after the tenants under way and finds out what the slow ones wait
// for. It opens a connection of its own only once there is one.
type watcher struct {
	connect func(context.Context) (*pgx.Conn, error)
	observe func(Event)

	mu      sync.Mutex
	flying  map[int64]flight // by the key of the tenant's advisory lock
	blocked map[string][]Blocker
}

type flight struct {
	tenant Tenant
	since  time.Time
}

func newWatcher(connect func(context.Context) (*pgx.Conn, error), observe func(Event)) *watcher {
	return &watcher{connect: connect, observe: observe, flying: map[int64]flight{}, blocked: map[string][]Blocker{}}
}

func (w *watcher) begin(t Tenant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying[db.LockKey(t.Schema)] = flight{t, time.Now()}
}

// end takes a tenant out and returns what it was last seen waiting for.
func (w *watcher) end(t Tenant) []Blocker {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flying, db.LockKey(t.Schema))
	seen := w.blocked[t.ID]
	delete(w.blocked, t.ID)
	return seen
}

// slow returns the tenants under way for longer than watchAfter.
func (w *watcher) slow() (keys []int64, flights []flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, f := range w.flying {
		if time.Since(f.since) >= watchAfter {
			keys = append(keys, key)
			flights = append(flights, f)
		}
	}
	return keys, flights
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
		keys, flights := w.slow()
		if len(keys) == 0 {
			continue
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = w.connect(ctx); err != nil {
				conn = nil
				continue
			}
		}
		found, err := blockers(ctx, conn, keys)
		if err != nil {
			continue
		}
		w.report(keys, flights, found, n%2 == 0)
	}
}

func (w *watcher) report(keys []int64, flights []flight, found map[int64][]Blocker, tell bool) {
	for i, f := range flights {
		w.mu.Lock()
		_, flying := w.flying[keys[i]]
		if flying && len(found[keys[i]]) > 0 {
			w.blocked[f.tenant.ID] = found[keys[i]]
		}
		w.mu.Unlock()
		if flying && tell {
			w.observe(TenantWaiting{Tenant: f.tenant, For: time.Since(f.since), Blockers: found[keys[i]]})
		}
	}
}

// blockers returns, for each advisory lock, the sessions that its holder waits
// for. The lock leads to the session behind a pooler too, where a client does not
// know its server process.
func blockers(ctx context.Context, conn *pgx.Conn, keys []int64) (map[int64][]Blocker, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	type row struct {
		Key     int64
		Seconds float64
		Blocker
	}
	rows, err := db.Select(ctx, conn, func(r pgx.CollectableRow) (row, error) {
		var out row
		err := r.Scan(&out.Key, &out.PID, &out.Application, &out.User, &out.State, &out.Seconds, &out.Query)
		return out, err
	}, `
		select k.key, a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, ''),
			coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8, left(coalesce(a.query, ''), $2)
		from unnest($1::bigint[]) k (key)
		join pg_locks l on l.locktype = 'advisory' and l.granted and l.objsubid = 1
			and l.database = (select oid from pg_database where datname = current_database())
			and (l.classid::bigint << 32) | l.objid::bigint = k.key
		cross join lateral unnest(pg_blocking_pids(l.pid)) b (pid)
		join pg_stat_activity a on a.pid = b.pid
		order by a.xact_start`, keys, queryShown)
	if err != nil {
		return nil, err
	}
	found := map[int64][]Blocker{}
	for _, r := range rows {
		r.Since = time.Duration(r.Seconds * float64(time.Second))
		found[r.Key] = append(found[r.Key], r.Blocker)
	}
	return found, nil
}
