package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
)

// doctorSummary stands beside the findings in JSON and YAML.
type doctorSummary struct {
	Tenants    int                `json:"tenants"`
	Errors     int                `json:"errors"`
	Warnings   int                `json:"warnings"`
	Infos      int                `json:"infos"`
	Checked    []string           `json:"checked"`
	NotChecked []notCheckedRecord `json:"not_checked"`
}

type notCheckedRecord struct {
	Class string `json:"class"`
	Why   string `json:"reason"`
}

func severityCell(s doctor.Severity) any {
	switch s {
	case doctor.Error:
		return cli.Styled{Value: string(s), Color: cli.Red}
	case doctor.Warning:
		return cli.Styled{Value: string(s), Color: cli.Yellow}
	case doctor.Info:
	}
	return cli.Styled{Value: string(s), Color: cli.Dim}
}

func findingColumns() []cli.Column[doctor.Finding] {
	return []cli.Column[doctor.Finding]{
		{Name: "severity", Value: func(d doctor.Finding) any { return severityCell(d.Severity) }},
		{Name: "class", Value: func(d doctor.Finding) any { return string(d.Class) }},
		{Name: "subject", Value: func(d doctor.Finding) any { return d.Subject }},
		{Name: "message", Title: "WHAT", Value: func(d doctor.Finding) any { return d.What }},
		{Name: "why", Wide: true, Value: func(d doctor.Finding) any { return d.Why }},
		{Name: "command", Wide: true, Value: func(d doctor.Finding) any { return d.Command }},
		{Name: "tenant", Document: true, Optional: true, Value: func(d doctor.Finding) any { return d.Tenant }},
		{Name: "fixable", Document: true, Value: func(d doctor.Finding) any { return d.Fixable() }},
	}
}

func doctorList(report *doctor.Report) cli.List[doctor.Finding] {
	return cli.List[doctor.Finding]{
		Plural:  "findings",
		Columns: findingColumns(),
		Name:    func(d doctor.Finding) string { return d.Subject },
		Summary: func() any {
			s := doctorSummary{
				Tenants: report.Tenants, Errors: report.Count(doctor.Error), Warnings: report.Count(doctor.Warning),
				Infos:   report.Count(doctor.Info),
				Checked: words(report.Checked), NotChecked: []notCheckedRecord{},
			}
			for _, n := range report.NotChecked {
				s.NotChecked = append(s.NotChecked, notCheckedRecord{string(n.Class), n.Why})
			}
			return s
		},
	}
}

// printFindings prints the findings: on a terminal those of a class together, with why
// they matter and what mends them.
func printFindings(f *factory, p *cli.Printer, report *doctor.Report, elapsed time.Duration) error {
	var err error
	switch {
	case p.Terminal && p.Format == "table" && !p.Quiet:
		err = writeFindings(p, report.Findings)
	default:
		err = cli.PrintList(p, doctorList(report), report.Findings)
	}
	if err != nil {
		return err
	}
	sayNotChecked(f, report)
	line := doctorLine(report, elapsed)
	f.Note("%s", line)
	if report.Count(doctor.Error)+report.Count(doctor.Warning) > 0 {
		return cli.ExitTold(cli.ExitPending, "%s", line)
	}
	return nil
}

func sayNotChecked(f *factory, report *doctor.Report) {
	for _, n := range report.NotChecked {
		f.Note("not checked: %s (%s)", n.Class, cli.Visible(n.Why))
	}
}

// doctorLine returns "5,000 tenants, 23 checks in 1.2 s: 3 errors, 1 warning".
func doctorLine(report *doctor.Report, elapsed time.Duration) string {
	text := fmt.Sprintf("%s, %s in %s: ", cli.Plural(report.Tenants, "tenant"), cli.Plural(len(report.Checked), "check"),
		cli.HumanDuration(elapsed))
	var parts []string
	for _, s := range []doctor.Severity{doctor.Error, doctor.Warning} {
		if n := report.Count(s); n > 0 {
			parts = append(parts, cli.Plural(n, string(s)))
		}
	}
	if n := report.Count(doctor.Info); n > 0 {
		parts = append(parts, fmt.Sprintf("%s to know", cli.Plural(n, "thing")))
	}
	if len(parts) == 0 {
		return text + "nothing is wrong"
	}
	return text + strings.Join(parts, ", ")
}

// mostOfClass is how many findings of a class a terminal shows.
const mostOfClass = 10

