package migrate

import (
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Event is something that happens in a run. Events come from all workers at once.
type Event interface{ event() }

// RunStarted is the first event.
type RunStarted struct {
	RunID    int64
	Kind     Kind
	Target   int64
	Tenants  int
	Canaries []string // slugs
}

// PhaseStarted says that the run goes on with a part of its work: the canary, the
// fleet, or files that cannot run in a transaction.
type PhaseStarted struct {
	Name        string // "canary", "fleet" or "no transaction"
	Tenants     int
	Concurrency int
}

// CanaryPassed says that the canaries are migrated and checked. The rest waits for
// Pause.
type CanaryPassed struct {
	Tenants []string
	Elapsed time.Duration
	Pause   time.Duration
}

// TenantStarted says that a worker has taken a tenant up for the first time.
type TenantStarted struct{ Tenant registry.Tenant }

// TenantRetrying says that a tenant goes to the back of the queue.
type TenantRetrying struct {
	Tenant  registry.Tenant
	Attempt int // that failed, from 1
	Err     error
	Wait    time.Duration
	// Blockers are the sessions that were seen in the way, if any was.
	Blockers []Blocker
}

// TenantAdvanced says that a tenant has done its part of the phase and goes on in
// another.
type TenantAdvanced struct {
	Tenant registry.Tenant
	To     int64 // version reached
}

// TenantFinished says how a tenant ended.
type TenantFinished struct{ Outcome Outcome }

// TenantWaiting says that a tenant has been under way for long. It comes every
// second as long as that lasts.
type TenantWaiting struct {
	Tenant   registry.Tenant
	For      time.Duration
	Blockers []Blocker // none when nothing is in its way: the work takes long
}

// ServerAway says that there was no server for a worker, which tries again.
type ServerAway struct{ Err error }

// RunFinished is the last event.
type RunFinished struct{ Report *Report }

// Blocker is a session that holds what a tenant's transaction waits for.
type Blocker = db.Blocker

func (RunStarted) event()     {}
func (PhaseStarted) event()   {}
func (CanaryPassed) event()   {}
func (TenantStarted) event()  {}
func (TenantRetrying) event() {}
func (TenantAdvanced) event() {}
func (TenantFinished) event() {}
func (TenantWaiting) event()  {}
func (ServerAway) event()     {}
func (RunFinished) event()    {}
