package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
)

// backupPruneOptions are the options of `crmctl backup prune`.
type backupPruneOptions struct {
	dir      string
	keep     string
	identity []string
	dryRun   bool
}

func newBackupPruneCmd(f *factory) *cobra.Command {
	opts := &backupPruneOptions{}
	cmd := &cobra.Command{
		Use:   "prune DIR --keep 7d,4w,6m",
		Short: "remove old backups by a rule",
		Long: `Remove old backups. Of each tenant the newest of each of the last so many days, weeks, months
and years that have one is kept; a day without a backup does not count, so a tenant whose
backups have stopped keeps its old ones. Never removed are the newest whole backup of a tenant,
files that are damaged (they do not count as backups either), and files of any other kind.

What stays of a tenant that loses a backup is read from end to end first: where it is damaged,
an older whole one stays in its place. Encrypted files and those of pg_dump are held to the
checksum beside them (FILE.sha256), so no key is needed. One that has none (an older crmctl
wrote it, or it was moved without) is not relied on: it stays, and others stay beside it,
unless --identity opens it. Two prunes of one directory do not run at once.`,
		Example: "crmctl backup prune backups --keep 7d,4w,6m --dry-run\ncrmctl backup prune backups --keep 7d,4w,6m --yes",
		Args:    cli.ExactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.dir = args[0]
			return runBackupPrune(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.keep, "keep", "", "how many backups of each tenant stay, as a `RULE`: 7d,4w,6m,2y")
	addIdentityFlag(fs, &opts.identity)
	addDryRunFlag(fs, &opts.dryRun)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitLocked)
	return cmd
}

func runBackupPrune(ctx context.Context, f *factory, opts *backupPruneOptions) error {
	if opts.keep == "" {
		return cli.Usagef("say what stays: --keep 7d,4w,6m")
	}
	keep, err := backup.ParseKeep(opts.keep)
	if err != nil {
		return cli.Usagef("--keep: %w", err)
	}
	keys, err := f.identities(opts.identity)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	plan, err := a.PruneBackups(ctx, app.PruneOptions{
		Path: opts.dir, Keep: keep, Identities: keys, DryRun: opts.dryRun,
		Confirm: func(ctx context.Context, going int) error {
			return f.ConfirmYes(ctx, fmt.Sprintf("Remove %s from %s for good?", cli.Plural(going, "backup"),
				cli.Visible(opts.dir)))
		},
	})
	switch {
	case errors.Is(err, backup.ErrLocked):
		return cli.WithCode(err, cli.ExitLocked)
	case plan == nil:
		return err
	}
	if printErr := reportPruned(f, p, plan, opts.dryRun); printErr != nil {
		return printErr
	}
	return cli.WithCode(err, cli.ExitPartial)
}

// reportPruned prints what goes, what is damaged, and what is not relied on; with --verbose, and to
// programs, also what stays and why.
func reportPruned(f *factory, p *cli.Printer, plan []app.PrunedBackup, dryRun bool) error {
	result, space := "removed", "freed"
	if dryRun {
		result, space = "would remove", "to be freed"
	}
	var rows []backupRecord
	kept, unproven, freed := 0, 0, int64(0)
	for _, e := range plan {
		row := recordOfBackup("kept", e.Path, e.Name, e.Size, e.Manifest)
		row.Reason = e.Reason
		switch {
		case e.Remove:
			row.Result = result
			freed += e.Size
		case e.Err != nil:
			row.Result, row.Reason = badResult(e.Err), textOf(e.Err)
		case e.Proof == backup.ProofMissing:
			kept++
			unproven++
			row.Reason = e.Why.Error()
		default:
			kept++
			if p.IsTable() && !f.flags.Verbose {
				continue
			}
		}
		rows = append(rows, row)
	}
	if err := cli.PrintList(p, backupList(""), rows); err != nil {
		return err
	}
	if unproven > 0 {
		f.Note("crmctl: warning: %s kept without being relied on        next: add --identity FILE, or crmctl backup create "+
			"again", cli.Plural(unproven, "backup"))
	}
	f.Note("%s kept, %s %s", cli.Plural(kept, "backup"), cli.HumanSize(freed), space)
	return nil
}
