package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
)

// runWatch shows a fleet run while it goes on.
type runWatch struct {
	bar      *progress
	ok       atomic.Int64
	failed   atomic.Int64
	retrying atomic.Int64

	mu     sync.Mutex
	flying map[string]time.Time // slug -> since when
	now    func() time.Time
}

func newRunWatch(f *factory, total int) *runWatch {
	w := &runWatch{flying: make(map[string]time.Time), now: f.now}
	w.bar = f.newProgress(progressOptions{
		verb: "migrate", total: int64(total), status: w.status, fields: w.fields,
	})
	return w
}

// TenantStarted notes since when a tenant is under way.
func (w *runWatch) TenantStarted(t migrate.Tenant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying[t.Slug] = w.now()
}

// TenantRetrying counts a tenant that waits for another try.
func (w *runWatch) TenantRetrying(t migrate.Tenant, attempt int, err error, _ time.Duration) {
	if attempt == 1 {
		w.retrying.Add(1)
	}
	w.bar.f.verbose("tenant=%s attempt=%d: %s; it is tried again", visible(t.Slug), attempt, visible(err.Error()))
}

// TenantFinished counts a tenant and says at once what failed.
func (w *runWatch) TenantFinished(o migrate.Outcome) {
	w.mu.Lock()
	delete(w.flying, o.Tenant.Slug)
	w.mu.Unlock()
	if o.Attempts > 1 {
		w.retrying.Add(-1)
	}
	w.bar.add(1)
	if o.State != migrate.Failed {
		w.ok.Add(1)
		return
	}
	w.failed.Add(1)
	w.bar.failure("tenant=%s failed%s: %s", o.Tenant.Slug, tagged(o.Err), o.Err)
}

// tagged returns " sqlstate=42701" for errors of the server.
func tagged(err error) string {
	if code := db.SQLState(err); code != "" {
		return " sqlstate=" + code
	}
	return ""
}

