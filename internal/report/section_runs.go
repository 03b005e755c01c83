package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

const (
	drawnTenants = 400 // of a run, a square each
	slowest      = 10
	mostFailed   = 100 // on the page of a run
	fewFailed    = 12  // of each run on the page of a fleet
	mostWaiting  = 20
)

// runTitle returns "Run 42: migrate to version 6".
func (v view) runTitle(r registry.Run) string {
	title := fmt.Sprintf("Run %d: %s", r.ID, r.Kind)
	if r.ID == 0 {
		title = "Run: " + r.Kind
	}
	if r.Target >= 0 {
		title += fmt.Sprintf(" to version %d", r.Target)
	}
	return title
}

func took(r registry.Run, now time.Time) time.Duration {
	if r.FinishedAt != nil {
		now = *r.FinishedAt
	}
	return max(0, now.Sub(r.StartedAt))
}

func runTone(r registry.Run) string {
	switch {
	case r.State == "killed", r.State == "stopped":
		return bad
	case r.State != "finished":
		return main
	case r.Failed > 0:
		return warn
	}
	return good
}

func (v view) runFigures(r Run) []figure {
	out := []figure{
		{Label: "State", Value: r.State, Tone: runTone(r.Run), Note: v.w.Visible(r.Reason)},
		{Label: "Tenants", Value: v.count(r.Tenants), Note: v.count(r.Succeeded) + " at their version"},
		{Label: "Failed", Value: v.count(r.Failed), Tone: good},
		{Label: "Not started", Value: v.count(r.NotStarted), Tone: good},
		{Label: "Took", Value: v.w.Duration(took(r.Run, r.StartedAt)), Note: "begun " + v.w.Minute(r.StartedAt)},
	}
	if r.Failed > 0 {
		out[2].Tone = bad
	}
	if r.NotStarted > 0 {
		out[3].Tone = warn
	}
	return out
}

// runs shows the last runs, and the latest of them tenant by tenant.
func (v view) runs(f *Fleet) (string, []block) {
	if len(f.Runs) == 0 {
		return "There were no runs yet.", nil
	}
	t := &table{Head: titles(".Run", ".State", "->Tenants", "->Ok", ">Failed", "->Left", ".Started", "->Took", "-By")}
	for _, r := range f.Runs {
		what := r.Kind
		if r.Target >= 0 {
			what += " to " + strconv.FormatInt(r.Target, 10)
		}
		failed, left := field{Text: v.count(r.Failed), Tone: quiet}, field{Text: v.count(r.NotStarted), Tone: quiet}
		if r.Failed > 0 {
			failed.Tone = bad
		}
		if r.NotStarted > 0 {
			left.Tone = warn
		}
		t.row(field{Text: strconv.FormatInt(r.ID, 10), Sub: what}, field{Text: r.State, Tone: runTone(r)},
			field{Text: v.count(r.Tenants)}, field{Text: v.count(r.Succeeded)}, failed, left,
			v.when(r.StartedAt), field{Text: v.w.Duration(took(r, f.At))},
			field{Text: v.w.Visible(r.Actor)})
	}
	blocks := []block{{Title: "The last runs", Table: t}}
	for _, r := range f.Details {
		blocks = append(blocks, v.outcomes(r, false)...)
	}
	return "", blocks
}

func outcomeTone(state string) string {
	switch migrate.State(state) {
	case migrate.Migrated:
		return good
	case migrate.Failed:
		return bad
	case migrate.NotStarted:
		return warn
	case migrate.Current, migrate.Skipped:
	}
	return quiet
}

