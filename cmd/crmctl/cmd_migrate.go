package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

func newMigrateCmd(f *factory) *cobra.Command {
	return cli.NewGroup("migrate", "bring the registry and the tenants to the newest version",
		newMigratePublicCmd(f, nil),
		newMigrateAllCmd(f, nil),
		newMigrateTenantCmd(f, nil),
		newMigratePlanCmd(f, nil),
		newMigrateStatusCmd(f, nil),
		newMigrateDriftCmd(f, nil),
		newMigrateRunsCmd(f, nil),
		newMigrateRetryCmd(f, nil),
		newMigrateRollbackCmd(f, nil),
		newMigrateRedoCmd(f, nil),
		newMigrateRepairCmd(f, nil),
		newMigrateAdoptCmd(f, nil),
		newMigrateLintCmd(f, nil),
		newMigrateNewCmd(f, nil),
	)
}
