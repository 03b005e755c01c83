package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
)

// stuckAfter is how long a tenant may be under way before a line says so, and how
// long until the next one.
const stuckAfter = time.Minute

// runWatch shows a fleet run while it goes on: on stderr for people and, with -o
// ndjson, as events on stdout.
type runWatch struct {
	bar      *cli.Progress
	failures *failureLog
	out      *eventWriter // nil without -o ndjson
	ok       atomic.Int64
	failed   atomic.Int64

	mu       sync.Mutex
	phase    migrate.PhaseStarted
	advanced int                  // tenants that are through with the phase and go on in another
	retrying map[string]bool      // slugs that wait for another try
	running  map[string]time.Time // slug -> since when
	waiting  map[string]migrate.TenantWaiting
	told     map[string]time.Duration // slug -> for how long when it was last said
	away     bool                     // it was said that there is no server
	counted  map[string]migrate.State // slug -> as what, for those that are through
	now      func() time.Time
}

func newRunWatch(f *factory, p *cli.Printer, total int) *runWatch {
	w := &runWatch{
		retrying: map[string]bool{}, running: map[string]time.Time{}, waiting: map[string]migrate.TenantWaiting{},
		told:    map[string]time.Duration{},
		counted: map[string]migrate.State{}, now: f.Now,
	}
	if p.Format == "ndjson" {
		w.out = &eventWriter{p: p, now: f.Now}
	}
	w.bar = f.NewProgress(cli.ProgressOptions{
		Verb: "migrate", Total: int64(total), Status: w.status, Fields: w.fields,
	})
	w.failures = newFailureLog(w.bar)
	return w
}

// observe takes an event of the run.
func (w *runWatch) observe(e migrate.Event) {
	if w.out != nil {
		w.out.write(e)
	}
	switch e := e.(type) {
	case migrate.RunStarted:
		w.bar.Tag(fmt.Sprintf("run=%d", e.RunID))
	case migrate.PhaseStarted:
		w.mu.Lock()
		w.phase, w.advanced = e, 0
		w.mu.Unlock()
		w.bar.Restart() // each kind of work has its own speed
		w.bar.Console.Verbose("%s: %s, %d at once", e.Name, cli.Plural(e.Tenants, "tenant"), e.Concurrency)
	case migrate.CanaryPassed:
		w.canaryPassed(e)
	case migrate.TenantStarted:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running[e.Tenant.Slug] = w.now()
	case migrate.TenantWaiting:
		w.tenantWaiting(e)
	case migrate.TenantRetrying:
		w.tenantRetrying(e)
	case migrate.TenantAdvanced:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.advanced++
		w.forget(e.Tenant.Slug)
	case migrate.TenantFinished:
		w.tenantFinished(e.Outcome)
	case migrate.ServerAway:
		w.serverAway(e)
	}
}

// serverAway says once that there is no server, until a tenant is done again.
func (w *runWatch) serverAway(e migrate.ServerAway) {
	w.mu.Lock()
	said := w.away
	w.away = true
	w.mu.Unlock()
	if !said {
		w.bar.Console.Note("waiting   %s", cli.Visible(textOf(e.Err)))
	}
}

func (w *runWatch) canaryPassed(e migrate.CanaryPassed) {
	names := cli.Visible(cli.FirstNames(e.Tenants))
	if e.Pause > 0 {
		w.bar.Console.Note("canary    %s ok in %s; the others follow in %s", names, cli.HumanDuration(e.Elapsed),
			cli.HumanDuration(e.Pause))
		return
	}
	w.bar.Console.Note("canary    %s ok in %s", names, cli.HumanDuration(e.Elapsed))
}

func (w *runWatch) tenantWaiting(e migrate.TenantWaiting) {
	w.mu.Lock()
	w.waiting[e.Tenant.Slug] = e
	tell := e.For-w.told[e.Tenant.Slug] >= stuckAfter
	if tell {
		w.told[e.Tenant.Slug] = e.For
	}
	w.mu.Unlock()
	if !tell {
		return
	}
	text := fmt.Sprintf("tenant=%s under way for %s", e.Tenant.Slug, cli.HumanDuration(e.For))
	if len(e.Blockers) > 0 {
		b := e.Blockers[0]
		text += fmt.Sprintf(", waits for %s: %s", blockerText(b), oneLine(b.Query))
	}
	w.bar.Event("%s", text)
}

