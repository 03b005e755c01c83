package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

func newMigrateCmd(f *factory) *cobra.Command {
	return cli.NewGroup("migrate", "bring the registry and the tenants to the newest version",
		newMigratePublicCmd(f),
		newMigrateAllCmd(f),
		newMigrateTenantCmd(f),
		newMigratePlanCmd(f),
		newMigrateStatusCmd(f),
		newMigrateDriftCmd(f, nil),
		newMigrateRunsCmd(f),
		newMigrateRetryCmd(f),
		newMigrateRollbackCmd(f),
		newMigrateRedoCmd(f),
		newMigrateRepairCmd(f),
		newMigrateAdoptCmd(f, nil),
		newMigrateLintCmd(f, nil),
		newMigrateNewCmd(f, nil),
	)
}
