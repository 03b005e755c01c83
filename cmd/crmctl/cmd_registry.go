package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

func newRegistryCmd(f *factory) *cobra.Command {
	cmd := cli.NewGroup("registry", "move crmctl's own tables to another schema")
	cmd.AddCommand(newRegistryMoveCmd(f))
	return cmd
}

// registryMoveOptions are the options of `crmctl registry move`.
type registryMoveOptions struct {
	to          string
	lockTimeout time.Duration
	dryRun      bool
}

func newRegistryMoveCmd(f *factory) *cobra.Command {
	opts := &registryMoveOptions{}
	cmd := &cobra.Command{
		Use:   "move --to-schema SCHEMA",
		Short: "move the registry to another schema",
		Long: `Move the registry to another schema of the same database, in one transaction. The schema is made
where it is not there. While a run over the fleet is going on nothing is moved. Afterwards every
command wants registry_schema, in a configuration file, a variable or --registry-schema.`,
		Example: `crmctl registry move --to-schema crmctl --dry-run
crmctl registry move --to-schema crmctl`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRegistryMove(cmd.Context(), f, opts) },
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.to, "to-schema", "", "move it to this `SCHEMA`")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.RegisterCompletion(cmd, "to-schema", cli.CompleteWords())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked)
	return cmd
}

// registryIn is the registry in a schema that somebody typed.
func registryIn(name string) (registry.Registry, error) {
	if name == "" {
		return registry.Registry{}, cli.Usagef("--to-schema SCHEMA is missing")
	}
	if err := config.RegistrySchema(name); err != nil {
		return registry.Registry{}, cli.Usagef("--to-schema %q: %w", name, err)
	}
	if name == db.Public.String() {
		return registry.Default(), nil
	}
	schema, err := db.RegisteredSchema(name)
	if err != nil {
		return registry.Registry{}, cli.Usagef("--to-schema: %w", err)
	}
	return registry.In(schema), nil
}

// movedRegistry is what became of the registry.
type movedRegistry struct {
	from, to string
	moved    []string
	dryRun   bool
}

func runRegistryMove(ctx context.Context, f *factory, opts *registryMoveOptions) error {
	to, err := registryIn(opts.to)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	moved, err := a.MoveRegistry(ctx, app.RegistryMoveOptions{To: to, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun})
	if err != nil {
		return err
	}
	if !opts.dryRun {
		f.Note("from now on: registry_schema: %s, or CRMCTL_REGISTRY_SCHEMA=%s", cli.Visible(opts.to), schemaWord(to))
	}
	return cli.PrintObject(p, movedObject(movedRegistry{from: a.Registry.Schema().String(), to: opts.to, moved: moved,
		dryRun: opts.dryRun}))
}

func movedObject(r movedRegistry) cli.Object {
	result := "moved"
	if r.dryRun {
		result = "would move"
	}
	return cli.Object{
		Kind: "registry",
		Name: r.to,
		Fields: []cli.Field{
			{Name: "registry", Value: cli.Styled{Value: cli.Either{Human: result + " from " + r.from + " to " + r.to,
				Machine: result}, Color: resultColor(result)}},
			{Name: "from_schema", Value: r.from, Document: true},
			{Name: "to_schema", Value: r.to, Document: true},
			{Name: "objects", Value: r.moved, Document: true},
			{Name: "dry_run", Value: r.dryRun, Document: true},
		},
	}
}
