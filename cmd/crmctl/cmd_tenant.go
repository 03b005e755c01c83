package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

func newTenantCmd(f *factory) *cobra.Command {
	f.listSlugs = func(ctx context.Context, prefix string) ([]string, error) {
		conn, err := f.connect(ctx)
		if err != nil {
			return nil, err
		}
		defer closeConn(ctx, conn)
		return f.registry().Slugs(ctx, conn, prefix, completionLimit)
	}
	return cli.NewGroup("tenant", "the life of a tenant, from provisioning to the last byte",
		newTenantCreateCmd(f, nil),
		newTenantCloneCmd(f, nil),
		newTenantPoolCmd(f),
		newTenantListCmd(f, nil),
		newTenantShowCmd(f, nil),
		newTenantHistoryCmd(f, nil),
		newTenantRenameCmd(f, nil),
		newTenantSetCmd(f, nil),
		newTenantSuspendCmd(f, nil),
		newTenantActivateCmd(f, nil),
		newTenantDeleteCmd(f, nil),
		newTenantUndeleteCmd(f, nil),
		newTenantPurgeCmd(f, nil),
		newTenantExecCmd(f, nil),
	)
}

// completionLimit is how many names are offered: more than fit a screen help
// nobody.
const completionLimit = 500

// tenantRecord is a tenant in JSON and YAML.
type tenantRecord struct {
	Tenant         string          `json:"tenant"`
	DisplayName    string          `json:"display_name"`
	Status         string          `json:"status"`
	Schema         string          `json:"schema"`
	SchemaVersion  int64           `json:"schema_version"`
	Behind         bool            `json:"behind"`
	SizeBytes      *int64          `json:"size_bytes"`
	Role           string          `json:"role,omitempty"`
	ID             string          `json:"id"`
	Settings       json.RawMessage `json:"settings,omitempty"`
	CreatedAt      time.Time       `json:"created_at"`
	UpdatedAt      time.Time       `json:"updated_at"`
	DeletedAt      *time.Time      `json:"deleted_at"`
	PurgeAfter     *time.Time      `json:"purge_after"`
	PurgeStartedAt *time.Time      `json:"purge_started_at,omitempty"`
	// ForeignRole and Invalid are of rows that somebody else wrote.
	ForeignRole string `json:"foreign_role,omitempty"`
	Invalid     string `json:"invalid,omitempty"`
}

func recordOf(t registry.Tenant, head int64, size *int64) tenantRecord {
	r := tenantRecord{
		Tenant: t.Slug, DisplayName: t.DisplayName, Status: string(t.State()), Schema: t.Schema.String(),
		SchemaVersion: t.Version, Behind: isBehind(t, head), SizeBytes: size, Role: t.Role, ID: t.ID,
		Settings: t.Settings, CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
		DeletedAt: utc(t.DeletedAt), PurgeAfter: utc(t.PurgeAfter), PurgeStartedAt: utc(t.PurgeStartedAt),
		ForeignRole: t.ForeignRole,
	}
	return r
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}

// isBehind tells whether a tenant lacks migrations it should have.
func isBehind(t registry.Tenant, head int64) bool {
	return t.Status != registry.Deleted && t.Version < head
}

func statusCell(s registry.Status) any {
	switch s {
	case registry.Suspended:
		return cli.Styled{Value: string(s), Color: cli.Yellow}
	case registry.Deleted:
		return cli.Styled{Value: string(s), Color: cli.Dim}
	case registry.Purging, statusInvalid:
		return cli.Styled{Value: string(s), Color: cli.Red}
	}
	return string(s)
}
