package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
)

// runReport is a run as it is printed.
type runReport struct {
	Run           int64
	Kind          string
	State         string // finished or stopped
	Reason        string // why it was stopped
	TargetVersion int64
	Tenants       int
	Migrated      int
	Current       int
	Skipped       int
	Failed        int
	NotStarted    int
	Elapsed       time.Duration
	Next          string // the command that goes on
	Outcomes      []outcomeRow

	Together bool // tenants that failed for one reason are one row of what was printed
}

// printReport prints what became of a run, which s sums up, and returns the error that
// carries its exit code.
func printReport(f *factory, p *cli.Printer, r *migrate.Report, s fleet.Summary) error {
	record := newRunReport(r, s)
	record.Next, _ = f.afterRun(r, record)
	var err error
	switch {
	case p.IsTable():
		err = printSummary(p, r, &record)
	case p.Format == "ndjson":
		finished := []cli.Field{{Name: "event", Value: "run_finished"}, {Name: "at", Value: f.Now()}}
		err = cli.PrintObject(p, cli.Object{Fields: append(finished, record.fields()...)})
	default:
		err = cli.PrintObject(p, record.object())
	}
	if err != nil {
		return err
	}
	return reportError(f, r, record, s)
}

// newRunReport returns the report of a run, which s sums up.
func newRunReport(r *migrate.Report, s fleet.Summary) runReport {
	report := runReport{
		Run: r.RunID, Kind: string(cmp.Or(r.Kind, migrate.Up)), State: "finished", TargetVersion: r.Target,
		Tenants:  len(r.Outcomes) + s.Unneeded,
		Migrated: r.Count(migrate.Migrated), Current: r.Count(migrate.Current) + s.Unneeded,
		Skipped: r.Count(migrate.Skipped), Failed: r.Count(migrate.Failed), NotStarted: r.Count(migrate.NotStarted),
		Elapsed: r.Elapsed, Outcomes: make([]outcomeRow, len(r.Outcomes)),
	}
	if r.Stopped != nil {
		report.State, report.Reason = "stopped", r.Stopped.Error()
	}
	for i, o := range r.Outcomes {
		report.Outcomes[i] = outcomeRowOf(o)
	}
	for _, i := range r.Canaries {
		report.Outcomes[i].canary = true
	}
	return report
}

func asStatement(err error) (*db.StatementError, bool) { return errors.AsType[*db.StatementError](err) }

func (r runReport) object() cli.Object {
	return cli.Object{Kind: "run", Name: fmt.Sprint(r.Run), Fields: r.fields()}
}

func (r runReport) fields() []cli.Field {
	return []cli.Field{
		{Name: "run", Value: cli.Serial(r.Run)}, {Name: "kind", Value: r.Kind}, {Name: "state", Value: r.State},
		{Name: "reason", Value: r.Reason, Document: true, Optional: true},
		{Name: "target_version", Value: cli.Serial(r.TargetVersion)}, {Name: "tenants", Value: r.Tenants},
		{Name: "migrated", Value: r.Migrated}, {Name: "current", Value: r.Current}, {Name: "skipped", Value: r.Skipped},
		{Name: "failed", Value: r.Failed}, {Name: "not_started", Value: r.NotStarted},
		{Name: "seconds", Value: r.Elapsed},
		{Name: "next", Value: r.Next, Document: true, Optional: true},
		{Name: "outcomes", Value: cli.Documents(outcomeColumns(), r.Outcomes), Document: true},
	}
}

// unserved returns why tenants did not have their turn in a run that nothing stopped: no
// connection could be had any more. It is nil where nobody knows.
func unserved(r *migrate.Report) error {
	for _, o := range r.Outcomes {
		if o.State == migrate.NotStarted && errors.Is(o.Err, db.ErrUnreachable) {
			return o.Err
		}
	}
	return nil
}

