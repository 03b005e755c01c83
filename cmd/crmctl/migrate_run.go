package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
)

// fleetRun is a run that a command has decided on, and how it prints it.
type fleetRun struct {
	*app.FleetRun

	f      *factory
	p      *cli.Printer
	policy *runPolicy

	partial bool // set by carry: some tenants are done, the others were tried
}

// carry carries a run out and prints its report.
func (r *fleetRun) carry(ctx context.Context) error {
	if r.Tenants()+r.Newer == 0 {
		r.f.Note("crmctl: warning: no tenant to migrate")
	}
	policy, err := r.policy.policy()
	if err != nil {
		return err
	}
	if err := r.checkCanary(ctx); err != nil {
		return err
	}
	if len(r.Pending) == 0 {
		// What was changed is worth knowing although nothing is to be done.
		report, err := r.Carry(ctx, policy, nil)
		if err != nil {
			return err
		}
		return r.finish(report)
	}
	r.f.Note("%-9s %s    for %s of %s", r.verb("pending", "taking back"), r.files(), cli.HumanCount(int64(len(r.Pending))),
		cli.Plural(r.Tenants(), "tenant"))
	watch := newRunWatch(r.f, r.p, len(r.Pending))
	report, err := r.Carry(ctx, policy, watch.observe)
	watch.bar.Finish()
	if errors.Is(err, migrate.ErrNotRecorded) {
		return r.unrecorded(report, err)
	}
	if err != nil {
		return err
	}
	return r.finish(report)
}

// checkCanary looks at what --canary names. A name that no tenant has is an error: the others
// would be migrated with nobody before them.
func (r *fleetRun) checkCanary(ctx context.Context) error {
	canary, err := r.policy.parseCanary()
	if err != nil {
		return err
	}
	if err := r.CheckCanary(ctx, canary); err != nil {
		return err
	}
	if r.Unguarded(canary) {
		r.f.Note("crmctl: warning: there is no canary: this run has nothing to do for %s",
			cli.Visible(cli.FirstNames(canary.Names)))
	}
	return nil
}

// unrecorded reports a run whose end the ledger does not know. Since it cannot be asked
// what is left, the command itself goes on.
func (r *fleetRun) unrecorded(report *migrate.Report, err error) error {
	report.RunID = 0
	code := cli.ExitFailure
	if finished := r.finish(report); finished != nil {
		code = exitCode(finished)
	}
	return cli.WithHint(cli.WithCode(err, code), "next", r.f.sameCommand())
}

func (r *fleetRun) finish(report *migrate.Report) error {
	s := r.Summary(report)
	// Some tenants are at their target, and the others had their turn.
	r.partial = s.Done > 0 && (&runEnd{Summary: s, threshold: true}).code() == cli.ExitPartial
	r.noteForked()
	written := writeReports(r.f, r.policy.reports, report, s)
	return cmpErr(written, printReport(r.f, r.p, report, s))
}

// noteForked says how crmctl learns what another program has done, a line a program.
func (r *fleetRun) noteForked() {
	told := make(map[string]bool)
	newer := false
	for _, t := range r.Forked {
		if _, is := errors.AsType[*adopt.NewerError](t.Err); is {
			newer = true
			continue
		}
		if errors.Is(t.Err, adopt.ErrHistory) && !told[t.Program] {
			told[t.Program] = true
			r.f.Note("next: crmctl migrate adopt --from %s --schema %s --map FILE%s", t.Program, t.Tenant.Schema,
				r.f.sameFlags())
		}
	}
	if newer {
		r.f.Note("next: give the files up to that version, --migrations-dir DIR (an older copy, or the wrong directory?)")
	}
}

// verb returns the first word for a run up, the second for one down.
func (r *fleetRun) verb(up, down string) string {
	if r.Route.Kind == migrate.Down || r.Route.Kind == migrate.Redo {
		return down
	}
	return up
}

// files names the migrations that the run is about.
func (r *fleetRun) files() string {
	low, high := r.Pending[0].Version, int64(0)
	for _, t := range r.Pending {
		low, high = min(low, t.Version), max(high, t.Version)
	}
	switch r.Route.Kind {
	case migrate.Down, migrate.Redo:
		if r.Route.Steps > 0 || r.Route.Kind == migrate.Redo {
			return cli.Plural(max(1, r.Route.Steps), "version")
		}
		return fmt.Sprintf("every version above %d", r.Route.To)
	}
	if pending := r.Plan.After(low); len(pending) > 0 {
		return names(pending)
	}
	return "files out of order"
}
