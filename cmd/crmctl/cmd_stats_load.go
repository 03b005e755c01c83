package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsLoadOptions are the options of `crmctl stats load`.
type statsLoadOptions struct {
	selection

	interval time.Duration
	watch    bool
	top      int
}

func (o *statsLoadOptions) validate(p *cli.Printer) error {
	switch {
	case o.interval < time.Second:
		return cli.Usagef("--interval %s: want 1s or more", o.interval)
	case o.top < 0:
		return cli.Usagef("--top %d: want 0 (all) or more", o.top)
	case o.watch && (p.Format == "json" || p.Format == "yaml"):
		return cli.Usagef("--watch has no end, and %s one document; use -o ndjson", p.Format)
	}
	return nil
}

func newStatsLoadCmd(f *factory) *cobra.Command {
	opts := &statsLoadOptions{}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "which tenants keep the server busy right now",
		Long: `Show which tenants keep the server busy: the one that asks for the most blocks first. It needs
no role per tenant, no extension and nothing of the application. Two samples of the server's
own counters are compared: blocks asked for, and how much of them was not in shared buffers
(READ: from the disk, or from the memory of the operating system), rows read and written,
sequential and index scans; all of them a second. A statement counts when it is over, and its
session hands in its counts about once a second: longer intervals are more exact.

What it costs: a query of the catalogs for each sample, which takes no lock on any tenant's
table; about a second for 10,000 tenants.`,
		Example: `crmctl stats load
crmctl stats load --interval 1m --top 5
crmctl stats load --watch -o ndjson`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsLoad(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.DurationVar(&opts.interval, "interval", 10*time.Second, "`TIME` between two samples")
	fs.BoolVar(&opts.watch, "watch", false, "go on, interval after interval, until Ctrl-C")
	fs.IntVar(&opts.top, "top", 20, "only the `N` busiest; 0 for all that did anything")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsLoad(ctx context.Context, f *factory, opts *statsLoadOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	if err := opts.validate(p); err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	f.Note("sampling for %s ...", cli.HumanDuration(opts.interval))
	frame := &redrawn{p: p, redraws: opts.watch && p.Terminal && p.IsTable() && !f.IO.Dumb()}
	return a.Load(ctx, app.LoadOptions{
		Selection: m, Interval: opts.interval, Watch: opts.watch, Skip: f.skipInvalid,
		Show: func(l stats.Load) error {
			return frame.show(func(p *cli.Printer) error {
				s := newLoadScreen(p, l, opts.top)
				if err := cli.PrintList(p, s.list(), s.top); err != nil {
					return err
				}
				f.noteBelow(p, s.gaps())
				return nil
			})
		},
	})
}

func (f *factory) noteLines(lines []string) {
	for _, line := range lines {
		f.Note("%s", line)
	}
}

// redrawn prints answers one after another: on a terminal each in the place of the one
// before it.
type redrawn struct {
	p       *cli.Printer
	redraws bool
	lines   int // of the answer that stands there
}

func (r *redrawn) show(answer func(*cli.Printer) error) error {
	if !r.redraws {
		return answer(r.p)
	}
	var text bytes.Buffer
	buffered := *r.p
	buffered.Out, buffered.ErrOut = &text, &text
	if err := answer(&buffered); err != nil {
		return err
	}
	again := ""
	if r.lines > 0 {
		again = strings.Repeat(cli.LineUp, r.lines) + "\r" + cli.EraseBelow
	}
	r.lines = bytes.Count(text.Bytes(), []byte{'\n'})
	_, err := io.WriteString(r.p.Out, again+text.String())
	return err
}
