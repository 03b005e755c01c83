package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantTransferOptions are the options of `crmctl tenant transfer`.
type tenantTransferOptions struct {
	tenantMoveOptions
	roleOptions

	profile          string
	tablespace       string
	trustCode        bool
	abort            bool
	statementTimeout time.Duration
}

func newTenantTransferCmd(f *factory) *cobra.Command {
	opts := &tenantTransferOptions{}
	cmd := &cobra.Command{
		Use:   "transfer TENANT --to-profile NAME",
		Short: "move a tenant to another database or server",
		Long: `Move a tenant to the database of another profile, under its name and id. It is shut, as crmctl
tenant suspend does, copied without a file between, and compared row by row by hash while nobody
can write to its tables; then it is opened there, with the status it had.

It has one owner at any time. Until the commit that says "moved" here, that is this registry, and
the copy is "incoming" there: nobody migrates, imports to or opens it. From then on it is the
other one. A transfer that fails before that commit is undone. One that was killed is gone on with by
the same command, or given up with --abort, which opens the tenant here again; after the commit it
only goes on.

What stays here is the registry's row, which says where the tenant is, the history, and the data as it was
when it went: crmctl tenant delete and purge destroy it. An application that does not look at the
registry has to be told itself; a tenant without a role of its own is
not shut to it. If it writes in the meantime the comparison finds it, and the tenant stays; what it writes
here after "moved" nobody takes along: stop it, or point it there, before.

The other database needs a registry (crmctl migrate public), the migrations that the tenant has,
their extensions, and no tenant of that name or schema. Versions of PostgreSQL may differ. Lists
of imports and their undo do not go along; accepted drift does. Backups stay where they are.`,
		Example: `crmctl tenant transfer acme-corp --to-profile second --dry-run
crmctl tenant transfer acme-corp --to-profile second
crmctl tenant transfer acme-corp --to-profile second --abort`,
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name, opts.roleGiven = args[0], cmd.Flags().Changed("role")
			if opts.profile == "" {
				return cli.Usagef("--to-profile NAME is missing")
			}
			return runTenantTransfer(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.profile, "to-profile", "", "the profile `NAME` of the other database")
	fs.BoolVar(&opts.abort, "abort", false, "give up a transfer that was begun")
	addTrustCodeFlag(fs, &opts.trustCode)
	addTablespaceFlag(fs, &opts.tablespace, "the one of the same name as here")
	opts.roleOptions.addFlag(fs)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	opts.addFlags(fs)
	cli.RegisterCompletion(cmd, "to-profile", completeProfiles(f))
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantTransfer(ctx context.Context, f *factory, opts *tenantTransferOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	to, err := f.onProfile(opts.profile).app()
	if err != nil {
		return err
	}
	done, err := a.TransferTenant(ctx, app.TransferOptions{MoveOptions: opts.move(), To: to, Role: opts.choice(),
		TrustCode: opts.trustCode, Tablespace: opts.tablespace, StatementTimeout: opts.statementTimeout, Abort: opts.abort})
	if err != nil {
		return transferHint(err, opts)
	}
	result := opts.result("transferred")
	if opts.abort {
		result = opts.result("given up")
	}
	if !opts.dryRun && !opts.abort && isBehind(done.Tenant, done.Newest) {
		f.Note("next: crmctl migrate tenant %s --profile %s", done.Tenant.Slug, cli.Visible(opts.profile))
	}
	return cli.PrintList(p, transferredList(result), []app.TransferResult{done})
}

// transferHint says what leads on from a transfer that has not come to its end.
func transferHint(err error, opts *tenantTransferOptions) error {
	command := "crmctl tenant transfer " + opts.name + " --to-profile " + cli.Visible(opts.profile)
	unfinished, is := errors.AsType[*app.UnfinishedTransferError](err)
	state, inState := errors.AsType[*registry.StateError](err)
	switch {
	case is && !unfinished.Moved:
		return cli.WithHint(cli.WithHint(err, "go on", command), "or give it up", command+" --abort")
	case is:
		return cli.WithHint(err, "go on", command)
	case inState && state.Wanted == registry.Incoming:
		return cli.WithHint(err, "see it", "crmctl tenant show "+opts.name+" --profile "+cli.Visible(opts.profile))
	case errors.Is(err, backup.ErrDiffers):
		return cli.WithHint(err, "whatever still writes to it is to stop first; then again", command)
	}
	return backupHint(err)
}

func transferredList(result string) cli.List[app.TransferResult] {
	return cli.List[app.TransferResult]{
		Plural: "tenants",
		Columns: documented([]cli.Column[app.TransferResult]{
			{Name: "result", Value: func(app.TransferResult) any {
				return cli.Styled{Value: result, Color: resultColor(result)}
			}},
			{Name: "tenant", Value: func(r app.TransferResult) any { return r.Tenant.Slug }},
			{Name: "database", Value: func(r app.TransferResult) any { return r.Side.Database }},
			{Name: "rows", Right: true, Value: func(r app.TransferResult) any {
				return cli.Either{Human: cli.Plural(int(r.Rows), "row"), Machine: r.Rows}
			}},
			{Name: "seconds", Right: true, Value: func(r app.TransferResult) any { return r.Elapsed }},
			{Name: "profile", Document: true, Value: func(r app.TransferResult) any { return r.Side.Profile }},
			{Name: "host", Document: true, Value: func(r app.TransferResult) any { return r.Side.Host }},
			{Name: "port", Document: true, Value: func(r app.TransferResult) any { return r.Side.Port }},
			{Name: "registry_schema", Document: true, Value: func(r app.TransferResult) any { return r.Side.Registry }},
		}, func(r app.TransferResult) registry.Tenant { return r.Tenant }),
		Name:     func(r app.TransferResult) string { return r.Tenant.Slug },
		NoHeader: true,
	}
}
