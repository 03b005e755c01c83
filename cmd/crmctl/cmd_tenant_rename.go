package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantRenameOptions are the options of `crmctl tenant rename`.
type tenantRenameOptions struct {
	tenantMoveOptions

	newName     string
	displayName string
	schema      bool
	leave       bool
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
	opts.addFlags(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantRename(ctx context.Context, f *factory, opts *tenantRenameOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.RenameTenant(ctx, app.RenameOptions{MoveOptions: opts.move(), To: opts.newName,
		DisplayName: opts.displayName, Schema: opts.schema, LeaveMentions: opts.leave})
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
	}
	result := "renamed"
	switch {
	case !done.Changed():
		result = "unchanged"
	case opts.dryRun:
		result = "would rename"
	}
	if p.Terminal && p.IsTable() && !p.NamesOnly() {
		return cli.PrintObject(p, renamedObject(result, done))
	}
	return cli.PrintList(p, renamedList(result), []app.Renamed{done})
}

// renamedObject is for a terminal, where a line has no room for two names of a
// tenant and two of its schema.
func renamedObject(result string, r app.Renamed) cli.Object {
	became := func(before, after string) any {
		if before == after {
			return after
		}
		return before + " -> " + after
	}
	return cli.Object{Name: r.After.Slug, Fields: []cli.Field{
		{Name: result, Value: became(r.Before.Slug, r.After.Slug)},
		{Name: "schema", Value: became(r.Before.Schema.String(), r.After.Schema.String())},
		{Name: "display_name", Value: became(r.Before.DisplayName, r.After.DisplayName)},
	}}
}

func renamedList(result string) cli.List[app.Renamed] {
	return cli.List[app.Renamed]{
		Plural: "tenants",
		Columns: documented([]cli.Column[app.Renamed]{
			{Name: "result", Value: func(app.Renamed) any { return cli.Styled{Value: result, Color: resultColor(result)} }},
			{Name: "tenant", Value: func(r app.Renamed) any { return r.After.Slug }},
			{Name: "tenant_was", Title: "WAS", Value: func(r app.Renamed) any {
				return changed("was ", r.Before.Slug, r.After.Slug)
			}},
			{Name: "schema", Value: func(r app.Renamed) any { return r.After.Schema.String() }},
			{Name: "schema_was", Value: func(r app.Renamed) any {
				return changed("was ", r.Before.Schema.String(), r.After.Schema.String())
			}},
			{Name: "display_name", Value: func(r app.Renamed) any { return r.After.DisplayName }},
			{Name: "display_name_was", Document: true, Value: func(r app.Renamed) any { return r.Before.DisplayName }},
		}, func(r app.Renamed) registry.Tenant { return r.After }),
		Name:     func(r app.Renamed) string { return r.After.Slug },
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
