package main

import (
	"sync"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
)

// eventWriter writes the events of a run as JSON, a line each, on stdout. The last
// one, run_finished, holds what -o json prints.
type eventWriter struct {
	p   *cli.Printer
	now func() time.Time

	mu sync.Mutex
}

// eventRecord is an event. Fields that do not belong to it are left out.
type eventRecord struct {
	Event       string            `json:"event"`
	At          time.Time         `json:"at"`
	Run         int64             `json:"run,omitempty"`
	Kind        string            `json:"kind,omitempty"`
	Target      int64             `json:"target_version,omitempty"`
	Tenants     int               `json:"tenants,omitempty"`
	Canaries    []string          `json:"canaries,omitempty"`
	Phase       string            `json:"phase,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
	Tenant      string            `json:"tenant,omitempty"`
	Attempt     int               `json:"attempt,omitempty"`
	ToVersion   int64             `json:"to_version,omitempty"`
	Seconds     float64           `json:"seconds,omitempty"`
	Error       string            `json:"error,omitempty"`
	Blockers    []migrate.Blocker `json:"blockers,omitempty"`
	Outcome     any               `json:"outcome,omitempty"`
}

func (w *eventWriter) write(e migrate.Event) {
	r := eventRecord{At: w.now().UTC()}
	switch e := e.(type) {
	case migrate.RunStarted:
		r.Event, r.Run, r.Kind, r.Target, r.Tenants, r.Canaries = "run_started", e.RunID, string(e.Kind), e.Target,
			e.Tenants, e.Canaries
	case migrate.PhaseStarted:
		r.Event, r.Phase, r.Tenants, r.Concurrency = "phase_started", e.Name, e.Tenants, e.Concurrency
	case migrate.CanaryPassed:
		r.Event, r.Canaries, r.Seconds = "canary_passed", e.Tenants, e.Elapsed.Seconds()
	case migrate.TenantStarted:
		r.Event, r.Tenant = "tenant_started", e.Tenant.Slug
	case migrate.TenantRetrying:
		r.Event, r.Tenant, r.Attempt, r.Error, r.Seconds, r.Blockers = "tenant_retrying", e.Tenant.Slug, e.Attempt,
			textOf(e.Err), e.Wait.Seconds(), e.Blockers
	case migrate.TenantWaiting:
		r.Event, r.Tenant, r.Seconds, r.Blockers = "tenant_waiting", e.Tenant.Slug, e.For.Seconds(), e.Blockers
	case migrate.TenantAdvanced:
		r.Event, r.Tenant, r.ToVersion = "tenant_advanced", e.Tenant.Slug, e.To
	case migrate.TenantFinished:
		r.Event, r.Tenant = "tenant_finished", e.Outcome.Tenant.Slug
		r.Outcome = cli.Documents(outcomeColumns(), []outcomeRow{outcomeRowOf(e.Outcome)})[0]
	case migrate.ServerAway:
		r.Event, r.Error = "server_away", textOf(e.Err)
	case migrate.RunFinished:
		return // printed with the report
	}
	text, err := cli.EncodeJSON(r, "", "")
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// A reader that has gone does not stop the run; the end tells.
	_, _ = w.p.Out.Write(append(text, '\n'))
}