// writeFindings prints
//
//	error  ghost-row       Every command that reaches the tenant fails.
//	       globex          its schema tenant_globex is gone
//	       next: crmctl doctor --fix ghost-row
func writeFindings(p *cli.Printer, findings []doctor.Finding) error {
	var b strings.Builder
	for _, ofClass := range doctor.ByClass(findings) {
		writeClass(p, &b, ofClass)
	}
	if _, err := p.Out.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func writeClass(p *cli.Printer, b *strings.Builder, findings []doctor.Finding) {
	const indent, label = 9, 16
	first := findings[0]
	severity := severityCell(first.Severity)
	pad := strings.Repeat(" ", indent-len(first.Severity))
	margin := strings.Repeat(" ", indent)
	about := margin + strings.Repeat(" ", label+2)
	why := cli.Fold(about+first.Why, p.Width, about)[len(about):]
	fmt.Fprintf(b, "%s%s%-*s  %s\n", p.Painter.Paint(cli.ColorOf(severity), string(first.Severity)), pad, label,
		first.Class, p.Painter.Paint(cli.Dim, why))
	line := func(text string) { b.WriteString(cli.Fold(margin+text, p.Width, about) + "\n") }
	groups := doctor.GroupAlike(findings)
	commands := map[string]bool{}
	for i, g := range groups {
		if i == mostOfClass {
			line(fmt.Sprintf("and %s more", cli.HumanCount(int64(left(groups[i:])))))
			line("next: crmctl doctor --check " + string(first.Class) + " -o wide")
			break
		}
		if len(g.Findings) == 1 {
			line(fmt.Sprintf("%-*s  %s", label, cli.Visible(g.Findings[0].Subject), cli.Visible(g.Findings[0].What)))
		} else {
			line(fmt.Sprintf("%-*s  %s: %s", label, cli.HumanCount(int64(len(g.Findings)))+" alike", cli.Visible(g.What),
				cli.Visible(subjects(g.Findings))))
		}
		if command := g.Findings[0].Command; len(commands) == 0 || len(findings) <= 3 {
			commands[command] = true
		}
	}
	for _, g := range groups[:min(len(groups), mostOfClass)] {
		if command := g.Findings[0].Command; commands[command] {
			delete(commands, command)
			fmt.Fprintf(b, "%s%s\n", margin, "next: "+cli.Visible(command)) // a command that is cut is of no use
		}
	}
	b.WriteString("\n")
}

// subjects names the first subjects of findings.
func subjects(findings []doctor.Finding) string {
	const most = 3
	var names []string
	for _, d := range findings[:min(most, len(findings))] {
		names = append(names, d.Subject)
	}
	text := strings.Join(names, ", ")
	if more := len(findings) - len(names); more > 0 {
		text += fmt.Sprintf(" and %s more", cli.HumanCount(int64(more)))
	}
	return text
}

// left counts the findings of groups.
func left(groups []doctor.Group) int {
	n := 0
	for _, g := range groups {
		n += len(g.Findings)
	}
	return n
}

func checkList() cli.List[doctor.Check] {
	return cli.List[doctor.Check]{
		Plural: "checks",
		Columns: []cli.Column[doctor.Check]{
			{Name: "class", Value: func(c doctor.Check) any { return string(c.Class) }},
			{Name: "looks_for", Text: true, Value: func(c doctor.Check) any { return c.Looks }},
			{Name: "why", Wide: true, Value: func(c doctor.Check) any { return c.Why }},
			{Name: "fix", Title: "--FIX", Text: true, Value: func(c doctor.Check) any { return c.Fix }},
		},
		Name: func(c doctor.Check) string { return string(c.Class) },
	}
}

func fixedList(dryRun bool) cli.List[doctor.Fixed] {
	result := func(r doctor.Fixed) any {
		switch {
		case dryRun:
			return "would mend"
		case errors.Is(r.Err, doctor.ErrMended):
			return "in order"
		case r.Err != nil:
			return cli.Styled{Value: "failed", Color: cli.Red}
		}
		return cli.Styled{Value: "mended", Color: cli.Green}
	}
	return cli.List[doctor.Fixed]{
		Plural: "fixes",
		Columns: []cli.Column[doctor.Fixed]{
			{Name: "result", Value: result},
			{Name: "class", Value: func(r doctor.Fixed) any { return string(r.Finding.Class) }},
			{Name: "subject", Value: func(r doctor.Fixed) any { return r.Finding.Subject }},
			{Name: "message", Title: "WHAT", Text: true, Value: func(r doctor.Fixed) any {
				if r.Done != "" && r.Err == nil {
					return r.Done
				}
				return r.Finding.What
			}},
			{Name: "undo", Wide: true, Value: func(r doctor.Fixed) any { return r.Undo }},
			{Name: "done", Document: true, Value: func(r doctor.Fixed) any { return r.Done }},
			{Name: "error", Document: true, Optional: true, Value: func(r doctor.Fixed) any { return errorText(r.Err) }},
			{Name: "finding", Document: true, Value: func(r doctor.Fixed) any {
				return cli.Documents(findingColumns(), []doctor.Finding{r.Finding})[0]
			}},
		},
		Name:  func(r doctor.Fixed) string { return r.Finding.Subject },
		Empty: "nothing to mend", NoHeader: true,
	}
}