// printSummary prints the screen for people: what was done, the slowest, the
// failed.
func printSummary(p *cli.Printer, r *migrate.Report, record *runReport) error {
	var b strings.Builder
	switch {
	case len(r.Outcomes) == 0 && r.Kind != "" && r.Kind != migrate.Up:
		fmt.Fprintf(&b, "%s\n", p.Painter.Paint(cli.Green, "nothing to take back in "+cli.Plural(record.Tenants, "tenant")))
	case len(r.Outcomes) == 0:
		fmt.Fprintf(&b, "%s\n", p.Painter.Paint(cli.Green, fmt.Sprintf("nothing to do: %s at version %d",
			cli.Plural(record.Tenants, "tenant"), r.Target)))
	default:
		run := ""
		if r.RunID != 0 { // nobody's turn came
			run = fmt.Sprintf("     (run %d)", r.RunID)
		}
		fmt.Fprintf(&b, "%s of %s%s in %s%s\n", p.Painter.Paint(cli.Green, doneWord(r.Kind)+
			cli.HumanCount(int64(record.Migrated))),
			cli.Plural(len(r.Outcomes), "tenant"), toVersion(r), cli.HumanDuration(r.Elapsed), run)
	}
	recovered, unclear := answers(r)
	if recovered > 0 {
		fmt.Fprintf(&b, "recovered %s of these: the commit had gone through, although its answer was lost\n",
			cli.HumanCount(int64(recovered)))
	}
	if already := r.Count(migrate.Current) - unclear; already > 0 {
		fmt.Fprintf(&b, "current   %s, migrated by another run meanwhile\n", cli.HumanCount(int64(already)))
	}
	if unclear > 0 {
		fmt.Fprintf(&b, "current   %s, migrated by a commit whose answer was lost, or by another run\n",
			cli.HumanCount(int64(unclear)))
	}
	if record.Skipped > 0 {
		fmt.Fprintf(&b, "skipped   %s, deleted or transferred meanwhile\n", cli.HumanCount(int64(record.Skipped)))
	}
	if record.NotStarted > 0 {
		text := "not done  " + cli.HumanCount(int64(record.NotStarted))
		if reason := cmp.Or(r.Stopped, unserved(r)); reason != nil {
			text += ", since " + stoppedText(reason)
		}
		text = cli.Visible(text)
		if p.Terminal { // a reason may be long
			text = cli.Fold(text, p.Width, "          ")
		}
		fmt.Fprintf(&b, "%s\n", p.Painter.Paint(cli.Yellow, text))
	}
	const label = "slowest   "
	if slow := slowest(r.Outcomes, p.Width-len(label)); slow != "" {
		fmt.Fprintf(&b, "%s%s\n", label, slow)
	}
	if record.Failed > 0 {
		fmt.Fprintf(&b, "%s\n\n", p.Painter.Paint(cli.Red, "failed    "+cli.HumanCount(int64(record.Failed))))
	}
	text := b.String()
	if p.Terminal && !p.Painter.On {
		text = cli.Fold(text, p.Width, "          ")
	}
	if _, err := io.WriteString(p.Out, text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if record.Failed == 0 {
		return nil
	}
	return printFailed(p, r, &record.Together)
}

// answers counts the tenants that turned out to be at their version after the answer to a
// commit was lost: those of which it is known that it had gone through, and the others.
func answers(r *migrate.Report) (recovered, unclear int) {
	for _, o := range r.Outcomes {
		switch {
		case o.State == migrate.Migrated && o.Answer == migrate.AnswerRecovered:
			recovered++
		case o.State == migrate.Current && o.Answer == migrate.AnswerUnclear:
			unclear++
		}
	}
	return recovered, unclear
}

// doneWord begins the line that says what was done.
func doneWord(k migrate.Kind) string {
	switch k {
	case migrate.Down:
		return "rolled back  "
	case migrate.Redo:
		return "redone    "
	}
	return "migrated  "
}

func toVersion(r *migrate.Report) string {
	if r.Kind == migrate.Redo || r.Target < 0 {
		return ""
	}
	return fmt.Sprintf(" to version %d", r.Target)
}

// stoppedText says why a run ended before its tenants did, as the end of "since".
func stoppedText(err error) string {
	switch {
	case errors.Is(err, migrate.ErrCanary):
		return textOf(err)
	case errors.Is(err, fleet.ErrTooManyFailures):
		return "too many have failed"
	case errors.Is(err, fleet.ErrDeadline):
		return "the deadline came"
	case errors.Is(err, fleet.ErrDrained), errors.Is(err, context.Canceled):
		return "the run was interrupted"
	}
	return textOf(err)
}

// printFailed lists the tenants that failed, those that failed for one reason together. It
// sets together where it did so.
func printFailed(p *cli.Printer, r *migrate.Report, together *bool) error {
	var failed []migrate.Outcome
	for _, o := range r.Outcomes {
		if o.State == migrate.Failed {
			failed = append(failed, o)
		}
	}
	rows := make([]outcomeRow, len(failed))
	for i, o := range failed {
		rows[i] = outcomeRowOf(o)
	}
	columns := slices.DeleteFunc(outcomeColumns(), func(c cli.Column[outcomeRow]) bool { return c.Name == "state" })
	list := outcomeList(columns)
	list.Alike.Piped, list.Alike.Together = true, together
	err := cli.PrintList(p, list, rows)
	if err != nil || !p.Terminal {
		return err
	}
	return printExcerpts(p, failed)
}

// printExcerpts shows the lines that the server pointed at, each once.
func printExcerpts(p *cli.Printer, failed []migrate.Outcome) error {
	const most = 2
	seen := map[string]bool{}
	for _, o := range failed {
		s, ok := asStatement(o.Err)
		if !ok || s.Excerpt() == "" || seen[s.Place()] || len(seen) == most {
			continue
		}
		seen[s.Place()] = true
		var text strings.Builder
		fmt.Fprintf(&text, "\n  %s\n", cli.Visible(s.Place()))
		for line := range strings.SplitSeq(s.Excerpt(), "\n") {
			fmt.Fprintf(&text, "    %s\n", cli.Visible(line))
		}
		if _, err := p.Out.Write([]byte(text.String())); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return nil
}

// slowest names the tenants that took longest, when there are enough for it to
// mean something.
func slowest(outcomes []migrate.Outcome, width int) string {
	const most = 3
	if len(outcomes) <= most {
		return ""
	}
	sorted := slices.DeleteFunc(slices.Clone(outcomes), func(o migrate.Outcome) bool { return o.Duration == 0 })
	slices.SortStableFunc(sorted, func(a, b migrate.Outcome) int { return cmp.Compare(b.Duration, a.Duration) })
	var out []string
	used := 0
	for _, o := range sorted[:min(most, len(sorted))] {
		one := cli.Visible(o.Tenant.Slug) + " " + cli.HumanDuration(o.Duration)
		// The slowest is named however long its name is.
		if used += utf8.RuneCountInString(one) + len(", "); len(out) > 0 && width > 0 && used > width {
			break
		}
		out = append(out, one)
	}
	return strings.Join(out, ", ")
}

// reportError turns a run into an exit code, and says which command goes on.
func reportError(f *factory, r *migrate.Report, record runReport, s fleet.Summary) error {
	err := f.end(runEnd{Summary: s, threshold: true, told: true})
	if err == nil {
		return nil
	}
	next, details := f.afterRun(r, record)
	switch {
	case !f.structured():
		if next != "" {
			f.Note("\nnext: %s", next)
			f.noteTrust(r)
			f.Note("details: %s", details)
		} else if details != "" {
			f.Note("\ndetails: %s", details)
		}
	case !cli.IsSilent(err): // it is a record of its own
		if next != "" {
			err = cli.WithHint(err, "next", next)
		}
	default:
		f.printRecord(f.runRecord(r, record, exitCode(err), details))
	}
	return err
}

// runRecord is a run that did not do all, as an error for programs.
func (f *factory) runRecord(r *migrate.Report, record runReport, code int, details string) errorRecord {
	e := errorRecord{
		Code: code,
		Message: fmt.Sprintf("%s of %s failed, %s not started", cli.HumanCount(int64(record.Failed)),
			cli.Plural(record.Tenants, "tenant"), cli.HumanCount(int64(record.NotStarted))),
		Next: record.Next,
	}
	if r.Stopped != nil {
		e.Message += ": " + r.Stopped.Error()
	}
	if f.WasInterrupted() {
		e.Code = cli.ExitInterrupted
	}
	if details != "" {
		e.Hint = "details: " + details
	}
	var failed []migrate.Outcome
	for _, o := range r.Outcomes {
		if o.State == migrate.Failed {
			failed = append(failed, o)
		}
	}
	if len(failed) == 1 { // of several, each is among the outcomes
		e.Tenant, e.SQLState = failed[0].Tenant.Slug, db.SQLState(failed[0].Err)
	}
	return e
}

// sameFlags returns the flags of this command that decide which files and which
// database are meant, as they were given, for a command that goes on with its work.
func (f *factory) sameFlags() string {
	return f.filesFlag() + f.sameTarget()
}

// filesFlag returns the flag that named the migrations, as it was given.
func (f *factory) filesFlag() string { return f.given("migrations-dir") }

// sameTarget returns the flags that named the database and the registry in it, as they
// were given.
func (f *factory) sameTarget() string {
	if f.other != "" {
		return " --profile " + cli.ShellWords([]string{f.other}) + f.given("config")
	}
	return f.given("profile", "database-url", "config", "registry-schema")
}

// given returns flags of this command as they were given, with a space before each.
func (f *factory) given(names ...string) string {
	text := ""
	if f.cmd == nil {
		return text
	}
	for _, name := range names {
		if flag := f.cmd.Flags().Lookup(name); flag != nil && flag.Changed {
			text += " --" + name + " " + cli.ShellWords([]string{flag.Value.String()})
		}
	}
	return text
}
