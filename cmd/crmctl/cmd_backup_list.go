package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// backupListOptions are the options of `crmctl backup list`.
type backupListOptions struct {
	dir      string
	identity []string
}

func newBackupListCmd(f *factory) *cobra.Command {
	opts := &backupListOptions{}
	cmd := &cobra.Command{
		Use:   "list [DIR]",
		Short: "the backups of a directory",
		Long: `List the backups of a directory, by tenant and the newest first. Only the beginning and the
end of each file are read: that finds a file that was cut, crmctl backup verify finds the rest.
Of an encrypted file only its name is known, unless --identity opens it. Other files are left
out.`,
		Example: "crmctl backup list backups\ncrmctl backup list backups -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.dir = "."
			if len(args) > 0 {
				opts.dir = args[0]
			}
			return runBackupList(f, opts)
		},
	}
	addIdentityFlag(cmd.Flags(), &opts.identity)
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runBackupList(f *factory, opts *backupListOptions) error {
	keys, err := f.identities(opts.identity)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	found, err := a.ListBackups(opts.dir, keys)
	if err != nil {
		return err
	}
	rows := make([]backupRecord, len(found))
	for i, b := range found {
		rows[i] = recordOfBackup("there", b.Path, b.Name, b.Size, b.Manifest)
		if b.Err != nil {
			rows[i].Result, rows[i].Reason = badResult(b.Err), textOf(b.Err)
		}
	}
	return cli.PrintList(p, backupList("no backups in "+cli.Visible(opts.dir)), rows)
}
