package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// statsTopOptions are the options of `crmctl stats top`.
type statsTopOptions struct {
	selection

	interval time.Duration
	sort     string
	top      int
	count    int
}

func (o *statsTopOptions) validate(p *cli.Printer) error {
	switch {
	case o.interval < time.Second:
		return cli.Usagef("--interval %s: want 1s or more", o.interval)
	case o.top < 0:
		return cli.Usagef("--top %d: want 0 (all) or more", o.top)
	case o.count < 0:
		return cli.Usagef("--count %d: want 0 (until it is stopped) or more", o.count)
	case o.count != 1 && (p.Format == "json" || p.Format == "yaml"):
		return cli.Usagef("-o %s is one document: want --count 1, or -o ndjson", p.Format)
	}
	return nil
}

func newStatsTopCmd(f *factory) *cobra.Command {
	opts := &statsTopOptions{}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "watch tenants, sessions, locks and a run, live",
		Long: `Watch the fleet on the whole of the terminal: the tenants by load, size, connections or name, what
sessions do, who waits for whom, and how far a run over the fleet is. Enter looks at a tenant or a
session, and from one that waits at who is in its way; ? shows the keys, q ends it. It changes
nothing: what ends a session is shown as a command.

Off a terminal, with TERM=dumb, or with -o, it prints the busiest tenants at each interval instead.

` + howKnown + `

What it costs: one connection, and one look at a time. A look takes two samples' worth of "crmctl
stats load" less one, one of "crmctl stats activity", and a query of the ledger; sizes are looked
up once a minute. A statement is given up after 5 seconds. The next look waits four times as long
as the last one took, or --interval if that is longer.`,
		Example: `crmctl stats top
crmctl stats top --tenant 'acme*' --sort size
crmctl stats top --count 3 -o ndjson`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsTop(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.DurationVar(&opts.interval, "interval", 2*time.Second, "`TIME` between two looks, at least")
	fs.Var(cli.NewEnum(&opts.sort, topByLoad, topOrders()), "sort", "`ORDER`: load, size, connections, waiting or name")
	fs.IntVar(&opts.top, "top", 20, "off a terminal only the first `N` tenants; 0 for all")
	fs.IntVar(&opts.count, "count", 0, "print `N` looks and end; 0 goes on until it is stopped")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsTop(ctx context.Context, f *factory, opts *statsTopOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	if err := opts.validate(p); err != nil {
		return err
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	top, err := a.OpenTop(ctx, m, f.skipInvalid)
	if err != nil {
		return err
	}
	defer top.Close(ctx)
	look, err := top.Look(ctx)
	if err != nil {
		return err
	}
	if p.Format != "table" || opts.count > 0 || !f.CanFillScreen() {
		return printTop(ctx, f, p, top, opts)
	}
	f.Serves.Store(true)
	return f.FillScreen(ctx, newTopModel(topSetup{
		printer: *p, target: target.String(), every: opts.interval, sort: opts.sort, first: look,
		look: func() (app.TopLook, error) { return top.Look(ctx) },
	}), p.Painter.On)
}

// printTop prints looks one after another.
func printTop(ctx context.Context, f *factory, p *cli.Printer, top *app.Top, opts *statsTopOptions) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(opts.interval):
		}
		look, err := top.Look(ctx)
		if err != nil {
			return err
		}
		rows := firstOf(orderTop(look.Tenants, opts.sort), opts.top)
		if err := cli.PrintList(p, topList(p, look), rows); err != nil {
			return err
		}
		if p.IsTable() {
			f.noteLines(topGaps(look))
		}
		if n == opts.count {
			return nil
		}
	}
}
