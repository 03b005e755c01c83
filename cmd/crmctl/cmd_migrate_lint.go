package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/lint"
)

// migrateLintOptions are the options of `crmctl migrate lint`.
type migrateLintOptions struct {
	paths   []string
	target  string
	since   int64
	strict  bool
	applied bool
	rules   bool
}

const targetPostgres = "postgres"

func newMigrateLintCmd(f *factory, runF func(context.Context, *factory, *migrateLintOptions) error) *cobra.Command {
	opts := &migrateLintOptions{}
	if runF == nil {
		runF = runMigrateLint
	}
	cmd := &cobra.Command{
		Use:   "lint [FILE|DIR]...",
		Short: "what would go wrong with migration files on a live fleet",
		Long: `Read migration files of the tenants with PostgreSQL's own grammar and say what leaves the tenant's
schema, what blocks or rewrites a table, what destroys data, and what goose would refuse. Nothing
runs, and no database is needed. Without FILE or DIR the files of --migrations-dir are read, or the
built-in ones. Of a FILE the others in its directory are read too, for what they say of the tables.

What a run refuses, or PostgreSQL refuses on every tenant, is an error, and nothing else is.
What a run takes but a live fleet may not, such as locks and lost data, is a warning. Only
errors fail the command, exit 4; with --strict warnings do too: for a pipeline where each has
to be mended or allowed.

A comment silences a rule for the statement that follows it, or for the whole file where it
stands before the first statement; of those that a run itself looks for (--rules -o wide:
enforced) it lifts catalog-guard alone:

  -- crmctl:allow drop-column nothing reads it since 2026-03`,
		Example: `crmctl migrate lint
crmctl migrate lint --migrations-dir db/migrations --since 20260301000000
crmctl migrate lint --target citus --strict db/migrations/00007_add_score.sql
crmctl migrate lint --rules`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.paths = args
			return runF(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.Var(cli.NewEnum(&opts.target, targetPostgres, []string{targetPostgres, lint.Citus}), "target",
		"add the rules of this `SERVER`: postgres or citus")
	fs.Int64Var(&opts.since, "since", 0, "tell only of files newer than `VERSION`")
	fs.BoolVar(&opts.strict, "strict", false, "exit 4 for warnings too")
	fs.BoolVar(&opts.applied, "applied", false, "compare with the files that were applied, which the registry knows")
	fs.String("shared-schemas", "", "the `SCHEMAS` that stand on the path of every tenant, with commas between")
	fs.BoolVar(&opts.rules, "rules", false, "list the rules and read no files")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPending, cli.ExitUnreachable)
	return cmd
}

func runMigrateLint(ctx context.Context, f *factory, opts *migrateLintOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.rules {
		return cli.PrintList(p, ruleList(), lint.Rules())
	}
	if opts.since < 0 {
		return cli.Usagef("--since %d: want a version, such as 5", opts.since)
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	o := app.LintOptions{Paths: opts.paths, Since: opts.since, Applied: opts.applied}
	if opts.target != targetPostgres {
		o.Target = opts.target
	}
	found, err := a.Lint(ctx, o)
	if err != nil {
		return err
	}
	line, err := f.printFindings(p, found.Findings, found.Files)
	if err != nil {
		return err
	}
	if failed(found.Findings, opts.strict) {
		return cli.ExitTold(cli.ExitPending, "%s", line)
	}
	return cli.WithCode(found.Uncompared, cli.ExitUsage)
}

func failed(findings []lint.Finding, strict bool) bool {
	return slices.ContainsFunc(findings, func(f lint.Finding) bool { return strict || f.Severity == lint.Error })
}

// printFindings prints a listing on a terminal, and rows elsewhere.
func (f *factory) printFindings(p *cli.Printer, findings []lint.Finding, files int) (line string, err error) {
	errors := 0
	for _, finding := range findings {
		if finding.Severity == lint.Error {
			errors++
		}
	}
	if f.OnGitHub() {
		for _, finding := range findings {
			fmt.Fprintln(f.IO.Err, annotation(finding))
		}
	}
	if p.Terminal && p.Format == "table" && !p.Quiet {
		if err := writeLint(p, p.Out, findings); err != nil {
			return "", fmt.Errorf("write the answer: %w", err)
		}
	} else {
		l := findingList()
		l.Summary = func() any {
			return map[string]int{"files": files, "errors": errors, "warnings": len(findings) - errors}
		}
		if err := cli.PrintList(p, l, findings); err != nil {
			return "", err
		}
	}
	line = findingsLine(errors, len(findings)-errors, files)
	f.Note("%s", line)
	return line, nil
}

// findingsLine returns "2 errors and 1 warning in 5 files".
func findingsLine(errors, warnings, files int) string {
	in := " in " + cli.Plural(files, "file")
	switch {
	case errors == 0 && warnings == 0:
		return "nothing to mend" + in
	case errors == 0:
		return cli.Plural(warnings, "warning") + in
	case warnings == 0:
		return cli.Plural(errors, "error") + in
	}
	return cli.Plural(errors, "error") + " and " + cli.Plural(warnings, "warning") + in
}

func findingList() cli.List[lint.Finding] {
	return cli.List[lint.Finding]{
		Plural: "findings",
		Columns: []cli.Column[lint.Finding]{
			{Name: "file", Value: func(f lint.Finding) any { return f.File }},
			{Name: "line", Right: true, Value: func(f lint.Finding) any { return f.Line }},
			{Name: "column", Right: true, Value: func(f lint.Finding) any { return f.Column }},
			{Name: "severity", Value: func(f lint.Finding) any {
				return cli.Styled{Value: string(f.Severity), Color: severityColor(f.Severity)}
			}},
			{Name: "rule", Value: func(f lint.Finding) any { return f.Rule }},
			{Name: "message", Value: func(f lint.Finding) any { return f.Message }},
			{Name: "fix", Value: func(f lint.Finding) any { return f.Fix }},
			{Name: "why", Wide: true, Value: func(f lint.Finding) any { return f.Why }},
			{Name: "statement", Wide: true, Value: func(f lint.Finding) any { return f.Statement }},
		},
		Name: func(f lint.Finding) string { return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Rule) },
	}
}

func ruleList() cli.List[lint.Rule] {
	return cli.List[lint.Rule]{
		Plural: "rules",
		Columns: []cli.Column[lint.Rule]{
			{Name: "rule", Value: func(r lint.Rule) any { return r.Name }},
			{Name: "severity", Value: func(r lint.Rule) any {
				return cli.Styled{Value: string(r.Severity), Color: severityColor(r.Severity)}
			}},
			{Name: "target", Wide: true, Optional: true, Value: func(r lint.Rule) any { return r.Target }},
			{Name: "summary", Title: "FINDS", Text: true, Value: func(r lint.Rule) any { return r.Summary }},
			{Name: "enforced", Wide: true, Optional: true, Value: func(r lint.Rule) any { return r.Enforced }},
			{Name: "why", Wide: true, Value: func(r lint.Rule) any { return r.Why }},
			{Name: "fix", Wide: true, Value: func(r lint.Rule) any { return r.Fix }},
		},
		Name: func(r lint.Rule) string { return r.Name },
	}
}

func severityColor(s lint.Severity) cli.Color {
	if s == lint.Error {
		return cli.Red
	}
	return cli.Yellow
}

// writeLint writes a paragraph for each finding, below the name of its file:
//
//	tenant/00007_score.sql
//	  3:1  error  drop-column
//	    alter table contacts drop column score;
//	    contacts.score is dropped. The values are gone in every tenant.
//	    fix: Stop using it first.
//
// Why, and what mends it, is said once of findings of one rule.
func writeLint(p *cli.Printer, w io.Writer, findings []lint.Finding) error {
	const indent = "    "
	var b strings.Builder
	file := ""
	told := make(map[string]bool)
	for _, f := range findings {
		if f.File != file {
			file = f.File
			b.WriteString(cli.Visible(file) + "\n")
		}
		fmt.Fprintf(&b, "  %d:%d  %s  %s\n", f.Line, f.Column,
			p.Painter.Paint(severityColor(f.Severity), string(f.Severity)), f.Rule)
		if f.Statement != "" {
			b.WriteString(indent + p.Painter.Paint(cli.Dim, p.Cut(cli.Visible(f.Statement), p.Width-len(indent))) + "\n")
		}
		advice := f.Rule + "\x00" + f.Why + "\x00" + f.Fix
		text := f.Message + "."
		if !told[advice] {
			text += " " + f.Why
		}
		for _, line := range cli.Wrap(cli.Visible(text), p.Width-len(indent)) {
			b.WriteString(indent + line + "\n")
		}
		if !told[advice] {
			for i, line := range cli.Wrap(cli.Visible(f.Fix), p.Width-len(indent)-len("fix: ")) {
				b.WriteString(indent + []string{"fix: ", "     "}[min(i, 1)] + line + "\n")
			}
		}
		told[advice] = true
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// annotation returns a finding as a command of a GitHub workflow, which shows it
// beside the line.
func annotation(f lint.Finding) string {
	property := strings.NewReplacer(":", "%3A", ",", "%2C")
	return fmt.Sprintf("::%s file=%s,line=%d,col=%d,title=%s::%s", f.Severity,
		property.Replace(cli.EscapeAnnotation(filepath.ToSlash(f.File))),
		f.Line, f.Column, f.Rule, cli.EscapeAnnotation(f.Message+". "+f.Fix))
}
