package main

import (
	"github.com/spf13/cobra"
)

func newMigrateCmd(f *factory) *cobra.Command {
	return newGroup("migrate", "bring the registry and the tenants to the newest version",
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
