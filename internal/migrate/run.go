package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleet"
)

// RunOptions say how to run a plan over a fleet.
type RunOptions struct {
	Fleet            fleet.Options // Observer is Run's own; set Observer here
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	// SyncCommit makes every tenant's commit wait for the disk. Without it the
	// tenants commit asynchronously, and the synchronous commit of the ledger
	// at the end, which flushes them all, comes before Run returns.
	SyncCommit bool
	Actor      string
	// Observer may be nil.
	Observer Observer
}

// Observer is told how a run goes. Its methods are called by all workers at once
// and must be safe for that and quick.
type Observer interface {
	TenantStarted(t Tenant)
	TenantRetrying(t Tenant, attempt int, err error, wait time.Duration)
	TenantFinished(o Outcome)
}

// State is how a tenant of a run ended.
type State string

// A tenant is Current when it had nothing pending, be it that another run got
// there first, and Skipped when it was deleted since the run was planned.
const (
	Migrated   State = "migrated"
	Current    State = "current"
	Skipped    State = "skipped"
	Failed     State = "failed"
	NotStarted State = "not started"
)

// Outcome is what became of one tenant.
type Outcome struct {
	Tenant   Tenant
	State    State
	From, To int64
	Attempts int
	Duration time.Duration
	Err      error // nil unless Failed or NotStarted
}

// Report is the result of a run. Outcomes has one entry for each tenant, in the
// order given.
type Report struct {
	RunID    int64 // in migration_runs, 0 when the run was not recorded
	Target   int64 // version aimed at
	Outcomes []Outcome
	Elapsed  time.Duration
}

// Count returns how many tenants ended in a state.
func (r *Report) Count(s State) int {
	n := 0
	for i := range r.Outcomes {
		if r.Outcomes[i].State == s {
			n++
		}
	}
	return n
}

// Run applies the plan to the given tenants over several connections and records
// the run in the ledger. A failing tenant stops no other. The error is about the
// run as a whole (the ledger could not be written, say); what befell a tenant is
// in its Outcome.
//
// ledger is a connection for the registry, which no worker uses.
func (p *Plan) Run(ctx context.Context, ledger *pgx.Conn, connect func(context.Context) (*pgx.Conn, error), tenants []Tenant, o RunOptions) (*Report, error) {
	begun := time.Now()
	report := &Report{Target: p.Head(), Outcomes: make([]Outcome, len(tenants))}
	for i, t := range tenants {
		report.Outcomes[i] = Outcome{Tenant: t, State: NotStarted, From: t.Version, To: t.Version}
	}
	if len(tenants) == 0 {
		return report, nil
	}
	var err error
	if report.RunID, err = openRun(ctx, ledger, p.Head(), len(tenants), o.Actor); err != nil {
		return report, err
	}
	apply := ApplyOptions{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, AsyncCommit: !o.SyncCommit}
	o.Fleet.Observer = &observer{report: report, to: o.Observer}
	results, _ := fleet.Run(ctx, connect, len(tenants), o.Fleet, func(ctx context.Context, conn *pgx.Conn, i int) error {
		out := &report.Outcomes[i]
		change, err := p.Apply(ctx, conn, tenants[i], Route{}, apply)
		if errors.Is(err, ErrGone) {
			out.State = Skipped
			return nil
		}
		if err != nil {
			return err
		}
		out.From, out.To, out.State = change.From, change.To, Current
		if len(change.Applied) > 0 {
			out.State = Migrated
		}
		return nil
	})
	for i := range results {
		report.Outcomes[i].take(results[i])
	}
	report.Elapsed = time.Since(begun)
	// The run is over, whatever became of ctx: what was done is recorded, and
	// the commit that records it flushes the tenants'.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerTimeout)
	defer cancel()
	if err := closeRun(ctx, ledger, connect, report); err != nil {
		return report, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return report, nil
}

// take copies how the work ended. A tenant that was tried in vain until the run
// was drained has an error and is not started.
func (o *Outcome) take(r fleet.Result) {
	o.Attempts, o.Duration, o.Err = r.Attempts, r.Duration, r.Err
	switch r.State {
	case fleet.Failed:
		o.State = Failed
	case fleet.NotStarted:
		o.State = NotStarted
	case fleet.Done: // the work has said how
	}
}

// observer turns what the fleet says of an index into what a run says of a
// tenant.
type observer struct {
	report *Report
	to     Observer
}

func (o *observer) Started(i int) {
	if o.to != nil {
		o.to.TenantStarted(o.report.Outcomes[i].Tenant)
	}
}

func (o *observer) Retrying(i, attempt int, err error, wait time.Duration) {
	if o.to != nil {
		o.to.TenantRetrying(o.report.Outcomes[i].Tenant, attempt, err, wait)
	}
}

// Finished is called by the worker that holds the item, the only one to touch
// its outcome.
func (o *observer) Finished(i int, r fleet.Result) {
	o.report.Outcomes[i].take(r)
	if o.to != nil {
		o.to.TenantFinished(o.report.Outcomes[i])
	}
}
