package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// migratePublicOptions are the options of `crmctl migrate public`.
type migratePublicOptions struct {
	lockTimeout time.Duration
	dryRun      bool
}

func newMigratePublicCmd(f *factory) *cobra.Command {
	opts := &migratePublicOptions{}
	cmd := &cobra.Command{
		Use:   "public",
		Short: "create or upgrade the registry",
		Long: `Create the registry, or bring it to the version this crmctl needs: the tables of the tenants, of
the audit, of fleet runs, of sizes and of schemas for tenants to come. Its own versions stand in
crmctl_db_version, apart from those of anything else.

It stands in the schema public, or in the one that registry_schema names, which is made. Where an
application has a table of such a name already, nothing is changed, and the answer says how to go on.`,
		Example: `crmctl migrate public
crmctl migrate public --registry-schema crmctl`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMigratePublic(cmd.Context(), f, opts) },
	}
	addLockTimeoutFlag(cmd.Flags(), &opts.lockTimeout)
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	addExpectDatabaseFlag(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

// publicResult is what became of the registry.
type publicResult struct {
	From, To int64
	Applied  []string
	DryRun   bool
}

func runMigratePublic(ctx context.Context, f *factory, opts *migratePublicOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	change, err := a.UpgradeRegistry(ctx, app.UpgradeOptions{LockTimeout: opts.lockTimeout, DryRun: opts.dryRun})
	if err != nil {
		return err
	}
	record := publicResult{From: change.From, To: change.To, Applied: []string{}, DryRun: opts.dryRun}
	for _, m := range change.Applied {
		record.Applied = append(record.Applied, m.Name())
	}
	return cli.PrintObject(p, publicObject(record))
}

func publicObject(r publicResult) cli.Object {
	result := "unchanged"
	switch {
	case r.DryRun && len(r.Applied) > 0:
		result = "would migrate"
	case len(r.Applied) > 0:
		result = "migrated"
	}
	return cli.Object{
		Kind: "registry",
		Name: fmt.Sprint(r.To),
		Fields: []cli.Field{
			{Name: "registry", Value: cli.Styled{Value: cli.Either{
				Human: fmt.Sprintf("%s, version %d (%s)", result, r.To, cli.Plural(len(r.Applied), "migration")), Machine: result,
			}, Color: resultColor(result)}},
			{Name: "from_version", Value: r.From, Document: true},
			{Name: "to_version", Value: r.To, Document: true},
			{Name: "applied", Value: r.Applied, Document: true},
			{Name: "dry_run", Value: r.DryRun, Document: true},
		},
	}
}
