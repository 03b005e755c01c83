package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsActivityOptions are the options of `crmctl stats activity`.
type statsActivityOptions struct {
	statsSessionsOptions

	least time.Duration
}

func newStatsActivityCmd(f *factory) *cobra.Command {
	opts := &statsActivityOptions{}
	cmd := &cobra.Command{
		Use:   "activity",
		Short: "what runs now, for which tenant, since when",
		Long: `Show the statements that run and the transactions that are open, the longest first: of which tenant,
for how long (a statement since it began, an idle transaction since it was opened), and what they
wait for. Background work such as autovacuum is left out.

` + howKnown,
		Example: `crmctl stats activity
crmctl stats activity --longer 5s --top 20
crmctl stats activity --tenant acme-corp -o wide`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatsActivity(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	cmd.Flags().Var(newDuration(&opts.least, "0"), "longer", "only what has taken this `DURATION` or more")
	return cmd
}

func runStatsActivity(ctx context.Context, f *factory, opts *statsActivityOptions) error {
	p, found, err := opts.look(ctx, f)
	if err != nil {
		return err
	}
	return printSessions(f, p, activityList(found), firstOf(found.Busy(opts.least), opts.top), found)
}

func activityList(found stats.Sessions) cli.List[stats.Session] {
	columns := []cli.Column[stats.Session]{
		{Name: "pid", Value: pidCell},
		{Name: "tenant", Value: func(s stats.Session) any { return tenantCell(s.Tenant, s.Whose) }},
		{Name: "duration_seconds", Title: "FOR", Right: true, Value: func(s stats.Session) any {
			return secondsCell(s.For())
		}},
		{Name: "state", Value: stateCell},
		{Name: "wait", Title: "WAITS", Value: waitCell},
		{Name: "query", Title: "STATEMENT", Value: func(s stats.Session) any { return s.Query }},
	}
	return cli.List[stats.Session]{
		Plural:  "activity",
		Columns: append(columns, sessionColumns(func(s stats.Session) stats.Session { return s })...),
		Name:    func(s stats.Session) string { return cli.ID(int(s.PID)) },
		Empty:   "nothing runs, and no transaction is open",
		Footer:  gapFooter(found),
	}
}