// outcomes shows a run tenant by tenant: all in a square each where they are few, the slowest
// and the failed by name.
func (v view) outcomes(r Run, alone bool) []block {
	title := "Tenants"
	if !alone {
		title = v.runTitle(r.Run)
	}
	if len(r.Outcomes) == 0 {
		return []block{{Title: title, Note: "The ledger has no tenant of it."}}
	}
	counts := map[string]int{}
	var durations []float64
	var failed []registry.RunTenant
	done := make([]registry.RunTenant, 0, len(r.Outcomes))
	for _, o := range r.Outcomes {
		counts[o.State]++
		switch migrate.State(o.State) {
		case migrate.Failed:
			failed = append(failed, o)
			done = append(done, o)
		case migrate.Migrated:
			durations = append(durations, o.Duration.Seconds())
			done = append(done, o)
		case migrate.Current, migrate.Skipped, migrate.NotStarted:
		}
	}
	first := block{Title: title}
	for _, state := range []migrate.State{migrate.Migrated, migrate.Current, migrate.Skipped, migrate.Failed,
		migrate.NotStarted} {
		first.Stack = append(first.Stack, part{W: float64(counts[string(state)]), Text: string(state),
			Tone: outcomeTone(string(state))})
	}
	first.Stack = v.stack(first.Stack...)
	if len(r.Outcomes) <= drawnTenants {
		for _, o := range r.Outcomes {
			text := v.w.Visible(o.Slug) + ": " + o.State
			if o.Duration > 0 {
				text += ", " + v.w.Duration(o.Duration)
			}
			first.Cells = append(first.Cells, cell{outcomeTone(o.State), text})
		}
	}
	out := []block{first}
	if len(done) > 0 {
		out = append(out, v.slowest(done))
	}
	if len(durations) > slowest {
		out = append(out, v.durations(durations))
	}
	if len(failed) > 0 {
		most := fewFailed
		if alone {
			most = mostFailed
		}
		out = append(out, v.failed(failed, most))
	}
	return out
}

func (v view) slowest(done []registry.RunTenant) block {
	slices.SortStableFunc(done, func(a, b registry.RunTenant) int { return cmp.Compare(b.Duration, a.Duration) })
	b := block{Title: "The slowest", Half: true}
	for _, o := range done[:min(slowest, len(done))] {
		one := bar{Label: v.w.Visible(o.Slug), Value: v.w.Duration(o.Duration), Tone: main,
			Share: share(float64(o.Duration), float64(done[0].Duration))}
		if o.Attempts > 1 {
			one.Aside = v.plural(o.Attempts, "attempt")
		}
		if migrate.State(o.State) == migrate.Failed {
			one.Tone, one.Aside = bad, "failed"
		}
		b.Bars = append(b.Bars, one)
	}
	return b
}

func (v view) durations(seconds []float64) block {
	b := block{Title: "Tenants by time", Half: true}
	found := classes(seconds, 0.001)
	most := 0
	for _, c := range found {
		most = max(most, c.n)
	}
	text := func(s float64) string {
		return v.w.Duration(time.Duration(s * float64(time.Second)).Round(time.Millisecond))
	}
	for _, c := range found {
		label := text(c.from) + " to " + text(c.to)
		if c.from == 0 {
			label = "under " + text(c.to)
		}
		b.Bars = append(b.Bars, bar{Label: label, Value: v.count(c.n), Share: share(float64(c.n), float64(most)), Tone: main,
			Aside: percent(float64(c.n), float64(len(seconds)))})
	}
	return b
}

func (v view) failed(failed []registry.RunTenant, most int) block {
	t := &table{Head: titles("Tenant", "->Version", "Why")}
	for _, o := range failed[:min(most, len(failed))] {
		// Both stand in what most runs have told, and are not said twice.
		var where []string
		if !strings.Contains(o.Message, o.Place) {
			where = append(where, o.Place)
		}
		if !strings.Contains(o.Message, o.SQLState) {
			where = append(where, "SQLSTATE "+o.SQLState)
		}
		t.row(field{Text: v.w.Visible(o.Slug)}, field{Text: strconv.FormatInt(o.To, 10)},
			field{Text: v.w.Visible(o.Message), Sub: v.w.Visible(strings.Join(where, " "))})
	}
	return block{Title: "Failed", Table: t, Note: v.more(len(failed) - most)}
}

