package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantRenameOptions are the options of `crmctl tenant rename`.
type tenantRenameOptions struct {
	name        string
	newName     string
	displayName string
	schema      bool
	leave       bool
	lockTimeout time.Duration
	dryRun      bool
}

func newTenantRenameCmd(f *factory) *cobra.Command {
	opts := &tenantRenameOptions{}
	cmd := &cobra.Command{
		Use:   "rename TENANT [NEW-NAME]",
		Short: "give a tenant another name",
		Long: `Give a tenant another name, another display name, or both. Its schema keeps its name unless
--schema is given, which renames it and the tenant's role too; all of it is one transaction.

With --schema whatever names the schema has to follow. Functions of the schema whose search_path
is fixed to it do. Where the old name stands as a text elsewhere - in a function's body, a default,
a check, a policy, a view, the settings of a role or the database, the options of a foreign table,
a publication or subscription of its tables - the rename is refused and says where, since that
would mean the next tenant of the name; --leave-mentions renames all the same. Out of its reach
are applications (open connections keep the old name on their search_path), rows of tables such as
the jobs of pg_cron, other databases, and names that are put together at run time.

The audit keeps the old names, and crmctl tenant history knows both.`,
		Example: `crmctl tenant rename globex globex-corp --display-name "Globex Corporation"
crmctl tenant rename globex-corp --schema`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return cli.ExactArgs("TENANT")(cmd, args)
			}
			return cli.ExactArgs("TENANT", "NEW-NAME")(cmd, args)
		},
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			if len(args) > 1 {
				opts.newName = args[1]
			}
			if opts.newName == "" && opts.displayName == "" && !opts.schema {
				return cli.Usagef("nothing to change: give a new name, --display-name or --schema")
			}
			return runTenantRename(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.displayName, "display-name", "", "the new `NAME` shown to people")
	fs.BoolVar(&opts.schema, "schema", false, "name the schema and the role after the tenant too")
	fs.BoolVar(&opts.leave, "leave-mentions", false, "rename although the old schema's name stands elsewhere")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantRename(ctx context.Context, f *factory, opts *tenantRenameOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	to := tenant.Renaming{
		DisplayName: opts.displayName, Schema: opts.schema, LeaveMentions: opts.leave,
		Shape: func(ctx context.Context, q db.Querier, t registry.Tenant) (string, error) {
			shape, err := catalog.Read(ctx, q, catalog.Target{Schema: t.Schema, Role: t.Role},
				catalog.Options{Registry: f.registry(), LockTimeout: opts.lockTimeout, OwnRole: true})
			if err != nil {
				return "", err
			}
			is := shape.Fingerprint()
			return string(is[:]), nil
		},
	}
	if opts.newName != "" {
		if to.Slug, err = registry.Slug(opts.newName); err != nil {
			return err
		}
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	rename, result := tenant.Rename, "renamed"
	if opts.dryRun {
		rename, result = tenant.PlanRename, "would rename"
	}
	before, after, err := rename(ctx, conn, slug, to, f.moveOptions(opts.lockTimeout))
	var (
		exists   *registry.ExistsError
		mentions *tenant.MentionsError
	)
	switch {
	case errors.As(err, &mentions):
		for _, m := range mentions.Mentions {
			f.Note("  %s", cli.Visible(m.String()))
		}
		return cli.WithHint(err, "change these first, or", "add --leave-mentions")
	case errors.As(err, &exists) && exists.Status != "":
		return cli.WithHint(err, "see it", "crmctl tenant show "+exists.Slug)
	case err != nil:
		return err
	case before.Slug == after.Slug && before.DisplayName == after.DisplayName && before.Schema == after.Schema:
		result = "unchanged"
	}
	done := renaming{before, after}
	if p.Terminal && p.IsTable() && !p.NamesOnly() {
		return cli.PrintObject(p, renamedObject(result, done))
	}
	return cli.PrintList(p, renamedList(result), []renaming{done})
}

// renaming is a tenant before and after.
type renaming struct{ before, after registry.Tenant }

// renamedObject is for a terminal, where a line has no room for two names of a
// tenant and two of its schema.
func renamedObject(result string, r renaming) cli.Object {
	became := func(before, after string) any {
		if before == after {
			return after
		}
		return before + " -> " + after
	}
	return cli.Object{Name: r.after.Slug, Fields: []cli.Field{
		{Name: result, Value: became(r.before.Slug, r.after.Slug)},
		{Name: "schema", Value: became(r.before.Schema.String(), r.after.Schema.String())},
		{Name: "display_name", Value: became(r.before.DisplayName, r.after.DisplayName)},
	}}
}

func renamedList(result string) cli.List[renaming] {
	return cli.List[renaming]{
		Plural: "tenants",
		Columns: documented([]cli.Column[renaming]{
			{Name: "result", Value: func(renaming) any { return cli.Styled{Value: result, Color: resultColor(result)} }},
			{Name: "tenant", Value: func(r renaming) any { return r.after.Slug }},
			{Name: "was", Value: func(r renaming) any { return changed("was ", r.before.Slug, r.after.Slug) }},
			{Name: "schema", Value: func(r renaming) any { return r.after.Schema.String() }},
			{Name: "schema_was", Value: func(r renaming) any {
				return changed("was ", r.before.Schema.String(), r.after.Schema.String())
			}},
			{Name: "display_name", Value: func(r renaming) any { return r.after.DisplayName }},
			{Name: "display_name_was", Document: true, Value: func(r renaming) any { return r.before.DisplayName }},
		}, func(r renaming) registry.Tenant { return r.after }),
		Name:     func(r renaming) string { return r.after.Slug },
		NoHeader: true,
	}
}

// changed shows the old value where it is another than the new one.
func changed(label, before, after string) any {
	if before == after {
		return cli.Either{Document: before}
	}
	return cli.Either{Human: label + before, Machine: before}
}
