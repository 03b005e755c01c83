package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// completionOptions are the options of `crmctl completion`.
type completionOptions struct {
	shell          string
	noDescriptions bool
}

func newCompletionCmd(f *factory, runF func(context.Context, *cobra.Command, *completionOptions) error) *cobra.Command {
	opts := &completionOptions{}
	if runF == nil {
		runF = func(_ context.Context, root *cobra.Command, opts *completionOptions) error {
			return cli.WriteCompletion(f.IO.Out, root, opts.shell, !opts.noDescriptions)
		}
	}
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "a script that lets the shell complete commands, flags and tenants",
		Long: `Print a script that lets bash, zsh, fish or powershell complete commands, flags, and the
names of tenants as long as the database answers within a second. Nothing else has to be
installed for it.`,
		Example: `source <(crmctl completion bash)                                 # this bash
crmctl completion bash > /etc/bash_completion.d/crmctl           # every bash
crmctl completion zsh > "${fpath[1]}/_crmctl"                    # zsh
crmctl completion fish > ~/.config/fish/completions/crmctl.fish  # fish
crmctl completion powershell | Out-String | Invoke-Expression    # PowerShell`,
		ValidArgs: cli.Shells(),
		Args:      cli.ExactArgs("SHELL (bash, zsh, fish or powershell)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.shell = args[0]
			return runF(cmd.Context(), cmd.Root(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.noDescriptions, "no-descriptions", false, "complete without descriptions")
	cli.NoConfig(cmd)
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}
