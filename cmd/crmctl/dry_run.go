package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// Every command says of itself what a dry run means to it: it has --dry-run, or it
// changes nothing (readOnly). One that says neither does not run while a dry run is asked for:
// forgetting is safe, and a test
// finds it.
const (
	annotationReadOnly = "read-only"
	always             = "always"
)

// readOnly marks a command that changes neither a database nor a file.
func readOnly(cmd *cobra.Command) { cli.Annotate(cmd, annotationReadOnly, always) }

// dryRunFlag is the name of --dry-run; CRMCTL_DRY_RUN and the key dry_run of a file
// or a profile switch the same on.
const dryRunFlag = "dry-run"

// refuseDryRun keeps a command from running that could not but change something.
func refuseDryRun(cmd *cobra.Command, cfg *config.Config) error {
	if !cfg.DryRun || cmd.Annotations[annotationReadOnly] == always || cmd.Flags().Lookup(dryRunFlag) != nil {
		return nil
	}
	return cli.WithHint(cli.Usagef("%q cannot say what it would do without doing it; nothing was done", cmd.CommandPath()),
		"a dry run is asked for by", cfg.Setting(config.KeyDryRun).Origin)
}
