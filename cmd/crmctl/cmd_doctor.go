package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/suggest"
)

// doctorOptions are the options of `crmctl doctor`.
type doctorOptions struct {
	checks      []string
	skip        []string
	fix         []string
	list        bool
	retention   time.Duration
	given       bool // --retention was, which wins over the tenants' own
	lockTimeout time.Duration
	dryRun      bool
}

func newDoctorCmd(f *factory) *cobra.Command {
	opts := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "find what is wrong with the fleet, and mend it",
		Long: `Look for what is wrong: the registry, the schemas, their versions, indexes, owners, roles and
grants, and the server. Each finding says what, why it matters, and what mends it. Looking changes
nothing; what the database role may not read is told as not checked.

--fix mends the classes named, after a question, and never drops a table, a schema or a row: a
schema that nobody knows is renamed, a row whose schema is gone is marked as deleted. --dry-run
says what would be mended. --list tells the classes.`,
		Example: `crmctl doctor
crmctl doctor --check orphan-schema,ghost-row -o json
crmctl doctor --fix version,grants --dry-run
crmctl doctor --fix orphan-schema --yes`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.given = cmd.Flags().Changed("retention")
			if _, err := opts.examine(); err != nil {
				return err
			}
			return runDoctor(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&opts.checks, "check", nil, "look for these `CLASSES` alone")
	fs.StringSliceVar(&opts.skip, "skip", nil, "do not look for these `CLASSES`")
	fs.StringSliceVar(&opts.fix, "fix", nil, "mend what is found of these `CLASSES`: "+
		strings.Join(words(fixableClasses()), ", "))
	fs.BoolVar(&opts.list, "list", false, "list the classes, and why they matter")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addRetentionFlag(fs, &opts.retention)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.RegisterCompletion(cmd, "check", cli.CompleteWords(words(doctor.Classes())...))
	cli.RegisterCompletion(cmd, "skip", cli.CompleteWords(words(doctor.Classes())...))
	cli.RegisterCompletion(cmd, "fix", cli.CompleteWords(words(fixableClasses())...))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, cli.ExitLocked)
	return cmd
}

func fixableClasses() []doctor.Class {
	var out []doctor.Class
	for _, c := range doctor.Checks() {
		if c.Fix != "" {
			out = append(out, c.Class)
		}
	}
	return out
}

// words returns words of a kind as texts.
func words[T ~string](of []T) []string {
	out := make([]string, len(of))
	for i, w := range of {
		out[i] = string(w)
	}
	return out
}

// examine reads the names of classes.
func (o *doctorOptions) examine() (app.ExamineOptions, error) {
	out := app.ExamineOptions{LockTimeout: o.lockTimeout, Retention: o.retention, Given: o.given,
		Newest: builtInHeads().Public}
	var err error
	if out.Only, err = readClasses("--check", o.checks, doctor.Classes()); err != nil {
		return out, err
	}
	if out.Skip, err = readClasses("--skip", o.skip, doctor.Classes()); err != nil {
		return out, err
	}
	fix, err := readClasses("--fix", o.fix, fixableClasses())
	switch {
	case err != nil:
		return out, err
	case len(fix) > 0 && len(out.Only)+len(out.Skip) > 0:
		return out, cli.Usagef("--fix looks for what it mends: it does not go with --check and --skip")
	case len(fix) > 0:
		out.Only = fix
	}
	return out, nil
}

func readClasses(flag string, names []string, known []doctor.Class) ([]doctor.Class, error) {
	var out []doctor.Class
	for _, name := range names {
		c := doctor.Class(name)
		if !slices.Contains(known, c) {
			if flag == "--fix" && slices.Contains(doctor.Classes(), c) {
				return nil, cli.WithHint(cli.Usagef("--fix %s: crmctl cannot mend that for you", name), "what mends it",
					"crmctl doctor --check "+name)
			}
			return nil, cli.WithHint(cli.Usagef("%s %s: no such class%s", flag, name, suggest.DidYouMean(name, words(known))),
				"all of them", "crmctl doctor --list")
		}
		out = append(out, c)
	}
	return out, nil
}

func runDoctor(ctx context.Context, f *factory, opts *doctorOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.list {
		return cli.PrintList(p, checkList(), doctor.Checks())
	}
	o, err := opts.examine()
	if err != nil {
		return err
	}
	o.Way = f.wayOfDoctor
	a, err := f.app()
	if err != nil {
		return err
	}
	if len(opts.fix) > 0 {
		if err := f.beforeChange(ctx, opts.dryRun); err != nil {
			return err
		}
	}
	conn, err := f.dialUnchecked(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	f.Reads.Store(true)
	begun := f.Now()
	report, err := a.Examine(ctx, conn, o)
	if err != nil {
		return err
	}
	if len(opts.fix) > 0 {
		return fixFindings(ctx, f, p, report, opts, func(todo []doctor.Finding) []doctor.Fixed {
			return a.Mend(ctx, conn, todo, o)
		})
	}
	return printFindings(f, p, report, f.Now().Sub(begun))
}

// fixFindings mends what was found, after a question, and prints what became of it.
func fixFindings(ctx context.Context, f *factory, p *cli.Printer, report *doctor.Report, opts *doctorOptions,
	mend func([]doctor.Finding) []doctor.Fixed) error {
	sayNotChecked(f, report)
	var todo []doctor.Finding
	for _, finding := range report.Findings {
		if finding.Fixable() {
			todo = append(todo, finding)
			continue
		}
		f.Say("crmctl: %s %s: %s; by hand: %s", finding.Class, cli.Visible(finding.Subject), cli.Visible(finding.What),
			cli.Visible(finding.Command))
	}
	if opts.dryRun || len(todo) == 0 {
		rows := make([]doctor.Fixed, len(todo))
		for i, finding := range todo {
			rows[i] = doctor.Fixed{Finding: finding}
		}
		if err := cli.PrintList(p, fixedList(true), rows); err != nil {
			return err
		}
		return cli.ExitWith(doctorCode(report, len(todo)))
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	for _, finding := range todo[:min(len(todo), mostAsked)] {
		f.Note("%s  %s: %s", finding.Class, cli.Visible(finding.Subject), cli.Visible(finding.What))
	}
	if err := f.ConfirmYes(ctx, fmt.Sprintf("Mend %s in %s?", cli.Plural(len(todo), "finding"),
		cli.Visible(target.Place()))); err != nil {
		return err
	}
	fixed := mend(todo)
	if err := cli.PrintList(p, fixedList(false), fixed); err != nil {
		return err
	}
	failed := 0
	for _, r := range fixed {
		switch {
		case errors.Is(r.Err, doctor.ErrMended):
		case r.Err != nil:
			failed++
			f.Say("crmctl: %s", cli.Visible(f.redact(textOf(r.Err))))
		case r.Undo != "":
			f.Note("undo: %s", cli.Visible(r.Undo))
		}
	}
	switch {
	case failed == len(fixed):
		return cli.ExitWith(cli.ExitFailure)
	case failed > 0:
		return cli.ExitWith(cli.ExitPartial)
	}
	return cli.ExitWith(doctorCode(report, len(todo)))
}

// doctorCode returns 4 where something is left that --fix could not mend.
func doctorCode(report *doctor.Report, mended int) int {
	if report.Count(doctor.Error)+report.Count(doctor.Warning) > mended {
		return cli.ExitPending
	}
	return cli.ExitOK
}
