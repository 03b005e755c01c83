package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// psqlOptions are the options of `crmctl psql`.
type psqlOptions struct {
	name  string
	args  []string // for psql
	write bool
}

func newPsqlCmd(f *factory) *cobra.Command {
	opts := &psqlOptions{}
	cmd := &cobra.Command{
		Use:   "psql TENANT [-- PSQL-ARGUMENTS]",
		Short: "open psql in a tenant's schema",
		Long: `Open the real psql with the tenant's schema on the search path, and behind it what the migrations
have there: schemas of extensions, and shared_schemas. What stands behind -- is passed on to it; the
exit code is psql's.

Sessions are read only unless --write is given: default_transaction_read_only is on. That is a
guard against slips, which "set default_transaction_read_only = off" takes away.

The session keeps its settings only on a connection of its own: behind a pooler,
direct_database_url says how to get past it.`,
		Example: `crmctl psql acme-corp
crmctl psql acme-corp --write
crmctl psql acme-corp -- -c '\dt+'
crmctl psql acme-corp -- -At -f report.sql`,
		Args: func(cmd *cobra.Command, args []string) error {
			n := cmd.ArgsLenAtDash()
			if n < 0 {
				n = len(args)
			}
			if n > 1 {
				return cli.WithHint(cli.Usagef("%q takes one TENANT, and psql's arguments behind --: %q", cmd.CommandPath(),
					args[1]), "try", cmd.CommandPath()+" "+args[0]+" -- "+strings.Join(args[1:], " "))
			}
			return cli.ExactArgs("TENANT")(cmd, args[:n])
		},
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name, opts.args = args[0], args[1:]
			return runPsql(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().BoolVar(&opts.write, "write", false, "let the session change data")
	addExpectDatabaseFlag(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runPsql(ctx context.Context, f *factory, opts *psqlOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	s, err := a.Psql(ctx, app.PsqlOptions{Slug: slug, Write: opts.write})
	switch {
	case errors.Is(err, app.ErrNoPsql):
		return cli.WithHint(err, "install PostgreSQL's client programs, e.g.", "apt install postgresql-client")
	case errors.Is(err, app.ErrNotScoped):
		return cli.WithHint(err, "set the address past it", "direct_database_url (CRMCTL_DIRECT_DATABASE_URL)")
	case err != nil:
		return err
	}
	cfg := a.Config
	env := f.programEnv(cfg, cfg.DatabaseURL, f.IO.Env, s.Password)
	f.Verbose("psql is %s", s.Program)
	args := append(append([]string{s.Program}, opts.args...), "--dbname="+s.Address)
	return cli.Become(s.Program, args, env, f.IO)
}
