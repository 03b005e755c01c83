package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/report"
	"github.com/crmctl/crmctl/internal/stats"
)

// OverviewOptions say what is looked at.
type OverviewOptions struct {
	Skip    []report.Section
	Examine ExamineOptions // of the findings
	// Drift is told how far the comparison is; it may be nil.
	Drift func(tenants int) (compared func(int), end func())
	// Timeout bounds each query of ours but those of the drift and the findings.
	Timeout time.Duration
}

const (
	reportedRuns  = 10 // the latest
	reportedFully = 3  // of them tenant by tenant
	reportedSizes = 90 // earlier sizes of all tenants together
	reportLocks   = 200 * time.Millisecond
)

// Overview collects what is known of the fleet. It changes nothing. What cannot be read is
// told in its place; the error is one of connecting, or says that there is no registry.
func (a *App) Overview(ctx context.Context, o OverviewOptions) (*report.Fleet, error) {
	out := &report.Fleet{Skipped: o.Skip, Unread: map[report.Section]error{}}
	out.At, out.Program = a.Now(), a.Program
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { closeConn(ctx, conn) }()
	for _, one := range []struct {
		section report.Section
		read    func(context.Context, *pgx.Conn) error
	}{
		// Versions first: they tell whether there is a registry.
		{report.Versions, func(ctx context.Context, c *pgx.Conn) error { return a.overviewVersions(ctx, c, o, out) }},
		{report.Sizes, func(ctx context.Context, c *pgx.Conn) error { return a.overviewSizes(ctx, c, out) }},
		{report.Runs, func(ctx context.Context, c *pgx.Conn) error { return a.overviewRuns(ctx, c, o, out) }},
		{report.Locks, func(ctx context.Context, c *pgx.Conn) (err error) {
			out.Sessions, err = stats.ReadSessions(ctx, c, a.Registry)
			return err
		}},
		{report.Purges, func(ctx context.Context, c *pgx.Conn) error { return a.overviewPurges(ctx, c, out) }},
		{report.Backups, func(ctx context.Context, c *pgx.Conn) error {
			return o.inTx(ctx, c, func(ctx context.Context, q db.Querier) (err error) {
				out.Backups, err = a.Registry.LastBackups(ctx, q)
				return err
			})
		}},
		{report.Drift, func(ctx context.Context, _ *pgx.Conn) error { return a.overviewDrift(ctx, o, out) }},
		{report.Findings, func(ctx context.Context, c *pgx.Conn) error {
			found, err := a.Examine(ctx, c, o.Examine)
			if err == nil {
				out.Findings = *found
			}
			return err
		}},
	} {
		if slices.Contains(o.Skip, one.section) {
			continue
		}
		if conn.IsClosed() { // lost by the section before it
			again, err := a.Connect(ctx)
			if err != nil {
				return nil, err
			}
			conn = again
		}
		err := one.read(ctx, conn)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case a.Registry.Missing(err):
			return nil, registry.ErrNoRegistry
		case errors.Is(err, registry.ErrNoRegistry), errors.Is(err, registry.ErrOldRegistry):
			return nil, err
		case err != nil:
			out.Unread[one.section] = err
		}
	}
	return out, nil
}

func (o OverviewOptions) inTx(ctx context.Context, conn *pgx.Conn, read func(context.Context, db.Querier) error) error {
	return db.InTx(ctx, conn, db.Locals{Snapshot: true, LockTimeout: reportLocks, StatementTimeout: o.Timeout}, read)
}

func (a *App) overviewVersions(ctx context.Context, conn *pgx.Conn, o OverviewOptions, out *report.Fleet) error {
	if err := o.inTx(ctx, conn, func(ctx context.Context, q db.Querier) (err error) {
		out.Counts, err = a.Registry.Count(ctx, q)
		return err
	}); err != nil {
		return err
	}
	plan, err := a.TenantPlan(ctx, 0)
	if err == nil {
		out.Newest = plan.Head()
	}
	return err
}

func (a *App) overviewSizes(ctx context.Context, conn *pgx.Conn, out *report.Fleet) (err error) {
	out.Sizes, err = stats.Sizes(ctx, conn, stats.SizeOptions{Registry: a.Registry, Dial: a.Connect})
	if err != nil {
		return err
	}
	out.History, err = stats.TotalHistory(ctx, conn, a.Registry, out.Sizes.Mode, reportedSizes)
	return err
}

func (a *App) overviewRuns(ctx context.Context, conn *pgx.Conn, o OverviewOptions, out *report.Fleet) error {
	return o.inTx(ctx, conn, func(ctx context.Context, q db.Querier) (err error) {
		if out.Runs, err = a.Registry.ListRuns(ctx, q, reportedRuns); err != nil {
			return err
		}
		for _, r := range out.Runs[:min(reportedFully, len(out.Runs))] {
			run, tenants, err := a.Registry.GetRun(ctx, q, r.ID)
			if err != nil {
				return err
			}
			out.Details = append(out.Details, report.Run{Run: run, Outcomes: tenants})
		}
		return nil
	})
}

// overviewPurges finds the deleted tenants that may be destroyed by now, the longest overdue
// first.
func (a *App) overviewPurges(ctx context.Context, conn *pgx.Conn, out *report.Fleet) error {
	deleted, _, err := a.Registry.ListAll(ctx, conn, registry.Filter{Statuses: []registry.Status{registry.Deleted}})
	out.Overdue = slices.DeleteFunc(deleted, func(t registry.Tenant) bool {
		return t.PurgeAfter == nil || t.PurgeAfter.After(out.At)
	})
	slices.SortStableFunc(out.Overdue, func(x, y registry.Tenant) int { return x.PurgeAfter.Compare(*y.PurgeAfter) })
	return err
}

func (a *App) overviewDrift(ctx context.Context, o OverviewOptions, out *report.Fleet) error {
	all, err := Select(nil, nil)
	if err != nil {
		return err
	}
	out.Drift, _, err = a.Drift(ctx, DriftOptions{Selection: all, Begin: o.Drift})
	return err
}
