package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// Policy says how a run over a fleet is carried out.
type Policy struct {
	Canary            migrate.Canary
	Concurrency       int // 0 goes by the machine and the server
	DirectConcurrency int // of files marked NO TRANSACTION
	Attempts          int
	StopAfter         func(tenants int) int // failures that end a run over so many; nil for none
	Deadline          time.Duration         // after which no tenant is begun; 0 for none
	Rate              float64               // tenants begun a second at the most; 0 without limit
	Order             migrate.Order
	LockTimeout       time.Duration
	BuildTimeout      time.Duration // for which an index build waits for older transactions
	StatementTimeout  time.Duration
	SyncCommit        bool
	Group             int  // tenants that may share a transaction; 0 as many as suit, 1 none
	AllowChanged      bool // files that were changed after they were applied
}

// FleetRun is a run that was decided on, and has not begun.
type FleetRun struct {
	Plan    *migrate.Plan
	Route   migrate.Route
	Chosen  []registry.Tenant     // with and without something to do
	Pending []registry.Tenant     // of Chosen, those that have
	Invalid []registry.InvalidRow // of the registry, that were chosen: tenants that fail
	Forked  []Forked              // of Chosen, those that another program has taken elsewhere: they fail
	Newer   int                   // of Chosen, those beyond the newest file
	Retried *registry.Run         // the run that is taken up again; nil for none

	selection *registry.Selection
	failed    []string // ids of tenants that are known to be broken: none is the canary
	app       *App
	conn      *pgx.Conn
}

// Conn is the connection of the run until it begins.
func (r *FleetRun) Conn() *pgx.Conn { return r.conn }

// Close ends what a run holds, whether it was carried out or not.
func (r *FleetRun) Close(ctx context.Context) { closeConn(ctx, r.conn) }

// UpOptions say which tenants are brought how far.
type UpOptions struct {
	Selection  *Selection
	To         int64 // 0 = the newest version
	OutOfOrder bool  // files older than the newest applied one too
	EachApart  bool  // commit each file, not the pending files together
	Verify     bool  // read the versions from the tenants' schemas, not from the registry
	// Alone takes the registry's versions for true although other programs may migrate
	// the tenants.
	Alone bool
	// LockTimeout is for Verify.
	LockTimeout time.Duration
	DryRun      bool
	// AllowChanged lets a dry run pass that is made with other files.
	AllowChanged bool
}

// CheckOthers refuses, as a run does, files of another program than those that made the
// tenants: a *migrate.ChangedFilesError.
func (a *App) CheckOthers(ctx context.Context, q db.Querier, plan *migrate.Plan) error {
	applied, err := a.Registry.AppliedFiles(ctx, q)
	if err != nil {
		return err
	}
	err = plan.CheckFiles(applied, migrate.Route{OutOfOrder: true}, false)
	if changed, is := errors.AsType[*migrate.ChangedFilesError](err); is && changed.Other != "" {
		return err
	}
	return nil
}

// PlanUp decides on a run that brings tenants to a version.
func (a *App) PlanUp(ctx context.Context, o UpOptions) (*FleetRun, error) {
	all, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	plan, err := upTo(all, o.To)
	if err != nil {
		return nil, err
	}
	if o.EachApart {
		plan = plan.EachApart()
	}
	if o.Alone {
		all = nil
	}
	r, err := a.newRun(ctx, plan, all, migrate.Route{Kind: migrate.Up, OutOfOrder: o.OutOfOrder}, o.Selection,
		o.DryRun, o.DryRun)
	if err != nil {
		return nil, err
	}
	if o.DryRun && !o.AllowChanged {
		if err := a.CheckOthers(ctx, r.conn, r.Plan); err != nil {
			r.Close(ctx)
			return nil, err
		}
	}
	if o.Verify {
		if err := r.readVersions(ctx, o.LockTimeout); err != nil {
			r.Close(ctx)
			return nil, err
		}
	}
	r.selection = o.Selection.record(o.To)
	if o.To == 0 {
		r.Newer = NewerThan(r.Plan, r.Chosen)
	}
	return r, nil
}

