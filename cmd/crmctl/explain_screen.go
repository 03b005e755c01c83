package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// explainScreen shows how tenants run a statement, in every format.
type explainScreen struct {
	p     *cli.Printer
	found *app.Explained
}

// explainRow is a line of the table: of a plan, or about the tenants that have it.
type explainRow struct {
	text string
	node *stats.PlanNode
	dim  bool
}

func (s explainScreen) print() error {
	if s.p.IsTable() && !s.p.NamesOnly() {
		return cli.PrintList(s.p, s.lines(), s.rows())
	}
	return cli.PrintList(s.p, s.groups(), s.found.Groups)
}

// rows returns the plans one below the other, each under the tenants that have it.
func (s explainScreen) rows() []explainRow {
	var rows []explainRow
	for i, g := range s.found.Groups {
		if i > 0 {
			rows = append(rows, explainRow{})
		}
		if s.tenants() > 1 {
			rows = append(rows, explainRow{text: s.head(g)})
			for _, why := range g.Why {
				rows = append(rows, explainRow{text: "(" + why + ")", dim: true})
			}
		}
		for _, line := range g.Plan.Lines() {
			text := strings.Repeat("   ", line.Depth) + line.Text
			if line.Depth > 0 && line.Node != nil {
				text = strings.Repeat("   ", line.Depth-1) + "-> " + line.Text
			}
			rows = append(rows, explainRow{text: text, node: line.Node, dim: line.Condition})
		}
	}
	return rows
}

// head returns "998 of 1,000 tenants: acme, globex, ..., cost 8.4 to 12.1".
func (s explainScreen) head(g stats.PlanGroup) string {
	cost := fmt.Sprintf("cost %.1f", g.Least)
	if g.Most > g.Least {
		cost += fmt.Sprintf(" to %.1f", g.Most)
	}
	const few = 5
	names := strings.Join(g.Tenants[:min(few, len(g.Tenants))], ", ")
	if len(g.Tenants) > few {
		names += ", ..."
	}
	return fmt.Sprintf("%s of %s, %s: %s", cli.HumanCount(int64(len(g.Tenants))), cli.Plural(s.tenants(), "tenant"),
		cost, names)
}

func (s explainScreen) lines() cli.List[explainRow] {
	number := func(name, title string, measured bool, of func(*stats.PlanNode) any) cli.Column[explainRow] {
		return cli.Column[explainRow]{Name: name, Title: title, Right: true, Document: measured && !s.measured(),
			Value: func(r explainRow) any {
				if r.node == nil {
					return ""
				}
				return of(r.node)
			}}
	}
	return cli.List[explainRow]{
		Plural: "plans",
		Columns: []cli.Column[explainRow]{
			{Name: "plan", Value: func(r explainRow) any {
				if r.dim {
					return cli.Styled{Value: r.text, Color: cli.Dim}
				}
				return r.text
			}},
			number("rows_estimate", "ROWS", false, func(n *stats.PlanNode) any { return int64(n.Rows) }),
			number("cost", "COST", false, func(n *stats.PlanNode) any { return cli.Numeral(fmt.Sprintf("%.1f", n.Cost)) }),
			number("actual_rows", "FOUND", true, found),
			number("seconds", "TIME", true, took),
		},
		Name:   func(r explainRow) string { return r.text },
		Footer: footerOf(s.notes()),
	}
}

// tenants returns how many were asked.
func (s explainScreen) tenants() int { return len(s.found.Outcomes) }

// measured reports whether the statement was run.
func (s explainScreen) measured() bool {
	return len(s.found.Groups) > 0 && s.found.Groups[0].Plan.Execution != nil
}

// found is the number of rows of a step, over all its loops.
func found(n *stats.PlanNode) any {
	if n.Actual == nil || n.Loops == nil {
		return nil
	}
	return int64(math.Round(*n.Actual * *n.Loops))
}

// took is the time of a step, over all its loops.
func took(n *stats.PlanNode) any {
	if n.Time == nil || n.Loops == nil {
		return nil
	}
	return shortCell(fromMilliseconds(*n.Time * *n.Loops))
}

func fromMilliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// notes say what the tables are like, and what would help.
func (s explainScreen) notes() []string {
	var lines []string
	if s.found.Generic {
		lines = append(lines, "the plan for any values of the parameters; one for certain values may be another")
	}
	if len(s.found.Groups) == 1 && s.tenants() == 1 {
		lines = append(lines, s.tables(s.found.Groups[0])...)
	}
	var told []string
	for _, g := range s.found.Groups {
		for _, help := range g.Suggestions {
			for _, line := range suggestionLines(help) {
				if !slices.Contains(told, line) {
					told = append(told, line)
				}
			}
		}
	}
	return append(lines, told...)
}

// tables says of each table of the plan how large it is, and how old what is known of it.
func (s explainScreen) tables(g stats.PlanGroup) []string {
	var lines []string
	for _, name := range g.Plan.Relations() {
		for _, t := range g.Facts(name) {
			line := name + ": never analyzed, so that the plan rests on guesses"
			if t.Rows != nil {
				line = fmt.Sprintf("%s: about %s rows", name, humanEstimate(*t.Rows))
				if t.Analyzed != nil {
					line += fmt.Sprintf(", analyzed %s, %s changed since", s.p.Show.Human(*t.Analyzed), humanEstimate(t.Changed))
				}
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// suggestionLines returns what helps: the statements, why, and how the condition has to be
// written then.
func suggestionLines(help stats.Suggestion) []string {
	if len(help.Statements) == 0 {
		return []string{help.Table + ": " + help.Why}
	}
	lines := []string{"helps: " + strings.Join(help.Statements, "; "), "       (" + help.Why + ")"}
	if help.Instead != "" {
		lines = append(lines, "       with the condition: "+help.Instead)
	}
	return lines
}

// suggestionRecord is what programs get of a suggestion.
type suggestionRecord struct {
	Table      string   `json:"table"`
	Why        string   `json:"why"`
	Statements []string `json:"statements"`
	Condition  string   `json:"condition"`
}

// groups says how groups of tenants are shown to programs.
func (s explainScreen) groups() cli.List[stats.PlanGroup] {
	type group = stats.PlanGroup
	return cli.List[group]{
		Plural: "plans",
		Columns: []cli.Column[group]{
			{Name: "tenants", Value: func(g group) any { return len(g.Tenants) }},
			{Name: "cost_least", Value: func(g group) any { return g.Least }},
			{Name: "cost_most", Value: func(g group) any { return g.Most }},
			{Name: "rows_estimate", Value: func(g group) any { return g.Plan.Root.Rows }},
			{Name: "execution_seconds", Value: func(g group) any {
				if g.Plan.Execution == nil {
					return nil
				}
				return fromMilliseconds(*g.Plan.Execution)
			}},
			{Name: "plan", Value: func(g group) any { return planText(g.Plan) }},
			{Name: "why", Value: func(g group) any { return strings.Join(g.Why, "; ") }},
			{Name: "tables", Document: true, Value: func(g group) any { return g.Plan.Relations() }},
			{Name: "suggestions", Document: true, Value: func(g group) any {
				out := []suggestionRecord{}
				for _, h := range g.Suggestions {
					out = append(out, suggestionRecord{h.Table, h.Why, append([]string{}, h.Statements...), h.Instead})
				}
				return out
			}},
			{Name: "slugs", Document: true, Value: func(g group) any { return g.Tenants }},
		},
		Name: func(g group) string { return strings.Join(g.Tenants, "\n") },
		Summary: func() any {
			return struct {
				Tenants int       `json:"tenants"`
				Failed  int       `json:"failed"`
				Shapes  int       `json:"plans"`
				Generic bool      `json:"any_parameters"`
				At      time.Time `json:"measured_at"`
			}{s.tenants(), s.found.Summary().Failed, len(s.found.Groups), s.found.Generic, s.found.At.UTC()}
		},
	}
}

// planText returns a plan as lines.
func planText(p stats.Plan) string {
	var lines []string
	for _, line := range p.Lines() {
		lines = append(lines, strings.Repeat("  ", line.Depth)+line.Text)
	}
	return strings.Join(lines, "\n")
}
