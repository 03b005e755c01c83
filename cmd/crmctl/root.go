package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// The groups of the root help.
const (
	groupStart = "start"
	groupFleet = "fleet"
	groupData  = "data"
	groupSelf  = "self"
)

// newRootCmd builds the whole command tree afresh.
func newRootCmd(f *factory) *cobra.Command {
	root := cli.NewGroup("crmctl", "The console of a CRM that keeps every tenant in a PostgreSQL schema of its own")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.Version = buildVersion()
	root.SetVersionTemplate("crmctl {{.Version}}\n")
	root.SetIn(f.IO.In)
	root.SetOut(f.IO.Out)
	root.SetErr(f.IO.Err)
	root.SetFlagErrorFunc(cli.FlagError)
	root.SetHelpFunc(f.help.Show)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.prepare(cmd); err != nil {
			return err
		}
		return cli.RequiredFlags(cmd)
	}
	f.flags.addFlags(root.PersistentFlags())
	registerGlobalCompletions(f, root)

	root.AddGroup(
		&cobra.Group{ID: groupStart, Title: "To begin"},
		&cobra.Group{ID: groupFleet, Title: "Tenants"},
		&cobra.Group{ID: groupData, Title: "Data"},
		&cobra.Group{ID: groupSelf, Title: "crmctl"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
		}
		root.AddCommand(commands...)
	}
	add(groupStart, newLocalCmd(f), newDemoCmd(f), newSeedCmd(f))
	add(groupFleet, newTenantCmd(f), newMigrateCmd(f), newBackupCmd(f), newAuditCmd(f), newPsqlCmd(f),
		newDoctorCmd(f), newMaintenanceCmd(f), newConnectionsCmd(f), newClusterCmd(f), cli.Seldom(newPlacementCmd(f)),
		newReportCmd(f))
	add(groupData, newContactsCmd(f), newConversationsCmd(f), newMessagesCmd(f), newStatsCmd(f))
	add(groupSelf, newRegistryCmd(f), newConfigCmd(f), newCompletionCmd(f, nil), newManCmd(f), newVersionCmd(f))
	root.AddCommand(helpTopics()...)
	root.SetHelpCommandGroupID(groupSelf)
	root.SetHelpCommand(cli.NewHelpCommand(f.help))
	return root
}
