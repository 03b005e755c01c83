package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/metrics"
	"github.com/crmctl/crmctl/internal/registry"
)

// statsMetricsOptions are the options of `crmctl stats metrics`.
type statsMetricsOptions struct {
	metricsOptions

	format   string
	textfile string
	drift    bool
	dryRun   bool
}

const prometheus = "prometheus"

func newStatsMetricsCmd(f *factory) *cobra.Command {
	opts := &statsMetricsOptions{}
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "numbers about the fleet, for Prometheus and for spreadsheets",
		Long: `Print one collection of numbers about the fleet: tenants by status and version, sizes, connections,
locks, catalogs, runs, purges and backups. With --format prometheus they come in the text format of
Prometheus, and with --textfile in a file for the textfile collector of its node exporter: replaced
as a whole, and readable by everybody, since the exporter runs as another user. A database that does
not answer is crmctl_up 0 there.

` + whatMetrics + `

What it costs: read only, on one connection; one query of the catalogs for the sizes, a look at the
sessions, and a short query for each of the others: less than a second for 10,000 tenants. --drift
compares all tenants with their migrations besides, which may take minutes.`,
		Example: `crmctl stats metrics
crmctl stats metrics --format prometheus --tenant acme-corp
crmctl stats metrics -q --textfile /var/lib/node_exporter/crmctl.prom
crmctl stats metrics -o csv > fleet.csv`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runStatsMetrics(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	flags := cmd.Flags()
	flags.Var(cli.NewEnum(&opts.format, "", []string{prometheus}), "format", "`FORMAT` instead of --output: prometheus")
	flags.StringVar(&opts.textfile, "textfile", "", "write `FILE`.prom in the format of Prometheus")
	flags.BoolVar(&opts.drift, "drift", false, "count the tenants that differ from their migrations, too")
	addDryRunFlag(flags, &opts.dryRun)
	cli.RegisterCompletion(cmd, "format", cobra.FixedCompletions([]string{prometheus}, cobra.ShellCompDirectiveNoFileComp))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable)
	return cmd
}

func (o *statsMetricsOptions) validate() error {
	if o.textfile != "" && !strings.HasSuffix(o.textfile, ".prom") {
		return cli.Usagef("--textfile %s: the node exporter reads only files that end in .prom", o.textfile)
	}
	return o.metricsOptions.validate()
}

func runStatsMetrics(ctx context.Context, f *factory, opts *statsMetricsOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	if _, err := f.connConfig(); err != nil {
		return err
	}
	var former []string
	if opts.textfile != "" {
		if text, err := os.ReadFile(opts.textfile); err == nil {
			former = metrics.SelectedIn(text)
		}
	}
	collection, err := opts.collection(a, former)
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	if opts.drift {
		// Where it fails is told with the other collectors.
		_ = collection.CompareDrift(ctx)
	}
	r := collection.Collect(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := opts.print(f, p, r); err != nil {
		return err
	}
	return f.tellFailed(r)
}

func (o *statsMetricsOptions) print(f *factory, p *cli.Printer, r metrics.Result) error {
	if o.textfile == "" && o.format == "" {
		return cli.PrintList(p, metricsList(), metrics.Samples(r.Families))
	}
	var text bytes.Buffer
	if err := metrics.Write(&text, r.Families); err != nil {
		return err
	}
	switch {
	case o.textfile == "":
		_, err := p.Out.Write(text.Bytes())
		return err
	case o.dryRun:
		f.Note("would write  %s", o.textfile)
		return nil
	}
	const readable = 0o644 // the exporter runs as another user
	if err := replaceFile(o.textfile, text.Bytes(), readable); err != nil {
		if path, is := errors.AsType[*fs.PathError](err); is {
			err = path.Err // the temporary file's name says nothing
		}
		return cli.WithHint(errors.New(o.textfile+": "+textOf(err)), "try", "a directory that may be written")
	}
	f.Note("wrote  %s", o.textfile)
	return nil
}

// tellFailed names the collectors that failed, and returns how the command ends.
func (f *factory) tellFailed(r metrics.Result) error {
	if r.Up != nil {
		return r.Up
	}
	for _, failure := range r.Failed {
		if errors.Is(failure.Err, registry.ErrNoRegistry) || errors.Is(failure.Err, registry.ErrOldRegistry) {
			return failure.Err
		}
	}
	if len(r.Failed) == 0 {
		return nil
	}
	for _, failure := range r.Failed {
		f.Say("crmctl: not collected: %s: %s", failure.Collector, cli.Visible(textOf(failure.Err)))
	}
	return cli.ExitTold(cli.ExitPartial, "%s failed", cli.Plural(len(r.Failed), "collector"))
}

func metricsList() cli.List[metrics.Sample] {
	return cli.List[metrics.Sample]{
		Plural: "metrics",
		Columns: []cli.Column[metrics.Sample]{
			{Name: "metric", Value: func(s metrics.Sample) any { return s.Name }},
			{Name: "labels", Value: func(s metrics.Sample) any {
				pairs := make(map[string]string, len(s.Labels))
				texts := make([]string, len(s.Labels))
				for i, l := range s.Labels {
					pairs[l.Name], texts[i] = l.Value, l.Name+"="+l.Value
				}
				text := strings.Join(texts, ", ")
				return cli.Either{Human: text, Machine: text, Document: pairs}
			}},
			{Name: "value", Right: true, Value: func(s metrics.Sample) any {
				return cli.Numeral(strconv.FormatFloat(s.Value, 'f', -1, 64))
			}},
		},
		Name: func(s metrics.Sample) string { return s.Name },
	}
}
