package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// fleetRun is a run that a command has decided on.
type fleetRun struct {
	plan    *migrate.Plan
	route   migrate.Route
	chosen  int // tenants selected, with and without something to do
	pending []migrate.Tenant
	policy  *runPolicy
	// selection is what the ledger keeps for migrate retry.
	selection map[string]any
	// failed are the ids of tenants that are known to be broken: none of them is the
	// canary.
	failed []string
	newer  int // tenants beyond the newest file, of those chosen
	// invalid are rows of the registry that count as tenants that failed.
	invalid []registry.InvalidRow
}

// asTargets returns tenants as the engine knows them.
func asTargets(tenants []registry.Tenant) []migrate.Tenant {
	out := make([]migrate.Tenant, len(tenants))
	for i, t := range tenants {
		out[i] = migrate.Tenant{ID: t.ID, Slug: t.Slug, Schema: t.Schema, Version: t.Version}
	}
	return out
}

// behind returns those of the tenants that have a step of the route before them,
// as far as the registry knows.
func behind(plan *migrate.Plan, route migrate.Route, tenants []registry.Tenant) []migrate.Tenant {
	var out []migrate.Tenant
	for _, t := range asTargets(tenants) {
		if plan.Behind(route, t.Version) {
			out = append(out, t)
		}
	}
	return out
}

// run carries out a fleet run and prints its report.
func (r *fleetRun) run(ctx context.Context, f *factory, p *cli.Printer, conn *pgx.Conn) error {
	if r.chosen += len(r.invalid) - r.newer; r.chosen+r.newer == 0 {
		f.Note("crmctl: warning: no tenant to migrate")
	}
	if len(r.pending) == 0 {
		// What was changed is worth knowing although nothing is to be done.
		applied, err := migrate.AppliedFiles(ctx, conn)
		if err != nil {
			return f.placed(err)
		}
		if err := r.plan.CheckFiles(applied, r.route, r.policy.allowChanged); err != nil {
			return err
		}
		return r.finish(f, p, &migrate.Report{Kind: r.route.Kind, Target: r.plan.Head()})
	}
	o, err := r.policy.options(f, len(r.pending))
	if err != nil {
		return err
	}
	o.Route, o.Selection, o.Canary.Not = r.route, r.selection, r.failed
	if err := migrate.Arrange(ctx, conn, r.pending, migrate.Order(r.policy.order)); err != nil {
		return err
	}
	f.Note("%-9s %s    for %s of %s", r.verb("pending", "taking back"), r.files(), cli.HumanCount(int64(len(r.pending))), cli.Plural(r.chosen, "tenant"))
	watch := newRunWatch(f, p, len(r.pending))
	o.Observe = watch.observe
	report, err := r.plan.Run(ctx, conn, f.connect, r.pending, o)
	watch.bar.Finish()
	if errors.Is(err, migrate.ErrNotRecorded) {
		return r.unrecorded(f, p, report, err)
	}
	if err != nil {
		return f.placed(err)
	}
	return r.finish(f, p, report)
}

// unrecorded reports a run whose end the ledger does not know. Since it cannot be asked
// what is left, the command itself goes on.
func (r *fleetRun) unrecorded(f *factory, p *cli.Printer, report *migrate.Report, err error) error {
	report.RunID = 0
	code := cli.ExitFailure
	if finished := r.finish(f, p, report); finished != nil {
		code = exitCode(finished)
	}
	return cli.WithHint(cli.WithCode(f.placed(err), code), "next", f.sameCommand())
}

func (r *fleetRun) finish(f *factory, p *cli.Printer, report *migrate.Report) error {
	for _, row := range r.invalid {
		report.Outcomes = append(report.Outcomes, migrate.Outcome{
			Tenant: migrate.Tenant{ID: row.ID, Slug: row.Slug}, State: migrate.Failed, Err: row.Err(),
		})
	}
	written := writeReports(f, r.policy.reports, report, r.chosen)
	return cmpErr(written, printReport(f, p, report, r.chosen))
}

// verb returns the first word for a run up, the second for one down.
func (r *fleetRun) verb(up, down string) string {
	if r.route.Kind == migrate.Down || r.route.Kind == migrate.Redo {
		return down
	}
	return up
}

// files names the migrations that the run is about.
func (r *fleetRun) files() string {
	low, high := r.pending[0].Version, int64(0)
	for _, t := range r.pending {
		low, high = min(low, t.Version), max(high, t.Version)
	}
	switch r.route.Kind {
	case migrate.Down, migrate.Redo:
		if r.route.Steps > 0 || r.route.Kind == migrate.Redo {
			return cli.Plural(max(1, r.route.Steps), "version")
		}
		return fmt.Sprintf("every version above %d", r.route.To)
	}
	if pending := r.plan.After(low); len(pending) > 0 {
		return names(pending)
	}
	return "files out of order"
}