// locksOfRuns shows the tenants whose locks runs have met, nil where there are none.
func (v view) locksOfRuns(title string, runs []Run) []block {
	t := &table{Head: titles("Tenant", ">Run", ">Attempts", "->Took", ".End")}
	n := 0
	for _, r := range runs {
		met := slices.DeleteFunc(slices.Clone(r.Outcomes), func(o registry.RunTenant) bool {
			return o.Attempts < 2 && o.SQLState != "55P03"
		})
		slices.SortStableFunc(met, func(a, b registry.RunTenant) int {
			return cmp.Or(cmp.Compare(b.Attempts, a.Attempts), cmp.Compare(b.Duration, a.Duration))
		})
		for _, o := range met {
			if n++; n > mostWaiting {
				continue
			}
			t.row(field{Text: v.w.Visible(o.Slug)}, field{Text: strconv.FormatInt(r.ID, 10)},
				field{Text: v.count(o.Attempts)}, field{Text: v.w.Duration(o.Duration)},
				field{Text: o.State, Tone: outcomeTone(o.State)})
		}
	}
	if n == 0 {
		return nil
	}
	return []block{{Title: title, Table: t, Note: v.more(n - mostWaiting)}}
}

// locks shows who waits for whom now, and where runs had to wait.
func (v view) locks(f *Fleet) (string, []block) {
	tree := f.Sessions.LockTree()
	lead := "Nobody waits for a lock at the time of this report."
	var blocks []block
	if len(tree) > 0 {
		waiting := 0
		t := &table{Head: titles(".Session", "Tenant", "->In transaction", ">Waits", "Statement")}
		for _, node := range tree {
			if node.Waits {
				waiting++
			}
			if len(t.Rows) >= mostWaiting {
				continue
			}
			t.row(v.lockFields(node)...)
		}
		lead = fmt.Sprintf("%s for a lock at the time of this report. Below each session stand those that wait for it.",
			map[bool]string{true: "1 session waits", false: v.count(waiting) + " sessions wait"}[waiting == 1])
		blocks = append(blocks, block{Title: "Who waits for whom", Table: t, Note: v.more(len(tree) - len(t.Rows))})
	}
	if f.missing(Runs) {
		return lead, blocks
	}
	met := v.locksOfRuns("Tried again in the runs above", f.Details)
	if met == nil && len(tree) == 0 && len(f.Details) > 0 {
		lead += " The latest runs had to try no tenant twice."
	}
	return lead, append(blocks, met...)
}

func (v view) lockFields(n stats.LockNode) []field {
	name := "prepared " + v.w.Visible(n.GID)
	if n.PID != 0 {
		name = "pid " + strconv.Itoa(int(n.PID))
	}
	whose := field{Text: v.w.Visible(n.Tenant)}
	if n.Tenant == "" {
		whose = field{Text: string(n.Whose), Tone: quiet}
	}
	waits, state := field{}, n.State
	if n.Waits {
		waits.Text, waits.Tone = v.w.Duration(n.Waited), warn
		state = "wants " + v.w.Visible(n.Wants)
	}
	indent := ""
	if n.Depth > 0 {
		indent = strings.Repeat("\u2003", n.Depth-1) + "└ "
	}
	inside := ""
	if n.InTransaction > 0 {
		inside = v.w.Duration(n.InTransaction)
	}
	const most = 160
	query := []rune(v.w.Visible(n.Query))
	if len(query) > most {
		query = append(query[:most-1], '…')
	}
	who := strings.Trim(n.User+", "+n.Application, ", ")
	return []field{{Text: name, Sub: v.w.Visible(who), Indent: indent}, whose, {Text: inside}, waits,
		{Text: string(query), Sub: state, Code: true}}
}
