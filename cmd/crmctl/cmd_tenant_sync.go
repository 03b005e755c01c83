package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

// tenantSyncOptions are the options of `crmctl tenant sync`.
type tenantSyncOptions struct {
	maxGone     string
	concurrency int
	lockTimeout time.Duration
	// statementTimeout is the configuration's, where the application looks for it.
	statementTimeout time.Duration
	dryRun           bool
}

// mayLose reads --max-gone; nil is the usual share.
func (o *tenantSyncOptions) mayLose() (func(living int) int, error) {
	if o.maxGone == "" {
		return nil, nil //nolint:nilnil // nil is the usual share
	}
	share, percent, err := parseShare(o.maxGone)
	if err != nil {
		return nil, cli.Usagef("--max-gone %s: %w", o.maxGone, err)
	}
	return func(living int) int {
		if percent {
			return int(math.Floor(float64(living) * share / 100))
		}
		return int(share)
	}, nil
}

func newTenantSyncCmd(f *factory) *cobra.Command {
	opts := &tenantSyncOptions{}
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "take in the tenants that the application has made",
		Long: `Make the registry follow tenants_query, the select of the application's own table of tenants.
A schema that is new is adopted at the version it has. A tenant whose slug, display name or
status is another now has its row changed. A tenant that the application does not name any
more is marked as gone: nothing works on it, and nothing of it is ever deleted or purged. One
that is named again is as it was.

Commands that change the fleet (migrate, backup create, tenant exec --write) do this first by
themselves; those that only read say what differs.

When more than one tenant and more than 5% of them would be gone at once, or the answer is
empty, nothing is changed (exit 5): --max-gone says how many may.`,
		Example: `crmctl tenant sync --dry-run
crmctl tenant sync
crmctl tenant sync --max-gone 20%`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTenantSync(cmd.Context(), f, opts) },
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.maxGone, "max-gone", "", "at most `N` tenants, or N%, may be gone at once (default 5%)")
	addConcurrencyFlag(fs, &opts.concurrency)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable)
	return cmd
}

func runTenantSync(ctx context.Context, f *factory, opts *tenantSyncOptions) error {
	mayLose, err := opts.mayLose()
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, stopped := a.Sync(ctx, app.SyncOptions{MayLose: mayLose, Concurrency: opts.concurrency,
		LockTimeout: opts.lockTimeout, DryRun: opts.dryRun})
	if done == nil {
		return stopped
	}
	err = printSynced(f, p, done, opts.dryRun)
	if f.WasInterrupted() && stopped != nil {
		return f.stopped("what is listed is done, the rest is as it was")
	}
	return cmpErr(stopped, err)
}

// printSynced prints what became of each tenant that differed, and returns the error
// that carries the exit code.
func printSynced(f *factory, p *cli.Printer, done *app.SyncResult, dryRun bool) error {
	if err := cli.PrintList(p, syncedList(dryRun), done.Tenants); err != nil {
		return err
	}
	failed := 0
	for _, t := range done.Tenants {
		if syncFailed(t) {
			failed++
			if f.structured() {
				f.sayTenant(t.To.Slug, t.Err)
			}
		}
	}
	if failed == 0 {
		return nil
	}
	return cli.ExitTold(cli.ExitPartial, "%d of %s not taken in", failed, cli.Plural(len(done.Tenants), "tenant"))
}

func syncedList(dryRun bool) cli.List[app.Synced] {
	alike := alikeTenants(func(t app.Synced) registry.Tenant { return t.To })
	alike.Of = func(t app.Synced) bool { return t.Err != nil || !t.Done }
	return cli.List[app.Synced]{
		Plural: "tenants",
		Columns: []cli.Column[app.Synced]{
			{Name: "result", Value: func(t app.Synced) any {
				return cli.Styled{Value: syncResult(t, dryRun), Color: syncColor(t)}
			}},
			{Name: "tenant", Value: func(t app.Synced) any { return t.To.Slug }},
			{Name: "schema", Value: func(t app.Synced) any { return t.To.Schema.String() }},
			{Name: "status", Value: func(t app.Synced) any { return statusCell(t.To.Status) }},
			{Name: "schema_version", Title: "VERSION", Value: func(t app.Synced) any {
				if t.Version == 0 {
					return cli.Either{Human: "", Machine: t.Version}
				}
				return cli.Serial(t.Version)
			}},
			{Name: "why", Text: true, Value: func(t app.Synced) any { return syncWhy(t) }},
			{Name: "former_tenant", Document: true, Optional: true, Value: func(t app.Synced) any { return t.From.Slug }},
			{Name: "former_schema", Document: true, Optional: true, Value: func(t app.Synced) any {
				return t.From.Schema.String()
			}},
			{Name: "error", Document: true, Optional: true, Value: func(t app.Synced) any { return errorText(t.Err) }},
		},
		Name:  func(t app.Synced) string { return t.To.Slug },
		Alike: alike,
		Empty: "the registry has what the application names",
	}
}

// syncResult returns what was done, or would be.
func syncResult(t app.Synced, dryRun bool) string {
	switch {
	case t.Kind == source.Waiting, t.Kind == source.Refused:
		return string(t.Kind)
	case t.Err != nil || !t.Done:
		return "not done"
	case t.Kind == source.New && dryRun:
		return "would adopt"
	case t.Kind == source.New:
		return "adopted"
	case dryRun:
		return "would be " + string(t.Kind)
	}
	return string(t.Kind)
}

func syncColor(t app.Synced) cli.Color {
	switch {
	case t.Err != nil:
		return cli.Red
	case t.Kind == source.Lost, t.Kind == source.Waiting, !t.Done:
		return cli.Yellow
	}
	return cli.Green
}

// syncWhy says what is another now, or why nothing was done.
func syncWhy(t app.Synced) string {
	switch {
	case t.Err != nil:
		return textOf(t.Err)
	case t.Kind == source.Waiting:
		return "its schema is not there yet"
	case t.Kind == source.New:
		return ""
	case t.Kind == source.Lost:
		return "the application does not name it any more"
	}
	var parts []string
	add := func(what, from, to string) {
		if from != to {
			parts = append(parts, fmt.Sprintf("%s was %s", what, from))
		}
	}
	add("slug", t.From.Slug, t.To.Slug)
	add("schema", t.From.Schema.String(), t.To.Schema.String())
	add("display name", t.From.DisplayName, t.To.DisplayName)
	if t.From.Status != registry.Gone {
		add("status", string(t.From.Status), string(t.To.Status))
	}
	return strings.Join(parts, ", ")
}
