package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/registry"
)

// tenantSetOptions are the options of `crmctl tenant set`.
type tenantSetOptions struct {
	tenantMoveOptions

	values map[string]any
}

func newTenantSetCmd(f *factory) *cobra.Command {
	opts := &tenantSetOptions{}
	cmd := &cobra.Command{
		Use:   "set TENANT KEY=VALUE...",
		Short: "change settings of a tenant",
		Long: `Change settings of a tenant, which the registry keeps as a JSON object. A value that is JSON (5,
true, {"a":1}) is kept as such, any other as text; KEY= takes a setting away.

crmctl itself reads two: retention, how long the tenant is kept once it is deleted, and region,
the country of its phone numbers, such as DE. The others are the application's.`,
		Example: "crmctl tenant set acme-corp retention=90d\ncrmctl tenant set acme-corp seats=25 plan=gold beta=",
		Args:    cli.MinArgs("TENANT", "KEY=VALUE"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion,
			cobra.ShellCompDirective) {
			if len(args) > 0 {
				return []cobra.Completion{app.SettingRetention + "=", app.SettingRegion + "="},
					cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
			}
			return completeOne(f)(cmd, args, prefix)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			opts.name = args[0]
			if opts.values, err = parseSettings(args[1:]); err != nil {
				return err
			}
			return runTenantSet(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

// parseSettings reads KEY=VALUE; the value nil takes the setting away.
func parseSettings(args []string) (map[string]any, error) {
	values := make(map[string]any, len(args))
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		switch {
		case !ok || key == "" || strings.ContainsFunc(arg, cli.Hazardous):
			return nil, cli.Usagef("%q: want KEY=VALUE, or KEY= to take it away", arg)
		case text == "" && key != registry.SettingTablespace:
			values[key] = nil
			continue
		case key == registry.SettingTablespace:
			return nil, cli.WithHint(cli.Usagef("%s: the tables have to go along", arg), "move them",
				"crmctl tenant relocate TENANT --to-tablespace NAME")
		case key == app.SettingRegion:
			country, err := app.ParseRegion(text)
			if err != nil {
				return nil, err
			}
			values[key] = country
			continue
		case key == app.SettingRetention:
			if _, err := config.ParseDuration(text); err != nil {
				return nil, cli.Usagef("%s: %w", arg, err)
			}
			values[key] = text
			continue
		}
		var value any
		if json.Unmarshal([]byte(text), &value) == nil && value != nil {
			values[key] = json.RawMessage(text)
		} else {
			values[key] = text
		}
	}
	return values, nil
}

func runTenantSet(ctx context.Context, f *factory, opts *tenantSetOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	t, err := a.SetTenant(ctx, opts.move(), opts.values)
	if err != nil {
		return err
	}
	if opts.dryRun {
		f.Note("would set, nothing was changed:")
	}
	shown := tenantObject(t, 0, nil, cluster.Place{})
	for i := range shown.Fields {
		name := shown.Fields[i].Name
		shown.Fields[i].Document = name != "tenant" && name != "settings"
	}
	return cli.PrintObject(p, shown)
}
