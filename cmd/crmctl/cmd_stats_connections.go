package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsSessionsOptions are the options of the statistics of sessions.
type statsSessionsOptions struct {
	selection

	top int
}

func (o *statsSessionsOptions) addFlags(f *factory, cmd *cobra.Command) {
	o.selection.addFlags(f, cmd)
	cmd.Flags().IntVar(&o.top, "top", 0, "only the first `N` rows; 0 for all")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
}

func (o *statsSessionsOptions) validate() error {
	if o.top < 0 {
		return cli.Usagef("--top %d: want 0 (all) or more", o.top)
	}
	return nil
}

// look returns the sessions, those of the selected tenants where some are selected.
func (o *statsSessionsOptions) look(ctx context.Context, f *factory) (*cli.Printer, stats.Sessions, error) {
	var found stats.Sessions
	if err := o.validate(); err != nil {
		return nil, found, err
	}
	m, err := o.read(f)
	if err != nil {
		return nil, found, err
	}
	p, err := f.printer()
	if err != nil {
		return nil, found, err
	}
	a, err := f.app()
	if err != nil {
		return nil, found, err
	}
	f.Reads.Store(true)
	found, chosen, err := a.Sessions(ctx, m)
	if chosen != nil {
		found.Sessions = found.Of(chosen)
	}
	return p, found, err
}

// howKnown is the part of a help that says whose a session is.
const howKnown = `Whose a session is, is known by the tables that it has locked; otherwise by its application_name
("crmctl:acme", "web/acme", or a tenant's schema); otherwise by its role, where that is the tenant's
own and logs in. An idle session without such a name or role is (unknown), one that has locked
tables of more than one tenant is of (several).

What it costs: one pass over the server's lock table and its list of sessions, read only, given up
after 5 seconds. Tables of tenants are not touched.`

func newStatsConnectionsCmd(f *factory) *cobra.Command {
	opts := &statsSessionsOptions{}
	cmd := &cobra.Command{
		Use:   "connections",
		Short: "who is connected, for which tenant, and how much room is left",
		Long: `Show the connections to the database by tenant: how many run a statement, are idle, are idle in a
transaction or wait for a lock, and the longest of each. The last line says how many more may
connect.

` + howKnown,
		Example: `crmctl stats connections
crmctl stats connections --top 10
crmctl stats connections --tenant acme-corp -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatsConnections(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	return cmd
}

func runStatsConnections(ctx context.Context, f *factory, opts *statsSessionsOptions) error {
	p, found, err := opts.look(ctx, f)
	if err != nil {
		return err
	}
	rows := found.ByTenant()
	return printSessions(f, p, connectionsList(found, rows), firstOf(rows, opts.top), found)
}
