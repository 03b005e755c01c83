package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// manOptions are the options of `crmctl man`.
type manOptions struct {
	dir    string
	format string
}

func newManCmd(f *factory) *cobra.Command {
	opts := &manOptions{}
	cmd := &cobra.Command{
		Use:   "man DIR",
		Short: "write the manual, a page for each command",
		Long: `Write a page for each command and topic into a directory: man pages, or Markdown. The packages
bring the man pages along.`,
		Example: `crmctl man man1
crmctl man docs/reference --format markdown`,
		Args: cli.ExactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.dir = args[0]
			return runMan(cmd.Context(), f, cmd.Root(), opts)
		},
	}
	cmd.Flags().Var(cli.NewEnum(&opts.format, "man", []string{"man", "markdown"}), "format",
		"the pages' `FORMAT`: man or markdown")
	cli.RegisterCompletion(cmd, "format", cli.CompleteWords("man", "markdown"))
	cli.NoConfig(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runMan(_ context.Context, f *factory, root *cobra.Command, opts *manOptions) error {
	m := &cli.Manual{Exits: exitTexts(), Source: "crmctl", Section: "1", Date: f.Now()}
	write := m.WriteMarkdown
	if opts.format == "man" {
		m.Source = programName()
		if built, err := time.Parse(time.RFC3339, readVersion().Date); err == nil {
			m.Date = built // the same commit gives the same pages
		}
		write = m.WriteMan
	}
	pages, err := write(root, opts.dir)
	if err == nil {
		f.Note("wrote     %s into %s", cli.Plural(pages, "page"), cli.Visible(opts.dir))
	}
	return err
}
