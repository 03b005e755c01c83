package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

func newContactsCmd(f *factory) *cobra.Command {
	return cli.NewGroup("contacts", "the contacts of a tenant",
		newContactsExportCmd(f),
		newContactsListCmd(f),
		newContactsShowCmd(f),
		newContactsAddCmd(f),
		newContactsEditCmd(f),
		newContactsRemoveCmd(f),
		newContactsSearchCmd(f),
		newContactsDedupeCmd(f),
		newContactsPersonCmd(f),
		newContactsImportCmd(f),
		newContactsImportsCmd(f),
		newContactsInspectCmd(f),
	)
}
