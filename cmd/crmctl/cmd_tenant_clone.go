package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantCloneOptions are the options of `crmctl tenant clone`.
type tenantCloneOptions struct {
	from, to    string
	displayName string
	schemaOnly  bool
	anonymize   bool
	seed        string
	keepColumns []string
	tablespace  string
	roleOptions
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func (o *tenantCloneOptions) validate() error {
	switch {
	case !o.anonymize && (o.seed != "" || len(o.keepColumns) > 0):
		return cli.Usagef("--seed and --keep-columns go with --anonymize")
	case o.anonymize && o.schemaOnly:
		return cli.Usagef("--schema-only copies nothing that could be anonymized")
	}
	return nil
}

func newTenantCloneCmd(f *factory) *cobra.Command {
	opts := &tenantCloneOptions{}
	cmd := &cobra.Command{
		Use:   "clone TENANT NAME",
		Short: "copy a tenant to a new one, anonymized if you like",
		Long: `Copy a tenant to a new one: the schema from the migrations at the tenant's version, a
consistent snapshot of the data, the values of the sequences, the settings, and a database
role if the tenant has one, unless --role=false. The copy is complete, or there is none.

--anonymize replaces names, e-mail addresses, phone numbers and texts by invented ones, and
empties JSON and the settings. The same value always gets the same replacement, so rows that
belong together still do; with the same --seed also in the next clone. Keep the seed secret:
who knows it can test whether a person is in the data. Columns of your own that may hold
personal data are refused until --keep-columns names those that do not.`,
		Example: `crmctl tenant clone acme-corp acme-test
crmctl tenant clone acme-corp acme-staging --anonymize
crmctl tenant clone acme-corp acme-empty --schema-only --display-name "Empty"`,
		Args:              cli.ExactArgs("TENANT", "NAME"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.from, opts.to, opts.roleGiven = args[0], args[1], cmd.Flags().Changed("role")
			if err := opts.validate(); err != nil {
				return err
			}
			return runTenantClone(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.displayName, "display-name", "", "`NAME` of the copy shown to people; the tenant's own if left out")
	fs.BoolVar(&opts.schemaOnly, "schema-only", false, "copy the schema and no data")
	fs.BoolVar(&opts.anonymize, "anonymize", false, "replace personal data by fakes")
	fs.StringVar(&opts.seed, "seed", "", "make the fakes from this `TEXT`; random if left out")
	fs.StringSliceVar(&opts.keepColumns, "keep-columns", nil,
		"with --anonymize, leave these `COLUMNS` as they are: table.column")
	addTablespaceFlag(fs, &opts.tablespace, "the tenant's own")
	opts.roleOptions.addFlag(fs)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantClone(ctx context.Context, f *factory, opts *tenantCloneOptions) error {
	names, err := slugs([]string{opts.from, opts.to})
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.CloneTenant(ctx, app.CloneOptions{
		From: names[0], To: names[1], DisplayName: opts.displayName, SchemaOnly: opts.schemaOnly,
		Anonymize: opts.anonymize, Seed: opts.seed, KeepColumns: opts.keepColumns, Role: opts.choice(),
		LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout, DryRun: opts.dryRun,
		Tablespace: opts.tablespace,
	})
	switch {
	case err != nil:
		return cloneHint(err, names[1])
	case opts.dryRun:
		f.Note("would clone %s to %s at version %d", cli.Visible(names[0]), cli.Visible(names[1]), done.Source.Version)
		return cli.PrintObject(p, tenantObject(done.Source, done.Source.Version, nil, cluster.Place{}))
	}
	return cli.PrintList(p, madeList(), []madeRow{{result: "cloned", made: done.Made, version: done.Made.Version,
		duration: done.Elapsed}})
}

func cloneHint(err error, to string) error {
	_, exists := errors.AsType[*registry.ExistsError](err)
	switch {
	case exists:
		return cli.WithHint(err, "see it", "crmctl tenant show "+to)
	case errors.Is(err, backup.ErrUnknownColumns):
		return cli.WithHint(err, "if they hold nothing personal", "--keep-columns table.column,...")
	}
	return backupHint(err)
}