func (w *runWatch) status() string {
	text := fmt.Sprintf("ok %s   failed %d", humanCount(w.ok.Load()), w.failed.Load())
	if n := w.retrying.Load(); n > 0 {
		text += fmt.Sprintf("   retrying %d", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	slowest, since := "", time.Time{}
	for slug, at := range w.flying {
		if slowest == "" || at.Before(since) {
			slowest, since = slug, at
		}
	}
	const worthIt = time.Second
	if d := w.now().Sub(since); slowest != "" && d > worthIt {
		text += fmt.Sprintf("          slowest now: %s %s", slowest, humanDuration(d))
	}
	return text
}

func (w *runWatch) fields() string {
	return fmt.Sprintf("ok=%d failed=%d retrying=%d", w.ok.Load(), w.failed.Load(), w.retrying.Load())
}

// reportRecord is a run in JSON and YAML.
type reportRecord struct {
	Run            int64           `json:"run"`
	TargetVersion  int64           `json:"target_version"`
	Tenants        int             `json:"tenants"`
	Migrated       int             `json:"migrated"`
	Current        int             `json:"current"`
	Skipped        int             `json:"skipped"`
	Failed         int             `json:"failed"`
	NotStarted     int             `json:"not_started"`
	ElapsedSeconds float64         `json:"elapsed_seconds"`
	Outcomes       []outcomeRecord `json:"outcomes"`
}

type outcomeRecord struct {
	Tenant      string  `json:"tenant"`
	State       string  `json:"state"`
	FromVersion int64   `json:"from_version"`
	ToVersion   int64   `json:"to_version"`
	Attempts    int     `json:"attempts"`
	Seconds     float64 `json:"seconds"`
	SQLState    string  `json:"sqlstate,omitempty"`
	Place       string  `json:"place,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// printReport prints what became of a run over `chosen` tenants, and returns the
// error that carries its exit code.
func printReport(f *factory, p *printer, r *migrate.Report, chosen int) error {
	record := reportRecord{
		Run: r.RunID, TargetVersion: r.Target, Tenants: chosen,
		Migrated: r.Count(migrate.Migrated), Current: r.Count(migrate.Current) + chosen - len(r.Outcomes),
		Skipped: r.Count(migrate.Skipped), Failed: r.Count(migrate.Failed), NotStarted: r.Count(migrate.NotStarted),
		ElapsedSeconds: r.Elapsed.Seconds(), Outcomes: make([]outcomeRecord, len(r.Outcomes)),
	}
	for i, o := range r.Outcomes {
		record.Outcomes[i] = outcomeRecordOf(o)
	}
	var err error
	if p.isTable() {
		err = printSummary(p, r, record)
	} else {
		err = printObject(p, object{kind: "run", name: fmt.Sprint(r.RunID), fields: reportFields(record), record: record})
	}
	if err != nil {
		return err
	}
	return reportError(f, r, record)
}

func outcomeRecordOf(o migrate.Outcome) outcomeRecord {
	rec := outcomeRecord{
		Tenant: o.Tenant.Slug, State: string(o.State), FromVersion: o.From, ToVersion: o.To,
		Attempts: o.Attempts, Seconds: o.Duration.Seconds(),
	}
	if o.Err != nil {
		rec.Error, rec.SQLState = o.Err.Error(), db.SQLState(o.Err)
		if statement, ok := errors.AsType[*db.StatementError](o.Err); ok {
			rec.Place = statement.Place()
		}
	}
	return rec
}

func reportFields(r reportRecord) []field {
	return []field{
		{name: "run", value: r.Run}, {name: "target_version", value: r.TargetVersion}, {name: "tenants", value: r.Tenants},
		{name: "migrated", value: r.Migrated}, {name: "current", value: r.Current}, {name: "skipped", value: r.Skipped},
		{name: "failed", value: r.Failed}, {name: "not_started", value: r.NotStarted}, {name: "elapsed_seconds", value: r.ElapsedSeconds},
	}
}

// printSummary prints the screen for people: what was done, the slowest, the
// failed.
func printSummary(p *printer, r *migrate.Report, record reportRecord) error {
	var b strings.Builder
	switch {
	case len(r.Outcomes) == 0:
		fmt.Fprintf(&b, "%s\n", p.painter.paint(green, fmt.Sprintf("nothing to do: %s at version %d", plural(record.Tenants, "tenant"), r.Target)))
	default:
		fmt.Fprintf(&b, "%s of %s to version %d in %s     (run %d)\n", p.painter.paint(green, "migrated  "+humanCount(int64(record.Migrated))),
			plural(len(r.Outcomes), "tenant"), r.Target, humanDuration(r.Elapsed), r.RunID)
	}
	if already := r.Count(migrate.Current); already > 0 {
		fmt.Fprintf(&b, "current   %s, migrated by another run meanwhile\n", humanCount(int64(already)))
	}
	if record.Skipped > 0 {
		fmt.Fprintf(&b, "skipped   %s, deleted meanwhile\n", humanCount(int64(record.Skipped)))
	}
	if record.NotStarted > 0 {
		fmt.Fprintf(&b, "%s\n", p.painter.paint(yellow, "not done  "+humanCount(int64(record.NotStarted))))
	}
	if slow := slowest(r.Outcomes); slow != "" {
		fmt.Fprintf(&b, "slowest   %s\n", slow)
	}
	if record.Failed > 0 {
		fmt.Fprintf(&b, "%s\n\n", p.painter.paint(red, "failed    "+humanCount(int64(record.Failed))))
	}
	if _, err := p.out.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if record.Failed == 0 {
		return nil
	}
	return printFailed(p, r)
}

func printFailed(p *printer, r *migrate.Report) error {
	var failed []migrate.Outcome
	for _, o := range r.Outcomes {
		if o.State == migrate.Failed {
			failed = append(failed, o)
		}
	}
	return printList(p, list[migrate.Outcome]{
		plural: "failed",
		columns: []column[migrate.Outcome]{
			{name: "tenant", value: func(o migrate.Outcome) any { return o.Tenant.Slug }},
			{name: "version", value: func(o migrate.Outcome) any { return o.To }},
			{name: "attempts", wide: true, right: true, value: func(o migrate.Outcome) any { return o.Attempts }},
			{name: "why", value: func(o migrate.Outcome) any { return o.Err.Error() }},
		},
		name: func(o migrate.Outcome) string { return o.Tenant.Slug },
	}, failed)
}

// slowest names the tenants that took longest, when there are enough for it to
// mean something.
func slowest(outcomes []migrate.Outcome) string {
	const most = 3
	if len(outcomes) <= most {
		return ""
	}
	sorted := slices.Clone(outcomes)
	slices.SortStableFunc(sorted, func(a, b migrate.Outcome) int { return cmp.Compare(b.Duration, a.Duration) })
	var out []string
	for _, o := range sorted[:most] {
		out = append(out, visible(o.Tenant.Slug)+" "+humanDuration(o.Duration))
	}
	return strings.Join(out, ", ")
}

// reportError turns a run into an exit code, and says which command goes on.
func reportError(f *factory, r *migrate.Report, record reportRecord) error {
	if record.Failed+record.NotStarted == 0 {
		return nil
	}
	f.note("\nnext: crmctl migrate all-tenants  (does the rest)")
	var first error
	for _, o := range r.Outcomes {
		if o.State == migrate.NotStarted && o.Err != nil {
			first = o.Err
			break
		}
	}
	switch {
	case errors.Is(first, db.ErrUnreachable) && record.Migrated == 0 && record.Failed == 0:
		return first
	case record.Migrated+record.Current > 0:
		return exitWith(exitPartial)
	}
	return exitWith(exitFailure)
}
