package tenantsql

import (
	"crypto/rand"
	"sync"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// run is the state that workers and the reader of the rows share.
type run struct {
	tenants []registry.Tenant
	script  []db.Statement
	o       Options
	token   string
	spool   *spool
	stopped error
	guard   planted.Guard
	owners  owner.Roles

	preparing sync.Mutex
	prepared  bool // the guard

	led   chan struct{} // closed when there are columns, and when the run is to end
	drain chan struct{} // closed when the run is to end
	over  chan struct{} // closed at the end

	mu       sync.Mutex
	changed  *sync.Cond
	of       string // slug of the tenant that gave the columns, "" before
	want     []Column
	outcomes []Outcome
	buffers  []*buffer // of tenants that have succeeded, until they are read
	doubtful []*result // of a COMMIT whose answer was lost
	ended    bool
	draining bool
}

// result is what one attempt found.
type result struct {
	columns  []Column
	rows     *buffer
	affected int64
}

func newRun(tenants []registry.Tenant, script []db.Statement, o Options) *run {
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	r := &run{
		tenants: tenants, script: script, o: o, token: rand.Text(),
		spool: &spool{dir: o.TempDir, unused: o.Memory},
		led:   make(chan struct{}), drain: make(chan struct{}), over: make(chan struct{}),
		outcomes: make([]Outcome, len(tenants)), buffers: make([]*buffer, len(tenants)),
		doubtful: make([]*result, len(tenants)),
	}
	r.guard.Trusted = o.Trusted
	r.changed = sync.NewCond(&r.mu)
	for i, t := range tenants {
		r.outcomes[i].Tenant = t
	}
	if o.Fleet.Drain != nil {
		go func() {
			select {
			case <-o.Fleet.Drain:
				r.endEarly()
			case <-r.over:
			}
		}()
	}
	return r
}

// endEarly begins no other tenant.
func (r *run) endEarly() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return
	}
	r.draining = true
	close(r.drain)
	if r.of == "" {
		close(r.led)
	}
}

// end says that no tenant will change any more.
func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	close(r.over)
	r.changed.Broadcast()
}

// expected returns the columns that every tenant must have, and whose they are.
func (r *run) expected() (of string, want []Column) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of, r.want
}

func (r *run) known() bool {
	of, _ := r.expected()
	return of != ""
}

// succeeded keeps what a tenant's transaction has found, once that has ended well.
func (r *run) succeeded(i int, found *result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[i].Rows, r.outcomes[i].Affected = found.rows.rows, found.affected
	r.buffers[i] = found.rows
	if r.of != "" {
		return
	}
	r.of, r.want = r.tenants[i].Slug, found.columns
	if !r.draining {
		close(r.led)
	}
	r.changed.Broadcast()
}

// record keeps how a tenant ended, and lets the reader of the rows know.
func (r *run) record(i int, res fleet.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &r.outcomes[i]
	out.State, out.Err, out.Attempts, out.Duration = res.State, res.Err, res.Attempts, res.Duration
	if out.State == fleet.NotStarted && r.doubtful[i] != nil {
		out.State = fleet.Failed // it may well have been done
	}
	r.changed.Broadcast()
}

func (r *run) failed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, out := range r.outcomes {
		if out.State == fleet.Failed {
			n++
		}
	}
	return n
}

// columns waits until they are known, or will never be.
func (r *run) columns() []Column {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.of == "" && !r.ended {
		r.changed.Wait()
	}
	return r.want
}

// await waits for the end of a tenant and takes its rows; nil when it has none.
func (r *run) await(i int) *buffer {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.outcomes[i].State == fleet.NotStarted && !r.ended {
		r.changed.Wait()
	}
	if r.outcomes[i].State != fleet.Done {
		return nil
	}
	b := r.buffers[i]
	r.buffers[i] = nil
	return b
}
