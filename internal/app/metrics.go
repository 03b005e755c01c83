package app

import (
	"context"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/metrics"
)

// MetricsOptions say what a collection of metrics has.
type MetricsOptions struct {
	Selection *Selection // tenants that have samples of their own; nil for none
	Top       int        // and so many of the largest
	Former    []string   // those that an earlier process chose
	Timeout   time.Duration
}

// Metrics returns the collection of the fleet's metrics. Nothing is connected before it
// collects.
func (a *App) Metrics(o MetricsOptions) *metrics.Collection {
	m := metrics.Options{
		Registry: a.Registry, Version: strings.TrimPrefix(a.Program, "crmctl "), Connect: a.Connect, Now: a.Now,
		Top: o.Top, Former: o.Former, Timeout: o.Timeout,
		Newest: func(ctx context.Context) (int64, error) {
			plan, err := a.TenantPlan(ctx, 0)
			if err != nil {
				return 0, err
			}
			return plan.Head(), nil
		},
		Drift: func(ctx context.Context) (int, error) {
			all, err := Select(nil, nil)
			if err != nil {
				return 0, err
			}
			found, _, err := a.Drift(ctx, DriftOptions{Selection: all})
			return found.Differing(), err
		},
	}
	if o.Selection != nil && !o.Selection.All() {
		m.Pinned = o.Selection.Selects
	}
	return metrics.New(m)
}
