package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantPlan is app.TenantPlan with every file.
func (f *factory) tenantPlan(ctx context.Context) (*migrate.Plan, error) {
	return f.tenantPlanTo(ctx, 0)
}

// tenantPlanTo is app.TenantPlan.
func (f *factory) tenantPlanTo(ctx context.Context, version int64) (*migrate.Plan, error) {
	a, err := f.app()
	if err != nil {
		return nil, err
	}
	return a.TenantPlan(ctx, version)
}

// actor returns who runs the program, "alice@desk", for the audit and the
// ledger.
func (f *factory) actor() string {
	name := f.IO.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// warnRole says that a role which the registry names was left as it is.
func (f *factory) warnRole(t registry.Tenant) {
	if t.ForeignRole != "" {
		f.Say("crmctl: warning: tenant %s: role %q was not made for it: its rights stay as they are", cli.Visible(t.Slug),
			t.ForeignRole)
	}
}

// sideOf returns the factory of the database that an error is about.
func (f *factory) sideOf(err error) *factory {
	if other, is := errors.AsType[*app.OtherSideError](err); is && f.other == "" {
		return f.onProfile(other.Profile)
	}
	return f
}

// withTarget names the database in an error about a tenant or the registry, since
// the wrong database is the usual reason for both, and adds what to do next. It
// keeps the exit code and the hints that the error has.
func (f *factory) withTarget(err error) error {
	f = f.sideOf(err)
	var missing *registry.NotFoundError
	var state *registry.StateError
	switch {
	case errors.As(err, &missing):
		target, targetErr := f.target()
		if targetErr != nil {
			return err
		}
		text := fmt.Sprintf("no tenant %q in %s", missing.Slug, target.Place())
		if missing.Similar != "" {
			text += fmt.Sprintf("; did you mean %q?", missing.Similar)
		}
		return &cli.Error{
			Code: cmp.Or(cli.CodeIn(err), exitNoTenant), Err: errors.New(text),
			Hints: append(cli.HintsOf(err), f.explainUnknown()...), Subject: missing.Slug,
		}
	case errors.As(err, &state):
		if f.other != "" {
			return err
		}
		return stateHint(err, state)
	case errors.Is(err, registry.ErrNoRegistry):
		target, targetErr := f.target()
		if targetErr != nil {
			return err
		}
		return &cli.Error{
			Code: cli.CodeIn(err), Err: fmt.Errorf("%s has no registry%s", target.Place(), f.yetOrWhere()),
			Hints: append(cli.HintsOf(err), f.explainRegistry(nil)...),
		}
	}
	return err
}

// stateHint adds the command that leads out of a tenant's state.
func stateHint(err error, e *registry.StateError) error {
	var hint cli.Hint
	switch {
	case e.Already, e.Wanted != "":
		hint = cli.Hint{Label: "see it", Command: "crmctl tenant show " + e.Slug}
	case e.State == registry.Suspended:
		hint = cli.Hint{Label: "open it", Command: "crmctl tenant activate " + e.Slug}
	case e.State == registry.Gone:
		hint = cli.Hint{Label: "see what differs", Command: "crmctl tenant sync --dry-run"}
	case e.State == registry.Leaving, e.State == registry.Moved, e.State == registry.Incoming:
		hint = cli.Hint{Label: "see where it goes", Command: "crmctl tenant show " + e.Slug}
	case e.State == registry.Deleted:
		hint = cli.Hint{Label: "bring it back", Command: "crmctl tenant undelete " + e.Slug}
	case e.State == registry.Purging:
		hint = cli.Hint{Label: "finish it", Command: "crmctl tenant purge " + e.Slug}
	}
	if hint.Command == "" || slices.Contains(cli.HintsOf(err), hint) {
		return err
	}
	return cli.WithHint(err, hint.Label, hint.Command)
}

// slugs turns the names somebody typed into slugs.
func slugs(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, name := range names {
		slug, err := registry.Slug(name)
		if err != nil {
			return nil, err
		}
		out[i] = slug
	}
	return out, nil
}

// fleetProgress shows a run over tenants that reports by index.
type fleetProgress struct {
	bar      *cli.Progress
	name     func(i int) string
	failed   atomic.Int64
	failures *failureLog
}

// newFleetProgress begins to show a run over the named tenants.
func (f *factory) newFleetProgress(verb string, names []string) *fleetProgress {
	p := &fleetProgress{name: func(i int) string { return names[i] }}
	p.bar = f.NewProgress(cli.ProgressOptions{Verb: verb, Total: int64(len(names)),
		Status: func() string { return p.count("failed %d") }, Fields: func() string { return p.count("failed=%d") }})
	p.failures = newFailureLog(p.bar)
	return p
}

// count says how many have failed so far, and nothing before one has.
func (p *fleetProgress) count(format string) string {
	if n := p.failed.Load(); n > 0 {
		return fmt.Sprintf(format, n)
	}
	return ""
}

func (p *fleetProgress) Started(int) {}

func (p *fleetProgress) Finished(i int, r fleet.Result) {
	if r.State == fleet.NotStarted {
		return // cut short by the end of the run
	}
	if r.State == fleet.Failed {
		p.failed.Add(1)
	}
	p.bar.Add(1)
	if r.State == fleet.Failed && !p.bar.Console.Structured() {
		p.failures.tell(p.name(i), "", "", textOf(r.Err))
	}
}

func (p *fleetProgress) Retrying(i, attempt int, err error, _ time.Duration) {
	p.bar.Console.Verbose("tenant=%s attempt=%d: %s; it is tried again", cli.Visible(p.name(i)), attempt,
		cli.Visible(textOf(err)))
}
