package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/metrics"
)

// metricsOptions are what `crmctl stats metrics` and `crmctl stats serve` have in common.
type metricsOptions struct {
	tenants []string
	top     int
	limit   time.Duration
}

func (o *metricsOptions) addFlags(f *factory, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&o.tenants, "tenant", nil, "samples of their own for these tenants: `NAMES` or patterns, a,b*")
	fs.IntVar(&o.top, "top", 10, "samples of their own for the `N` largest tenants; 0 for none")
	fs.DurationVar(&o.limit, "scrape-timeout", metrics.DefaultTimeout, "`TIME` that a collection may take")
	cli.RegisterCompletion(cmd, "tenant", completeTenants(f))
}

// mostTop bounds --top: what has a tenant's name grows with it.
const mostTop = 100

func (o *metricsOptions) validate() error {
	switch {
	case o.top < 0 || o.top > mostTop:
		return cli.Usagef("--top %d: want 0 (none) to %d", o.top, mostTop)
	case o.limit < time.Second:
		return cli.Usagef("--scrape-timeout %s: want 1s or more", o.limit)
	}
	return nil
}

func (o *metricsOptions) collection(a *app.App, former []string) (*metrics.Collection, error) {
	m := app.MetricsOptions{Top: o.top, Former: former, Timeout: o.limit}
	if len(o.tenants) > 0 {
		var err error
		if m.Selection, err = selectTenants(o.tenants, nil); err != nil {
			return nil, err
		}
	}
	return a.Metrics(m), nil
}

// whatMetrics is the part of a help that says what is collected.
const whatMetrics = `Totals and distributions are always there, whatever the number of tenants. What carries a tenant's
name (crmctl_selected_...) is there for the tenants of --tenant, at most 100, and for the largest
ones of --top; one of these stays while it is among twice as many, so that its series do not come
and go. Each collector says in crmctl_collector_success whether it succeeded: one that fails, for
want of a right or of time, takes away its own metrics and no others.`
