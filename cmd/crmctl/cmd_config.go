package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

func newConfigCmd(f *factory) *cobra.Command {
	return cli.NewGroup("config", "what crmctl was told, and where",
		newConfigShowCmd(f, nil),
		newConfigPathCmd(f),
	)
}

// configShowOptions are the options of `crmctl config show`.
type configShowOptions struct {
	origin bool
}

func newConfigShowCmd(f *factory, runF func(context.Context, *factory, *configShowOptions) error) *cobra.Command {
	opts := &configShowOptions{}
	if runF == nil {
		runF = runConfigShow
	}
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "every setting, with --origin where it comes from",
		Example: "crmctl config show --origin\ncrmctl --profile prod config show -o json",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), f, opts) },
	}
	cmd.Flags().BoolVar(&opts.origin, "origin", false, "show where each value comes from")
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runConfigShow(_ context.Context, f *factory, opts *configShowOptions) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	settings := cfg.Settings()
	// A connection string leaves much to the environment; the target does not.
	if target, err := f.targetText(); err == nil {
		settings = append([]config.Setting{{Key: "target", Value: target,
			Origin: "the settings below, PG*, .pgpass"}}, settings...)
	}
	columns := []cli.Column[config.Setting]{
		{Name: "key", Value: func(s config.Setting) any { return s.Key }},
		{Name: "value", Text: true, Value: func(s config.Setting) any { return s.Value }},
	}
	if opts.origin {
		columns = append(columns, cli.Column[config.Setting]{Name: "origin", Text: true, Value: func(s config.Setting) any {
			if s.Origin == "default" || s.Origin == "not set" {
				return cli.Styled{Value: s.Origin, Color: cli.Dim}
			}
			return s.Origin
		}})
	}
	return cli.PrintList(p, cli.List[config.Setting]{
		Plural:  "settings",
		Columns: columns,
		Name:    func(s config.Setting) string { return s.Key },
	}, settings)
}

func newConfigPathCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "path",
		Short:   "where configuration files are looked for, the strongest first",
		Example: "crmctl config path",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runConfigPath(cmd.Context(), f) },
	}
	readOnly(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

func runConfigPath(_ context.Context, f *factory) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	return cli.PrintList(p, cli.List[config.File]{
		Plural: "files",
		Columns: []cli.Column[config.File]{
			{Name: "kind", Value: func(file config.File) any { return file.Kind }},
			{Name: "used", Value: func(file config.File) any { return file.Read }},
			{Name: "file", Copied: true, Value: func(file config.File) any { return file.Path }},
		},
		Name: func(file config.File) string { return file.Path },
	}, cfg.Files())
}
