package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/metrics"
)

// statsServeOptions are the options of `crmctl stats serve`.
type statsServeOptions struct {
	metricsOptions

	listen     string
	maxAge     time.Duration
	driftEvery time.Duration
}

func newStatsServeCmd(f *factory) *cobra.Command {
	opts := &statsServeOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "answer the scrapes of Prometheus",
		Long: `Serve the numbers of "crmctl stats metrics" at /metrics, until it is stopped. /healthz answers while
the program runs, whatever the database does: a database that does not answer is crmctl_up 0.

` + whatMetrics + `

There is no password and no encryption: listen on an address that only Prometheus reaches, as the
default is, or put a proxy before it. Only GET and HEAD are answered.

What it costs: as "crmctl stats metrics" for a scrape, on one connection that is closed afterwards.
Scrapes that come together, or within --max-age, share one collection; sizes and backups are looked
up once a minute. With --drift-every all tenants are compared with their migrations so often, on
other connections.`,
		Example: `crmctl stats serve
crmctl stats serve --listen 10.0.0.5:9187 --tenant acme-corp,globex
crmctl stats serve --drift-every 6h`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runStatsServe(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.StringVar(&opts.listen, "listen", "127.0.0.1:9187", "`ADDRESS` and port; port 0 takes a free one")
	fs.DurationVar(&opts.maxAge, "max-age", 5*time.Second, "`TIME` for which a collection answers further scrapes")
	fs.DurationVar(&opts.driftEvery, "drift-every", 0, "`TIME` between two comparisons of all tenants; 0 for none")
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func (o *statsServeOptions) validate() error {
	switch {
	case o.maxAge < 0:
		return cli.Usagef("--max-age %s: want 0 or more", o.maxAge)
	case o.driftEvery != 0 && o.driftEvery < time.Minute:
		return cli.Usagef("--drift-every %s: want 0 (never), or 1m or more", o.driftEvery)
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return cli.Usagef("--listen %s: want an address and a port, such as 127.0.0.1:9187", o.listen)
	}
	return o.metricsOptions.validate()
}

func runStatsServe(ctx context.Context, f *factory, opts *statsServeOptions) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	// A server that is away may come back; whatever else is wrong with the connection stays so.
	conn, err := a.Connect(ctx)
	switch {
	case err == nil:
		closeConn(ctx, conn)
	case !errors.Is(err, db.ErrUnreachable):
		return err
	}
	collection, err := opts.collection(a, nil)
	if err != nil {
		return err
	}
	var network net.ListenConfig
	l, err := network.Listen(ctx, "tcp", opts.listen)
	if err != nil {
		return err
	}
	f.Serves.Store(true)
	f.Note("serving the metrics of %s at http://%s/metrics", target.String(), l.Addr())
	if address, is := l.Addr().(*net.TCPAddr); is && !address.IP.IsLoopback() {
		f.Note("crmctl: warning: whoever reaches %s can read them, with tenants' names", l.Addr())
	}
	var changes metrics.Changes
	server := metrics.NewServer(metrics.ServerOptions{
		Collection: collection, MaxAge: opts.maxAge, DriftEvery: opts.driftEvery,
		Collected: func(r metrics.Result) { f.tellChanges(changes.Of(r)) },
		Drifted: func(err error) {
			if err != nil {
				f.Say("crmctl: tenants were not compared: %s", textOf(err))
			}
		},
	})
	// That a signal, or --timeout, ends it is no failure.
	return server.Serve(ctx, l)
}

// tellChanges says which collectors have begun to fail, and which succeed again.
func (f *factory) tellChanges(failed []metrics.Failure, mended []string) {
	for _, failure := range failed {
		if failure.Collector == "" {
			f.Say("crmctl: %s", textOf(failure.Err))
			continue
		}
		f.Say("crmctl: not collected: %s: %s", failure.Collector, textOf(failure.Err))
	}
	for _, name := range mended {
		f.Say("crmctl: collected again: %s", name)
	}
}
