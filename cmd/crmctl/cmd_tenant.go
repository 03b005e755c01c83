package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

func newTenantCmd(f *factory) *cobra.Command {
	return cli.NewGroup("tenant", "the life of a tenant, from provisioning to the last byte",
		newTenantCreateCmd(f),
		newTenantCloneCmd(f),
		cli.Seldom(newTenantTransferCmd(f)),
		newTenantPoolCmd(f),
		cli.Seldom(newTenantSyncCmd(f)),
		newTenantListCmd(f),
		newTenantShowCmd(f),
		newTenantHistoryCmd(f),
		newTenantRenameCmd(f),
		newTenantSetCmd(f),
		newTenantSuspendCmd(f),
		newTenantActivateCmd(f),
		newTenantDeleteCmd(f),
		newTenantUndeleteCmd(f),
		newTenantPurgeCmd(f),
		newTenantExecCmd(f),
		cli.Seldom(newTenantRelocateCmd(f)),
		cli.Seldom(newTenantToNodeCmd(f)),
		cli.Seldom(newTenantDistributeCmd(f)),
		cli.Seldom(newTenantUndistributeCmd(f)),
	)
}

// completionLimit is how many names are offered: more than fit a screen help
// nobody.
const completionLimit = 500

// tenantColumns are what documents hold of a tenant, whichever command prints it.
func tenantColumns[T any](of func(T) (t registry.Tenant, head int64, size *int64)) []cli.Column[T] {
	column := func(name string, value func(t registry.Tenant) any) cli.Column[T] {
		return cli.Column[T]{Name: name, Value: func(row T) any {
			t, _, _ := of(row)
			return value(t)
		}}
	}
	optional := func(c cli.Column[T]) cli.Column[T] {
		c.Optional = true
		return c
	}
	return []cli.Column[T]{
		column("tenant", func(t registry.Tenant) any { return t.Slug }),
		column("display_name", func(t registry.Tenant) any { return t.DisplayName }),
		column("status", func(t registry.Tenant) any { return string(t.State()) }),
		column("schema", func(t registry.Tenant) any { return t.Schema.String() }),
		column("schema_version", func(t registry.Tenant) any { return t.Version }),
		{Name: "behind", Value: func(row T) any {
			t, head, _ := of(row)
			return behindCell(t, head)
		}},
		{Name: "size_bytes", Value: func(row T) any {
			_, _, size := of(row)
			return size
		}},
		optional(column("role", func(t registry.Tenant) any { return t.Role })),
		column("id", func(t registry.Tenant) any { return t.ID }),
		optional(column("settings", func(t registry.Tenant) any { return t.Settings })),
		column("created_at", func(t registry.Tenant) any { return t.CreatedAt }),
		column("updated_at", func(t registry.Tenant) any { return t.UpdatedAt }),
		column("deleted_at", func(t registry.Tenant) any { return t.DeletedAt }),
		column("purge_after", func(t registry.Tenant) any { return t.PurgeAfter }),
		column("purge_started_at", func(t registry.Tenant) any { return t.PurgeStartedAt }),
		optional(column("foreign_role", func(t registry.Tenant) any { return t.ForeignRole })),
	}
}

// documented adds to columns what documents hold of a tenant besides.
func documented[T any](columns []cli.Column[T], of func(T) registry.Tenant) []cli.Column[T] {
	return cli.Documented(columns, tenantColumns(func(row T) (registry.Tenant, int64, *int64) { return of(row), 0, nil }))
}

// isBehind reports whether a tenant lacks migrations it should have.
func isBehind(t registry.Tenant, head int64) bool {
	return t.Status != registry.Deleted && t.Status != registry.Gone && t.Status != registry.Moved && t.Version < head
}

// behindCell is whether a tenant is behind, null where nobody knows.
func behindCell(t registry.Tenant, head int64) any {
	if head == unknownHead {
		return nil
	}
	return isBehind(t, head)
}

func statusCell(s registry.Status) any {
	switch s {
	case registry.Suspended, registry.Leaving, registry.Incoming:
		return cli.Styled{Value: string(s), Color: cli.Yellow}
	case registry.Deleted, registry.Gone, registry.Moved:
		return cli.Styled{Value: string(s), Color: cli.Dim}
	case registry.Purging, statusInvalid:
		return cli.Styled{Value: string(s), Color: cli.Red}
	}
	return string(s)
}
