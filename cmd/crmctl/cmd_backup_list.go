package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/backup"
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
			return runBackupList(cmd.Context(), f, opts)
		},
	}
	addIdentityFlag(cmd.Flags(), &opts.identity)
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runBackupList(_ context.Context, f *factory, opts *backupListOptions) error {
	keys, err := f.identities(opts.identity)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	dir, err := backup.OpenDir(opts.dir, false)
	if err != nil {
		return cli.WithCode(err, cli.ExitUsage)
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.List(keys)
	if err != nil {
		return err
	}
	rows := make([]backupRecord, len(entries))
	for i, e := range entries {
		rows[i] = recordOfBackup("there", dir.Path(e.File), e.Name, e.Size, e.Manifest)
		if e.Err != nil {
			rows[i].Result, rows[i].Reason = badResult(e.Err), e.Err.Error()
		}
	}
	return cli.PrintList(p, backupList("no backups in "+cli.Visible(opts.dir)), rows)
}
