package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/report"
	"github.com/crmctl/crmctl/internal/suggest"
)

// reportOptions are the options of `crmctl report`.
type reportOptions struct {
	html             string
	skip             []string
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func newReportCmd(f *factory) *cobra.Command {
	opts := &reportOptions{}
	cmd := &cobra.Command{
		Use:   "report --html FILE",
		Short: "a page of HTML that shows the fleet",
		Long: `Write a page that shows the fleet: what the tenants take and how they grow, their versions, how they
differ from their migrations, the last runs tenant by tenant with the slowest and the failed, who
waits for whom, deleted tenants past their retention, how old the backups are, and what doctor
finds. The page stands alone: it loads nothing, follows the light or dark theme of who reads it, fits
a phone and can be printed. Of a large fleet it names the largest, the slowest and the failed, and
shows the others in distributions.

The file appears once it is whole. Only you can read it, since it names the tenants: chmod 644 is
yours to give. --html - writes to stdout. Sizes are compared with those that stats sizes --record
has kept.

What it costs: reads only. Drift compares every tenant with its migrations, and the findings look
at each schema, which takes minutes in a large fleet: --skip drift,findings leaves them out.`,
		Example: `crmctl report --html fleet.html
crmctl report --html fleet.html --skip drift,findings
crmctl report --html - | gzip > fleet.html.gz`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			skip, err := opts.sections()
			if err != nil {
				return err
			}
			return runFleetReport(cmd.Context(), f, opts, skip)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.html, "html", "", "write the page to `FILE`, or to stdout with -")
	fs.StringSliceVar(&opts.skip, "skip", nil,
		"leave out these `SECTIONS`: "+strings.Join(textsOf(report.Sections()), ", "))
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	_ = cmd.MarkFlagRequired("html")
	cli.RegisterCompletion(cmd, "skip", cli.CompleteWords(textsOf(report.Sections())...))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable)
	return cmd
}

// sections reads --skip.
func (o *reportOptions) sections() ([]report.Section, error) {
	var out []report.Section
	for _, name := range o.skip {
		s := report.Section(name)
		if !slices.Contains(report.Sections(), s) {
			return nil, cli.Usagef("--skip %s: no such section%s; there are %s", name,
				suggest.DidYouMean(name, textsOf(report.Sections())), strings.Join(textsOf(report.Sections()), ", "))
		}
		out = append(out, s)
	}
	return out, nil
}

func runFleetReport(ctx context.Context, f *factory, opts *reportOptions, skip []report.Section) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	if opts.html == "-" && p.Terminal && !opts.dryRun {
		return cli.Usagef("a page is nothing for a terminal: give --html FILE")
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	fleet, err := a.Overview(ctx, app.OverviewOptions{Skip: skip, Timeout: opts.statementTimeout, Drift: f.watchDrift,
		Examine: app.ExamineOptions{LockTimeout: opts.lockTimeout, Newest: builtInHeads().Public}})
	if err != nil {
		return err
	}
	fleet.Place = target.Place()
	var page bytes.Buffer
	if err := report.Write(&page, fleet, pageWords(f)); err != nil {
		return err
	}
	text := f.redact(page.String())
	write := func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
	switch {
	case opts.dryRun:
	case opts.html == "-":
		err = write(f.IO.Out)
	default:
		err = app.WriteFile(opts.html, 0o600, write)
	}
	if err != nil {
		return err
	}
	return printFleetReport(f, p, opts, fleet, int64(len(text)))
}

// pageWords write values on a page as they stand on a screen.
func pageWords(f *factory) report.Words {
	return report.Words{Size: cli.HumanSize, Count: cli.HumanCount, Duration: cli.HumanDuration, Minute: f.show().Minute,
		Visible: cli.Visible, Error: textOf}
}

// printFleetReport says what was written, and names what could not be read.
func printFleetReport(f *factory, p *cli.Printer, opts *reportOptions, fleet *report.Fleet, size int64) error {
	if opts.html != "-" || opts.dryRun {
		tenants := 0
		for _, n := range fleet.Counts.Versions {
			tenants += n
		}
		unread := textsOf(slices.Sorted(maps.Keys(fleet.Unread)))
		fields := []cli.Field{
			{Name: "file", Value: opts.html},
			{Name: "size_bytes", Title: "size", Value: cli.Either{Human: cli.HumanSize(size), Machine: size}},
			{Name: "tenants", Value: tenants},
			{Name: "errors", Value: styledIf(fleet.Findings.Count(doctor.Error) > 0,
				fleet.Findings.Count(doctor.Error), cli.Red)},
			{Name: "warnings", Value: fleet.Findings.Count(doctor.Warning)},
			{Name: "skipped", Document: true, Value: textsOf(fleet.Skipped)},
			{Name: "unread", Document: true, Value: unread},
			{Name: "dry_run", Document: true, Value: opts.dryRun},
		}
		if err := cli.PrintObject(p, cli.Object{Kind: "report", Name: opts.html, Fields: fields}); err != nil {
			return err
		}
	}
	if opts.dryRun {
		f.Note("dry run: nothing was written")
	}
	if len(fleet.Unread) == 0 {
		return nil
	}
	for _, s := range report.Sections() {
		if err := fleet.Unread[s]; err != nil {
			f.Say("crmctl: not read: %s: %s", s, cli.Visible(textOf(err)))
		}
	}
	return cli.ExitTold(cli.ExitPartial, "%s could not be read", cli.Plural(len(fleet.Unread), "section"))
}
