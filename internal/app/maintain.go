package app

import (
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// MaintainOptions say what is done to which tables of which tenants.
type MaintainOptions struct {
	Selection  *Selection
	Action     maintain.Action
	Analyze    bool     // with a vacuum
	Freeze     bool     // with a vacuum
	Tables     []string // names and patterns, as path.Match has them; none = all
	OnlyNeeded bool     // those past a threshold of autovacuum; not for a reindex
	Resume     bool     // without the tenants that the latest run of the kind has done, if it is not whole
	DryRun     bool

	Concurrency      int
	Attempts         int                   // at a tenant with a locked table
	StopAfter        func(tenants int) int // failures that end a run over so many; nil for none
	Rate             float64               // tenants begun a second, 0 without limit
	Deadline         time.Duration         // begin no tenant after it, 0 for none
	LockTimeout      time.Duration
	StatementTimeout time.Duration
}

// MaintainResult is what became of a run, or what a dry run would do.
type MaintainResult struct {
	*maintain.Report // nil for a dry run, and where there was nothing to do

	Items    []maintain.Item
	Unneeded int   // selected tenants with nothing to do
	Resumed  int64 // the run that was taken up, 0 for none
	Before   int   // tenants that it had done, with the runs that it went on with
	Elapsed  time.Duration
}

// Summary counts what became of the tenants.
func (r MaintainResult) Summary() fleet.Summary {
	var s fleet.Summary
	if r.Report != nil {
		s = r.Report.Summary()
	}
	s.Unneeded = r.Unneeded
	return s
}

// ErrNoRunToResume says that no run of the kind was cut short.
var ErrNoRunToResume = errors.New("no such run was cut short")

// Maintain vacuums, analyzes or reindexes tables of tenants. The error says that the run could
// not begin or not be recorded.
func (a *App) Maintain(ctx context.Context, o MaintainOptions) (MaintainResult, error) {
	var out MaintainResult
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	if err := a.TakeIn(ctx, conn, o.Selection.Selects, o.DryRun); err != nil {
		return out, err
	}
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	if err != nil {
		return out, err
	}
	if len(invalid) > 0 {
		a.Notify(InvalidRows{invalid})
	}
	if o.Resume {
		if tenants, err = a.resumeMaintenance(ctx, conn, tenants, o.Action, &out); err != nil {
			return out, err
		}
	}
	if out.Items, err = a.maintained(ctx, conn, tenants, o); err != nil {
		return out, err
	}
	out.Unneeded = len(tenants) - len(out.Items)
	if o.DryRun || len(out.Items) == 0 {
		return out, nil
	}
	run := maintain.Options{Registry: a.Registry, Action: o.Action, Analyze: o.Analyze, Freeze: o.Freeze,
		LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Actor: a.Actor, Selection: o.Selection.record(0),
		Resumes: out.Resumed, Fleet: a.maintenanceFleet(o, len(out.Items))}
	names, schemas := make([]string, len(out.Items)), make([]db.Schema, len(out.Items))
	for i, item := range out.Items {
		names[i], schemas[i] = item.Tenant.Slug, item.Tenant.Schema
	}
	if !a.ownRole() {
		if run.Owners, err = owner.Read(ctx, conn, schemas); err != nil {
			return out, err
		}
	}
	begun := a.Now()
	observer, end := a.Watch(string(o.Action), names)
	run.Fleet.Observer = observer
	out.Report, err = maintain.Run(ctx, a.Direct, a.Connect, out.Items, run)
	end()
	out.Elapsed = a.Now().Sub(begun)
	return out, err
}

func (a *App) maintenanceFleet(o MaintainOptions, tenants int) fleet.Options {
	f := fleet.Options{Concurrency: o.Concurrency, Attempts: o.Attempts, Rate: o.Rate, Drain: a.Drain()}
	if o.StopAfter != nil {
		f.StopAfter = o.StopAfter(tenants)
	}
	if o.Deadline > 0 {
		f.Deadline = time.Now().Add(o.Deadline)
	}
	return f
}

// maintained returns the tenants with tables that something is to be done to.
func (a *App) maintained(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant,
	o MaintainOptions) ([]maintain.Item, error) {
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		slugs[i] = t.Slug
	}
	found, err := stats.ReadUpkeep(ctx, conn, stats.UpkeepOptions{
		Selected: stats.Selected{Registry: a.Registry, Slugs: slugs}, Due: o.OnlyNeeded, Roots: !o.OnlyNeeded})
	if err != nil {
		return nil, err
	}
	tables := map[string][]maintain.Table{}
	for _, u := range found {
		if o.wants(u) {
			tables[u.TenantID] = append(tables[u.TenantID], maintain.Table{Name: u.Table, May: u.May})
		}
	}
	var items []maintain.Item
	for _, t := range tenants {
		if list := tables[t.ID]; len(list) > 0 {
			items = append(items, maintain.Item{Tenant: t, Tables: list})
		}
	}
	return items, nil
}

func (o MaintainOptions) wants(u stats.Upkeep) bool {
	if len(o.Tables) > 0 && !slices.ContainsFunc(o.Tables, func(pattern string) bool {
		ok, err := path.Match(pattern, u.Table)
		return pattern == u.Table || err == nil && ok
	}) {
		return false
	}
	switch {
	case !o.OnlyNeeded:
		return true
	case o.Action == maintain.Analyze:
		return u.Analyze
	}
	return u.Vacuum || u.Freeze || o.Analyze && u.Analyze
}

// resumeMaintenance leaves out the tenants that the latest run of the kind has done, and those
// that were done before it by the runs it went on with.
func (a *App) resumeMaintenance(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant, action maintain.Action,
	out *MaintainResult) ([]registry.Tenant, error) {
	newest, err := a.Registry.NewestRun(ctx, conn, string(action))
	switch {
	case errors.Is(err, registry.ErrNoRun), newest.State == "finished" && newest.Failed+newest.NotStarted == 0:
		return nil, ErrNoRunToResume
	case err != nil:
		return nil, err
	case newest.State == "running":
		return nil, ErrRunGoesOn
	}
	out.Resumed = newest.ID
	done := map[string]bool{}
	for id := newest.ID; id != 0; {
		run, outcomes, err := a.Registry.GetRun(ctx, conn, id)
		if err != nil {
			return nil, err
		}
		for _, t := range outcomes {
			done[t.ID] = done[t.ID] || t.State == registry.StateDone
		}
		out.Before += run.Succeeded
		id = run.Resumes
	}
	return slices.DeleteFunc(tenants, func(t registry.Tenant) bool { return done[t.ID] }), nil
}
