package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
)

// backupVerifyOptions are the options of `crmctl backup verify`.
type backupVerifyOptions struct {
	files    []string
	identity []string
	restore  bool
	trust    bool
}

func newBackupVerifyCmd(f *factory) *cobra.Command {
	opts := &backupVerifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify FILE|DIR...",
		Short: "read backups, check every checksum and count, and try to restore them",
		Long: `Read backups from end to end and check every checksum and count. Where a database is given,
each tenant is then restored there into a schema of its own, its rows are read back and
compared, and everything is rolled back: "restores" says that this went well with the
migrations that are there now, "whole" that it was not tried.

A directory stands for all backups in it. Of an encrypted file without --identity, and of one
of pg_dump, no more can be told than whether it is what was written, by the checksum beside
it. Exit code 3 says that some are not whole or do not restore, 1 that all are not.`,
		Example: "crmctl backup verify backups\ncrmctl backup verify backups/*.crmctl\ncrmctl backup verify " +
			"acme-20261124T091500Z-v4.crmctl.age --identity key.txt",
		Args: cli.MinArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.files = args
			return runBackupVerify(cmd.Context(), f, opts)
		},
	}
	addIdentityFlag(cmd.Flags(), &opts.identity)
	readOnly(cmd)
	cmd.Flags().BoolVar(&opts.restore, "restore", true,
		"try to restore each, rolled back; --restore=false: only read them")
	addTrustCodeFlag(cmd.Flags(), &opts.trust)
	cli.DocumentExits(cmd, cli.ExitPartial)
	return cmd
}

func runBackupVerify(ctx context.Context, f *factory, opts *backupVerifyOptions) error {
	keys, err := f.identities(opts.identity)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	found, err := a.VerifyBackups(ctx, app.VerifyOptions{Paths: opts.files, Identities: keys, Restore: opts.restore,
		TrustCode: opts.trust})
	if err != nil {
		return err
	}
	var first error
	bad := 0
	rows := make([]backupRecord, len(found))
	for i, b := range found {
		rows[i] = verifiedRow(b, opts.restore)
		if b.Err != nil {
			bad++
			first = cmpErr(first, b.Err)
		}
	}
	if err := cli.PrintList(p, backupList(""), rows); err != nil {
		return err
	}
	switch {
	case bad == 0:
		return nil
	case len(rows) == 1:
		if missingFile(first) != nil {
			return first // it names the file
		}
		return backupHint(fmt.Errorf("%s: %w", rows[0].File, first))
	case bad == len(rows):
		return cli.ExitTold(cli.ExitFailure, "none of %s is whole", cli.Plural(bad, "backup"))
	}
	return cli.ExitTold(cli.ExitPartial, "%d of %s not whole", bad, cli.Plural(len(rows), "backup"))
}

// verifiedRow says what is known of a backup that was read.
func verifiedRow(b app.VerifiedBackup, wanted bool) backupRecord {
	row := recordOfBackup("whole", b.Path, b.Name, b.Size, b.Manifest)
	row.Encrypted = row.Encrypted || b.Encrypted
	if row.Format == "" {
		row.Format = string(backup.FormatContainer)
	}
	switch {
	case b.Err != nil && b.Whole:
		row.Result, row.Reason = "does not restore", textOf(b.Err)
	case b.Err != nil:
		row.Result, row.Reason = badResult(b.Err), textOf(b.Err)
	case b.Restores:
		row.Result = "restores"
	case b.Untried != "" && !wanted:
		row.Reason, row.Wanted = "not restored: --restore=false", true
	case b.Untried != "":
		row.Reason = "not restored: " + b.Untried
	}
	return row
}