// blockerText returns `pid 9120 (role "bi", app "report", idle in transaction 14m)`.
func blockerText(b migrate.Blocker) string {
	var about []string
	if b.User != "" {
		about = append(about, fmt.Sprintf("role %q", b.User))
	}
	if b.Application != "" {
		about = append(about, fmt.Sprintf("app %q", b.Application))
	}
	state := b.State
	if b.Since > time.Second {
		state += " " + cli.HumanDuration(b.Since)
	}
	if state != "" {
		about = append(about, state)
	}
	return fmt.Sprintf("pid %d (%s)", b.PID, strings.Join(about, ", "))
}

func oneLine(sql string) string { return strings.Join(strings.Fields(sql), " ") }

func (w *runWatch) tenantRetrying(e migrate.TenantRetrying) {
	w.mu.Lock()
	w.retrying[e.Tenant.Slug] = true
	delete(w.running, e.Tenant.Slug)
	delete(w.waiting, e.Tenant.Slug)
	w.mu.Unlock()
	w.bar.Console.Verbose("tenant=%s attempt=%d: %s; it is tried again", cli.Visible(e.Tenant.Slug), e.Attempt,
		cli.Visible(textOf(e.Err)))
}

// forget takes a tenant out of what is under way. The caller holds mu.
func (w *runWatch) forget(slug string) {
	delete(w.running, slug)
	delete(w.waiting, slug)
	delete(w.told, slug)
	delete(w.retrying, slug)
}

// tenantFinished counts a tenant that is done and says at once what failed. One that the
// end of the run cut short is not done, and one whose commit the server has lost comes
// here once more.
func (w *runWatch) tenantFinished(o migrate.Outcome) {
	w.mu.Lock()
	w.forget(o.Tenant.Slug)
	former, again := w.counted[o.Tenant.Slug]
	w.counted[o.Tenant.Slug] = o.State
	w.away = false
	w.mu.Unlock()
	if again {
		w.count(former, -1)
	}
	w.count(o.State, 1)
	if o.State != migrate.Failed {
		return
	}
	w.failures.tell(o.Tenant.Slug, o.Tenant.Schema.String(), tagged(o.Err), why(o))
}

// count adds n tenants that ended in a state.
func (w *runWatch) count(s migrate.State, n int64) {
	switch s {
	case migrate.NotStarted:
		return
	case migrate.Failed:
		w.failed.Add(n)
	default:
		w.ok.Add(n)
	}
	w.bar.Add(n)
}

// tagged returns " sqlstate=42701" for errors of the server.
func tagged(err error) string {
	if code := db.SQLState(err); code != "" {
		return " sqlstate=" + code
	}
	return ""
}

// why says why a tenant failed or was not started: for a lock that was not granted,
// who had it.
func why(o migrate.Outcome) string {
	switch {
	case o.Err == nil:
		return ""
	case db.SQLState(o.Err) == db.CodeLockNotAvailable && len(o.Blockers) > 0:
		text := fmt.Sprintf("lock not granted in %s: %s (%s)", cli.Plural(o.Attempts, "attempt"), blockerText(o.Blockers[0]),
			db.CodeLockNotAvailable)
		if s, ok := asStatement(o.Err); ok && s.Place() != "" {
			return s.Place() + "  " + text
		}
		return text
	}
	if hint, ok := explainFiles(o.Err); ok {
		return textOf(o.Err) + "; " + hint.Label + ": " + hint.Command
	}
	return textOf(o.Err)
}

func (w *runWatch) status() string {
	text := fmt.Sprintf("ok %s   failed %d", cli.HumanCount(w.ok.Load()), w.failed.Load())
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.retrying); n > 0 {
		text += fmt.Sprintf("   retrying %d", n)
	}
	if w.advanced > 0 {
		text += fmt.Sprintf("   %s of %s through the phase %q", cli.HumanCount(int64(w.advanced)),
			cli.HumanCount(int64(w.phase.Tenants)), w.phase.Name)
	}
	slowest, since := "", time.Time{}
	for slug, at := range w.running {
		if slowest == "" || at.Before(since) {
			slowest, since = slug, at
		}
	}
	const worthIt = time.Second
	if d := w.now().Sub(since); slowest != "" && d > worthIt {
		text += fmt.Sprintf("   slowest now: %s %s", slowest, cli.HumanDuration(d))
		if blockers := w.waiting[slowest].Blockers; len(blockers) > 0 {
			text += fmt.Sprintf(" (waits for pid %d, app %q)", blockers[0].PID, blockers[0].Application)
		}
	}
	return text
}

func (w *runWatch) fields() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("ok=%d failed=%d retrying=%d", w.ok.Load(), w.failed.Load(), len(w.retrying))
	if w.advanced > 0 {
		text += fmt.Sprintf(" phase=%s advanced=%d", strings.ReplaceAll(w.phase.Name, " ", "-"), w.advanced)
	}
	return text
}
