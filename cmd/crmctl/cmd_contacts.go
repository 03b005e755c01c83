package main

import "github.com/spf13/cobra"

func newContactsCmd(f *factory) *cobra.Command {
	return newGroup("contacts", "the contacts of a tenant",
		newContactsImportCmd(f, nil),
	)
}
