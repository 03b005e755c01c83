package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
)

// migrateRepairOptions are the options of `crmctl migrate repair`.
type migrateRepairOptions struct {
	tenant string // "" lists the dirty ones
	mark   string
	dryRun bool

	lockTimeout time.Duration
}

func newMigrateRepairCmd(f *factory) *cobra.Command {
	opts := &migrateRepairOptions{}
	cmd := &cobra.Command{
		Use:   "repair [TENANT]",
		Short: "show or settle tenants in the middle of a NO TRANSACTION file",
		Long: `A file marked NO TRANSACTION commits each statement by itself, so it can end half way: the
tenant is dirty. The next run goes on by itself where that is safe: with the statement that
failed, and with an index build that was cut off, whose invalid index it drops first. What the
statements before have set is set again; where they have left what cannot be made again (a
temporary table that the rest needs), the rest of the file is yours to do.

Where another statement was cut off nobody can tell whether it is done, and the tenant waits for
you. Look at its schema, then say what you have found:

  --mark done       the statement in question is done: go on behind it
  --mark not-done   it is not: run it again
  --mark applied    the whole file is in place, by your hand
  --mark reverted   nothing of the file is in place, by your hand

Without a tenant it lists those that are dirty.`,
		Example:           "crmctl migrate repair\ncrmctl migrate repair acme-corp --mark not-done",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				opts.tenant = args[0]
			}
			if opts.mark != "" && opts.tenant == "" {
				return cli.Usagef("--mark wants a tenant")
			}
			return runMigrateRepair(cmd.Context(), f, opts)
		},
	}
	var marks []string
	for _, m := range migrate.Marks() {
		marks = append(marks, string(m))
	}
	fs := cmd.Flags()
	fs.Var(cli.NewEnum(&opts.mark, "", marks), "mark", "the `STATE` that you found: done, not-done, applied or reverted")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPending, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runMigrateRepair(ctx context.Context, f *factory, opts *migrateRepairOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.mark == "" {
		return listDirty(ctx, f, p, opts)
	}
	names, err := slugs([]string{opts.tenant})
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	before, err := a.RepairTenant(ctx, names[0], migrate.Mark(opts.mark), opts.lockTimeout, opts.dryRun)
	switch {
	case err != nil:
		return err
	case !p.IsTable():
		return cli.PrintObject(p, cli.Object{Kind: "repair", Name: names[0], Fields: []cli.Field{
			{Name: "tenant", Value: names[0]}, {Name: "file", Value: before.File}, {Name: "mark", Value: opts.mark},
			{Name: "dry_run", Value: opts.dryRun},
		}})
	case opts.dryRun:
		f.Note("%s: %s would be marked %s", cli.Visible(names[0]), cli.Visible(before.File), opts.mark)
		return nil
	}
	f.Note("%s: %s is marked %s", cli.Visible(names[0]), cli.Visible(before.File), opts.mark)
	f.Note("next: crmctl migrate tenant %s", cli.Visible(names[0]))
	return nil
}

// listDirty prints the dirty tenants, or the one asked for.
func listDirty(ctx context.Context, f *factory, p *cli.Printer, opts *migrateRepairOptions) error {
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	dirty, err := migrate.Dirty(ctx, conn, f.registry())
	if err != nil {
		return err
	}
	if opts.tenant != "" {
		names, err := slugs([]string{opts.tenant})
		if err != nil {
			return err
		}
		if _, err := f.registry().Get(ctx, conn, names[0]); err != nil {
			return err
		}
		var one []*migrate.DirtyError
		for _, d := range dirty {
			if d.Slug == names[0] {
				one = append(one, d)
			}
		}
		dirty = one
	}
	err = cli.PrintList(p, cli.List[*migrate.DirtyError]{
		Plural: "dirty",
		Columns: []cli.Column[*migrate.DirtyError]{
			{Name: "tenant", Value: func(d *migrate.DirtyError) any { return d.Slug }},
			{Name: "file", Copied: true, Value: func(d *migrate.DirtyError) any { return d.File }},
			{Name: "statements_done", Title: "DONE", Value: func(d *migrate.DirtyError) any {
				return cli.Either{Human: cli.ID(d.Done) + " of " + cli.ID(d.Statements), Machine: d.Done}
			}},
			{Name: "since", Value: func(d *migrate.DirtyError) any { return d.Since }},
			{Name: "error", Title: "WHY", Text: true, Value: func(d *migrate.DirtyError) any {
				if d.Running {
					return cli.Either{Human: "statement " + cli.ID(d.Done+1) + " was cut off", Machine: d.Message}
				}
				return d.Message
			}},
			{Name: "schema_version", Document: true, Value: func(d *migrate.DirtyError) any { return d.Version }},
			{Name: "down", Document: true, Value: func(d *migrate.DirtyError) any { return d.Down }},
			{Name: "statements", Document: true, Value: func(d *migrate.DirtyError) any { return d.Statements }},
			{Name: "cut_off", Document: true, Value: func(d *migrate.DirtyError) any { return d.Running }},
			{Name: "sqlstate", Document: true, Value: func(d *migrate.DirtyError) any { return d.SQLState }},
		},
		Name:  func(d *migrate.DirtyError) string { return d.Slug },
		Empty: "no tenant is dirty",
	}, dirty)
	if err == nil && len(dirty) > 0 {
		err = cli.ExitTold(cli.ExitPending, "%s dirty", cli.Plural(len(dirty), "tenant"))
	}
	return err
}
