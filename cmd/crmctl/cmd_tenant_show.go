package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// tenantShowOptions are the options of `crmctl tenant show`.
type tenantShowOptions struct{ name string }

func newTenantShowCmd(f *factory) *cobra.Command {
	opts := &tenantShowOptions{}
	cmd := &cobra.Command{
		Use:               "show TENANT",
		Short:             "everything the registry knows of one tenant",
		Example:           "crmctl tenant show acme-corp\ncrmctl tenant show acme-corp -o json",
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runTenantShow(cmd.Context(), f, opts)
		},
	}
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runTenantShow(ctx context.Context, f *factory, opts *tenantShowOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	head, p, conn, err := f.openWithHead(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	a, err := f.app()
	if err != nil {
		return err
	}
	a.NoteSource(ctx, conn)
	t, err := f.registry().Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	sizes, err := stats.TotalBytes(ctx, conn, f.registry(), []string{slug})
	if err != nil {
		return err
	}
	var size *int64
	if n, ok := sizes[slug]; ok {
		size = &n
	}
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return err
	}
	moves, err := f.registry().ListTransfers(ctx, conn, []string{t.ID})
	if err != nil {
		return err
	}
	o := tenantObject(t, head, size, places.Of(t.Schema.String()))
	o.Fields = append(o.Fields, transferFields(t, moves)...)
	return cli.PrintObject(p, o)
}

// transferFields says where a tenant goes, or came from, nothing for one that was never
// transferred.
func transferFields(t registry.Tenant, moves map[string]registry.Transfer) []cli.Field {
	x, ok := moves[t.ID]
	if !ok {
		return nil
	}
	title := "came from"
	switch {
	case t.Status == registry.Moved, t.DeletedFrom == registry.Moved:
		title = "moved to"
	case t.Status == registry.Leaving:
		title = "goes to"
	case t.Status == registry.Incoming:
		title = "comes from"
	}
	place := fmt.Sprintf("%s on %s:%d", x.Database, x.Host, x.Port)
	if x.Profile != "" {
		place += " (profile " + x.Profile + ")"
	}
	return []cli.Field{
		{Name: "transfer", Title: title, Value: cli.Either{Human: place, Machine: struct {
			ID        string     `json:"id"`
			Profile   string     `json:"profile"`
			Host      string     `json:"host"`
			Port      int        `json:"port"`
			Database  string     `json:"database"`
			Registry  string     `json:"registry_schema"`
			StartedAt time.Time  `json:"started_at"`
			MovedAt   *time.Time `json:"moved_at"`
			Rows      *int64     `json:"rows"`
		}{x.ID, x.Profile, x.Host, x.Port, x.Database, x.Registry, x.StartedAt, x.MovedAt, x.Rows}}},
		{Name: "moved_at", Title: "moved", Value: x.MovedAt, Optional: true},
	}
}

func tenantObject(t registry.Tenant, head int64, size *int64, place cluster.Place) cli.Object {
	version := any(cli.Serial(t.Version))
	if isBehind(t, head) {
		version = cli.Styled{Value: cli.Either{Human: fmt.Sprintf("%d, the newest is %d", t.Version, head),
			Machine: t.Version}, Color: cli.Yellow}
	}
	o := cli.Object{
		Kind: "tenant",
		Name: t.Slug,
		Fields: []cli.Field{
			{Name: "tenant", Value: t.Slug},
			{Name: "display_name", Value: t.DisplayName},
			{Name: "status", Value: statusCell(t.State())},
			{Name: "schema", Value: t.Schema.String()},
			{Name: "schema_version", Title: "version", Value: version},
			{Name: "size_bytes", Title: "size", Value: sizeCell(size)},
			{Name: "role", Value: t.Role, Optional: true},
			{Name: "id", Value: t.ID},
			{Name: "behind", Document: true, Value: behindCell(t, head)},
			{Name: "settings", Value: t.Settings, Optional: true},
			{Name: "created_at", Title: "created", Value: t.CreatedAt},
			{Name: "updated_at", Title: "updated", Value: t.UpdatedAt},
			{Name: "deleted_at", Title: "deleted", Value: t.DeletedAt, Optional: true},
			{Name: "purge_after", Value: t.PurgeAfter, Optional: true},
			{Name: "purge_started_at", Title: "purge started", Value: t.PurgeStartedAt, Wide: true},
			{Name: "foreign_role", Document: true, Value: t.ForeignRole, Optional: true},
		},
	}
	if place.Kind != "" { // in a cluster
		o.Fields = append(o.Fields, cli.Field{Name: "kind", Value: string(place.Kind)},
			cli.Field{Name: "node", Value: place.Node, Optional: true})
	}
	return o
}

// completeOne completes the name of a single tenant.
func completeOne(f *factory) cobra.CompletionFunc {
	several := completeTenants(f)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return several(cmd, args, prefix)
	}
}