// PlanDown decides on a run that takes versions back, or for migrate.Redo takes the
// newest back and applies it again. The error is a *VersionError where there is no file
// for the version.
func (a *App) PlanDown(ctx context.Context, route migrate.Route, s *Selection, dryRun bool) (*FleetRun, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	if _, err := plan.To(route.To); err != nil {
		return nil, &VersionError{Version: route.To, Newest: plan.Head(), Err: err}
	}
	r, err := a.newRun(ctx, plan, plan, route, s, dryRun, route.Kind == migrate.Down || dryRun)
	if err != nil {
		return nil, err
	}
	r.selection = s.record(0)
	return r, nil
}

// newRun opens what a run needs. kept is true where no extension is made for it. all are
// the files up to the newest, nil where nobody but crmctl migrates the tenants.
func (a *App) newRun(ctx context.Context, plan, all *migrate.Plan, route migrate.Route, s *Selection, dryRun,
	kept bool) (*FleetRun, error) {
	var r *FleetRun
	err := a.lookPatiently(ctx, dryRun, func(conn *pgx.Conn) (err error) {
		r = &FleetRun{Route: route, app: a, conn: conn}
		if err := a.TakeIn(ctx, conn, s.Selects, dryRun); err != nil {
			return err
		}
		if r.Plan, err = a.UseExtensions(ctx, conn, plan, kept); err == nil {
			r.Chosen, r.Invalid, err = a.Tenants(ctx, conn, s, registry.Active, registry.Suspended)
		}
		if err == nil && all != nil {
			err = r.follow(ctx, all, dryRun)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.setPending()
	return r, nil
}

// follow takes in what other programs have done to the tenants.
func (r *FleetRun) follow(ctx context.Context, all *migrate.Plan, dryRun bool) error {
	found, err := r.app.follow(ctx, r.conn, all, r.Chosen, followOptions{
		lockTimeout: r.app.Config.LockTimeout, keep: !dryRun})
	for _, t := range r.Chosen {
		if f, ok := found.forked[t.ID]; ok {
			r.Forked = append(r.Forked, f)
		}
	}
	return err
}

// setPending finds those that have something to do.
func (r *FleetRun) setPending() {
	forked := make(map[string]bool, len(r.Forked))
	for _, f := range r.Forked {
		forked[f.Tenant.ID] = true
	}
	r.Pending = slices.DeleteFunc(Behind(r.Plan, r.Route, r.Chosen), func(t registry.Tenant) bool { return forked[t.ID] })
}

// readVersions puts the versions of the schemas in place of the registry's. A schema
// that cannot be read counts as new: the run then meets it and says why.
func (r *FleetRun) readVersions(ctx context.Context, lockTimeout time.Duration) error {
	actual, err := r.Plan.Verify(ctx, r.conn, r.Chosen, lockTimeout)
	if err != nil {
		return err
	}
	for i, v := range actual {
		r.Chosen[i].Version = 0
		if v.Err == nil {
			r.Chosen[i].Version = v.Version
		}
	}
	r.setPending()
	return nil
}

// Tenants counts the tenants that the run is about: those beyond the newest file are not,
// rows of the registry that are not valid are tenants that fail.
func (r *FleetRun) Tenants() int { return len(r.Chosen) + len(r.Invalid) - r.Newer }

// CheckCanary refuses the names of canaries that no tenant has, of which none would ever go
// first: a *registry.NotFoundError.
func (r *FleetRun) CheckCanary(ctx context.Context, c migrate.Canary) error {
	for _, slug := range c.Names {
		if slices.ContainsFunc(r.Chosen, func(t registry.Tenant) bool { return t.Slug == slug }) {
			continue
		}
		if _, err := r.app.Registry.Get(ctx, r.conn, slug); err != nil {
			return err
		}
	}
	return nil
}

// Unguarded reports whether the run has tenants to change, and none of those that were named
// as the canaries is one of them.
func (r *FleetRun) Unguarded(c migrate.Canary) bool {
	if len(c.Names) == 0 || c.Count > 0 || c.Percent > 0 || len(r.Pending) == 0 {
		return false
	}
	return !slices.ContainsFunc(r.Pending, func(t registry.Tenant) bool { return slices.Contains(c.Names, t.Slug) })
}

// Summary counts what became of the tenants that the run was about.
func (r *FleetRun) Summary(report *migrate.Report) fleet.Summary {
	s := report.Summary()
	s.Unneeded = r.Tenants() - len(report.Outcomes)
	return s
}

// Carry carries the run out: with nothing pending it only looks at the files. The error
// wraps migrate.ErrNotRecorded where the report is whole and the ledger does not know it.
func (r *FleetRun) Carry(ctx context.Context, p Policy, observe func(migrate.Event)) (*migrate.Report, error) {
	report, err := r.carry(ctx, p, observe)
	if report != nil {
		for _, row := range r.Invalid {
			report.Outcomes = append(report.Outcomes, migrate.Outcome{
				Tenant: registry.Tenant{ID: row.ID, Slug: row.Slug}, State: migrate.Failed, Err: row.Err(),
			})
		}
		for _, t := range r.Forked {
			report.Outcomes = append(report.Outcomes, migrate.Outcome{Tenant: t.Tenant, State: migrate.Failed,
				From: t.Tenant.Version, To: t.Tenant.Version, Err: t.Err})
		}
	}
	return report, err
}

func (r *FleetRun) carry(ctx context.Context, p Policy, observe func(migrate.Event)) (*migrate.Report, error) {
	if len(r.Pending) == 0 {
		applied, err := r.app.Registry.AppliedFiles(ctx, r.conn)
		if err != nil {
			return nil, err
		}
		report := &migrate.Report{Kind: r.Route.Kind, Target: r.Plan.Head()}
		return report, r.Plan.CheckFiles(applied, r.Route, p.AllowChanged)
	}
	a := r.app
	run := fleet.Options{Concurrency: p.Concurrency, Attempts: p.Attempts, Rate: p.Rate, Drain: a.Drain()}
	if p.StopAfter != nil {
		run.StopAfter = p.StopAfter(len(r.Pending))
	}
	if p.Deadline > 0 {
		run.Deadline = a.Now().Add(p.Deadline)
	}
	p.Canary.Not = r.failed
	return r.Plan.Run(ctx, r.conn, a.Connect, r.Pending, migrate.RunOptions{
		Registry: a.Registry,
		Route:    r.Route, Selection: r.selection, Observe: observe, Fleet: run,
		Direct: a.Direct, DirectConcurrency: p.DirectConcurrency, Canary: p.Canary, Order: p.Order,
		LockTimeout: p.LockTimeout, StatementTimeout: p.StatementTimeout, BuildTimeout: p.BuildTimeout,
		SyncCommit: p.SyncCommit, Group: p.Group, AllowChanged: p.AllowChanged, Trusted: a.Config.TrustedOwners,
		OwnRole: a.ownRole(), Actor: a.Actor,
	})
}

// Reasons why no run can be taken up again.
var (
	// ErrNothingLeft says that no run has anything left to do.
	ErrNothingLeft = errors.New("no run has anything left to do")
	// ErrRunGoesOn says that the run has not ended.
	ErrRunGoesOn = errors.New("this run is still going on")
)

// OwnTargetsError says that a run took each tenant to a version of its own.
type OwnTargetsError struct{ RunID int64 }

func (e *OwnTargetsError) Error() string {
	return fmt.Sprintf("run %d took each tenant to a version of its own", e.RunID)
}

// PlanRetry decides on a run over the tenants that failed or were not started in an
// earlier one, of the latest that has any for 0. What each needs is planned afresh.
func (a *App) PlanRetry(ctx context.Context, id int64, dryRun bool) (*FleetRun, error) {
	var r *FleetRun
	err := a.lookPatiently(ctx, dryRun, func(conn *pgx.Conn) error {
		r = &FleetRun{app: a, conn: conn}
		return r.retry(ctx, id, dryRun)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *FleetRun) retry(ctx context.Context, id int64, dryRun bool) error {
	run, outcomes, err := r.app.runToRetry(ctx, r.conn, id)
	if err != nil {
		return err
	}
	var again registry.Selection
	if run.Selection != nil {
		again = *run.Selection
	}
	r.Retried, r.selection, r.Route = &run, run.Selection, migrate.Route{Kind: migrate.Kind(run.Kind), To: run.Target}
	if r.Route.Kind == migrate.Up {
		r.Route = migrate.Route{Kind: migrate.Up}
	}
	all, err := r.app.TenantPlan(ctx, 0)
	if err != nil {
		return err
	}
	plan, err := upTo(all, again.To)
	if err != nil {
		return err
	}
	if r.Plan, err = r.app.UseExtensions(ctx, r.conn, plan, dryRun); err != nil {
		return err
	}
	s, err := Select(again.Tenants, again.Exclude)
	if err != nil {
		return err
	}
	s.lenient = true // purged since
	if err := r.app.TakeIn(ctx, r.conn, s.Selects, dryRun); err != nil {
		return err
	}
	chosen, _, err := r.app.Tenants(ctx, r.conn, s, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	r.Chosen = leftOf(chosen, run, outcomes)
	if err := r.follow(ctx, all, dryRun); err != nil {
		return err
	}
	r.setPending()
	for _, t := range outcomes {
		if migrate.State(t.State) == migrate.Failed {
			r.failed = append(r.failed, t.ID)
		}
	}
	return nil
}

// runToRetry returns the run of a number or, for 0, the latest with something left to do.
func (a *App) runToRetry(ctx context.Context, conn *pgx.Conn, id int64) (registry.Run, []registry.RunTenant, error) {
	if id == 0 {
		const recent = 100
		runs, err := a.Registry.ListRuns(ctx, conn, recent)
		if err != nil {
			return registry.Run{}, nil, err
		}
		for _, r := range runs {
			if r.State != "running" && r.Target >= 0 && r.Failed+r.NotStarted > 0 {
				id = r.ID
				break
			}
		}
		if id == 0 {
			return registry.Run{}, nil, ErrNothingLeft
		}
	}
	run, outcomes, err := a.Registry.GetRun(ctx, conn, id)
	switch {
	case err != nil:
		return run, nil, err
	case run.State == "running":
		return run, nil, ErrRunGoesOn
	case maintain.IsAction(run.Kind):
		return run, nil, fmt.Errorf("%w: run %d is a %s", ErrNothingLeft, id, run.Kind)
	case run.Target < 0:
		return run, nil, &OwnTargetsError{id}
	}
	return run, outcomes, nil
}

// leftOf returns the tenants that a run was for and that did not end well in it.
func leftOf(chosen []registry.Tenant, run registry.Run, outcomes []registry.RunTenant) []registry.Tenant {
	done, open := migrate.Unfinished(outcomes)
	var left []registry.Tenant
	for _, t := range chosen {
		// A run that was killed did not come to name what it left.
		if open[t.ID] || run.State == "killed" && !done[t.ID] && t.CreatedAt.Before(run.StartedAt) {
			left = append(left, t)
		}
	}
	return left
}

// Behind returns those of the tenants that have a step of the route before them, as far
// as the registry knows.
func Behind(plan *migrate.Plan, route migrate.Route, tenants []registry.Tenant) []registry.Tenant {
	behind := 0
	for i := range tenants {
		if plan.Behind(route, tenants[i].Version) {
			behind++
		}
	}
	out := make([]registry.Tenant, 0, behind) // a large list that grows takes its memory several times
	for i := range tenants {
		if plan.Behind(route, tenants[i].Version) {
			out = append(out, tenants[i])
		}
	}
	return out
}

// NewerThan counts the tenants whose version is beyond the newest file.
func NewerThan(plan *migrate.Plan, tenants []registry.Tenant) int {
	n := 0
	for _, t := range tenants {
		if t.Version > plan.Head() {
			n++
		}
	}
	return n
}
