package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/backup"
)

// backupVerifyOptions are the options of `crmctl backup verify`.
type backupVerifyOptions struct {
	files    []string
	identity []string
}

func newBackupVerifyCmd(f *factory, runF func(context.Context, *factory, *backupVerifyOptions) error) *cobra.Command {
	opts := &backupVerifyOptions{}
	if runF == nil {
		runF = runBackupVerify
	}
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "read backups and check every checksum and count",
		Long: `Read backups from end to end and check every checksum and count, without a database. What a
file holds is not written anywhere. Exit code 3 says that some are not whole, 1 that all are not.`,
		Example: "crmctl backup verify backups/*.crmctl\ncrmctl backup verify acme-corp-20261124T091500Z-v4.crmctl.age --identity key.txt",
		Args:    minArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.files = args
			return runF(cmd.Context(), f, opts)
		},
	}
	addIdentityFlag(cmd.Flags(), &opts.identity)
	documentExits(cmd, exitPartial)
	return cmd
}

func runBackupVerify(ctx context.Context, f *factory, opts *backupVerifyOptions) error {
	keys, err := identities(opts.identity)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	bar := f.newProgress(progressOptions{verb: "verify", bytes: true})
	defer bar.finish()
	var rows []backupRecord
	var first error
	bad := 0
	for _, path := range opts.files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		row, err := verifyFile(ctx, path, keys, bar.add)
		if err != nil {
			bad++
			first = cmpErr(first, err)
			row.Reason = err.Error()
			if errors.Is(err, backup.ErrEncrypted) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				row.Result = "not read"
			}
		}
		rows = append(rows, row)
	}
	bar.finish()
	if err := printList(p, backupList(""), rows); err != nil {
		return err
	}
	switch {
	case bad == 0:
		return nil
	case len(rows) == 1:
		return backupHint(fmt.Errorf("%s: %w", opts.files[0], first))
	case bad == len(rows):
		return exitWith(exitFailure)
	}
	return exitWith(exitPartial)
}

func verifyFile(ctx context.Context, path string, keys []age.Identity, progress func(int64)) (backupRecord, error) {
	name, _ := backup.ParseName(filepath.Base(path))
	row := recordOfBackup("damaged", path, name, 0, nil)
	in, err := backup.OpenFile(path, keys, func(n int64) { progress(n) })
	if err != nil {
		return row, err
	}
	defer func() { _ = in.Close() }()
	m, err := backup.Verify(&untilDone{ctx, in}, nil)
	if err != nil {
		row.SizeBytes, row.Encrypted = in.Size, in.Encrypted
		return row, err
	}
	name.Encrypted, name.Format = in.Encrypted, backup.FormatContainer
	return recordOfBackup("whole", path, name, in.Size, m), nil
}
