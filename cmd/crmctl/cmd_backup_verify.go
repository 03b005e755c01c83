package main

import (
	"context"
	"fmt"
	"path/filepath"

	"filippo.io/age"
	"github.com/spf13/cobra"

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
	p, err := f.printer()
	if err != nil {
		return err
	}
	files, err := backupFiles(f, opts.files)
	if err != nil {
		return err
	}
	bar := f.NewProgress(cli.ProgressOptions{Verb: "verify", Bytes: true})
	defer bar.Finish()
	trial, err := newBackupTrial(ctx, f, keys, opts.restore, opts.trust)
	if err != nil {
		return err
	}
	defer trial.close(ctx)
	var rows []backupRecord
	var first error
	bad := 0
	for _, path := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		row, err := verifyFile(ctx, path, keys, trial, bar.Add)
		if err != nil {
			bad++
			first = cmpErr(first, err)
		}
		rows = append(rows, row)
	}
	bar.Finish()
	if err := cli.PrintList(p, backupList(""), rows); err != nil {
		return err
	}
	switch {
	case bad == 0:
		return nil
	case len(rows) == 1:
		return backupHint(fmt.Errorf("%s: %w", files[0], first))
	case bad == len(rows):
		return cli.ExitTold(cli.ExitFailure, "none of %s is whole", cli.Plural(bad, "backup"))
	}
	return cli.ExitTold(cli.ExitPartial, "%d of %s not whole", bad, cli.Plural(len(rows), "backup"))
}

// backupFiles returns the files that paths mean: a directory stands for the backups in
// it, and a checksum for its backup. None twice; no backup at all is an error.
func backupFiles(f *factory, paths []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	add := func(path string) {
		if path = filepath.Clean(path); !seen[path] {
			seen[path], out = true, append(out, path)
		}
	}
	for _, path := range paths {
		if of, ok := backup.ChecksumOf(filepath.Base(path)); ok {
			path = filepath.Join(filepath.Dir(path), of)
		}
		if !isDir(path) {
			add(path)
			continue
		}
		dir, err := backup.OpenDir(path, false)
		if err != nil {
			return nil, cli.WithCode(err, cli.ExitUsage)
		}
		files, orphans, err := dir.Files()
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			add(dir.Path(file))
		}
		for _, file := range orphans {
			f.Note("crmctl: warning: %s is the checksum of a file that is not there", cli.Visible(dir.Path(file)))
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("no backups in %s", cli.Visible(path))
		}
	}
	return out, nil
}

// verifyFile reads a file. The row says what is wrong with it, as the error does.
func verifyFile(ctx context.Context, path string, keys []age.Identity, trial *backupTrial,
	progress func(int64)) (backupRecord, error) {
	found, err := backup.Examine(ctx, path, keys, progress)
	row := recordOfBackup("whole", path, found.Name, found.Size, found.Manifest)
	row.Encrypted = row.Encrypted || found.Encrypted
	if row.Format == "" {
		row.Format = string(backup.FormatContainer)
	}
	if err != nil {
		row.Result, row.Reason = badResult(err), err.Error()
		return row, err
	}
	err = trial.try(ctx, path, &row, found.Manifest)
	return row, err
}
