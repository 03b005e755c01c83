package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/exporter"
)

func newContactsExportCmd(f *factory) *cobra.Command {
	const long = `Write the contacts of a tenant, or of several, as CSV, JSON lines, vCard 4.0 or XLSX, as they are
at one moment. In each format "contacts import" reads the file again without a change: into the same
tenant nothing is new, into an empty one come the same contacts, with ids of their own. A contact
without an e-mail address is known there by all its other fields.

In CSV a ' stands before what a spreadsheet would compute, such as =1+1 and +491711234567; an
import takes it away again, and --raw leaves it out. NULL is an empty cell, an empty text is "". An
XLSX has at most 1,048,575 contacts, which are counted first. --preset writes what Google or Outlook
import, and nothing else of a contact; of telephone numbers it leaves the ' out. An application's own table is written with its own columns.
Suspended tenants are read too. Where a tenant has columns that others have not, theirs are empty.

--anonymize replaces ids, addresses, numbers, names, companies, other texts and the names of
tenants by fakes, the same one for the same value, and leaves metadata empty but for --keep-metadata.
Of times the day stays (UTC). With --keep-columns columns stay as they are: created_at, where the order
matters. With the same --seed the files of contacts, conversations and messages go together.

A file has its name once it is whole, is read by its owner alone, and replaces one of that name.`
	return newExportCmd(f, exporter.Contacts, long,
		`crmctl contacts export --tenant acme-corp --to contacts.csv
crmctl contacts export --tenant acme-corp --format vcard > contacts.vcf
crmctl contacts export --all-tenants --since 7d --to changed.jsonl.zst
crmctl contacts export --tenant acme-corp --anonymize --to demo.xlsx`)
}

// newExportCmd returns the command that exports a table.
func newExportCmd(f *factory, table exporter.Table, long, example string) *cobra.Command {
	opts := &exportOptions{table: table}
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "write " + string(table) + " to a file",
		Long:    long,
		Example: example,
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			output := ""
			if flag := cmd.Flags().Lookup("output"); flag != nil && flag.Changed {
				output = flag.Value.String()
			}
			return runExport(cmd.Context(), f, opts, output)
		},
	}
	opts.addFlags(f, cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}
