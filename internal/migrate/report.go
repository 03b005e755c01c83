package migrate

import (
	"errors"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// State is how a tenant of a run ended.
type State string

// A tenant is Current when it had nothing to do, be it that another run got there
// first, and Skipped when it was deleted since the run was planned.
const (
	Migrated   State = "migrated"
	Current    State = "current"
	Skipped    State = "skipped"
	Failed     State = "failed"
	NotStarted State = "not started"
)

// Outcome is what became of one tenant.
type Outcome struct {
	Tenant   registry.Tenant
	State    State
	From, To int64
	Attempts int
	Duration time.Duration
	Err      error // nil unless Failed or NotStarted
	Blockers []Blocker
	Answer   Answer
}

// Answer says what is known of a commit whose answer was lost, of a tenant that turned out to
// be at its version.
type Answer string

// A tenant whose commit had gone through is Migrated and AnswerRecovered. It is Current and
// AnswerUnclear where another run may have done it instead.
const (
	AnswerNone      Answer = "" // none was lost
	AnswerRecovered Answer = "recovered"
	AnswerUnclear   Answer = "unclear"
)

// Reasons why a run stopped before its end, besides those of package fleet.
var (
	// ErrCanary says that a canary failed, or did not pass the check.
	ErrCanary = errors.New("the canary failed")
	// ErrCanaryBusy says that the tenants which were to go first were all locked by
	// others, so that nothing is known of the migration.
	ErrCanaryBusy = errors.New("every tenant tried as the canary is locked")
)

// Report is the result of a run. Outcomes has one entry for each tenant, in the
// order given.
type Report struct {
	RunID    int64 // in the ledger
	Kind     Kind
	Target   int64 // version aimed at; -1 where each tenant has its own
	Outcomes []Outcome
	Canaries []int // indexes of Outcomes
	// Stopped says why tenants were not started: ErrCanary or a reason of package
	// fleet. Nil when every tenant had its turn.
	Stopped error
	Elapsed time.Duration
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

// Summary counts what became of the tenants. One that was deleted or transferred
// meanwhile is none of them any more.
func (r *Report) Summary() fleet.Summary {
	s := fleet.Summary{Stopped: r.Stopped}
	for i := range r.Outcomes {
		switch o := &r.Outcomes[i]; o.State {
		case Migrated, Current:
			s.Add(fleet.Done, nil)
		case Failed:
			s.Add(fleet.Failed, o.Err)
		case NotStarted:
			s.Add(fleet.NotStarted, o.Err)
		case Skipped:
		}
	}
	return s
}

// Tenants returns the tenants of the run, at the versions they have reached.
func (r *Report) Tenants() []registry.Tenant {
	out := make([]registry.Tenant, len(r.Outcomes))
	for i := range r.Outcomes {
		out[i] = r.Outcomes[i].Tenant
	}
	return out
}
