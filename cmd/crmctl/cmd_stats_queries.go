package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsQueriesOptions are the options of `crmctl stats queries`.
type statsQueriesOptions struct {
	selection

	by    string
	sort  string
	limit int
}

const byTenant = "tenant"

func newStatsQueriesCmd(f *factory) *cobra.Command {
	opts := &statsQueriesOptions{}
	cmd := &cobra.Command{
		Use:   "queries",
		Short: "which statements take the time, over all tenants",
		Long: `Show the statements that take most of the server's time, as pg_stat_statements has counted them
in this database: calls, total and average time, rows, and the part of the blocks that was in
shared buffers (HIT). Before PostgreSQL 18 the server has an entry for each tenant; here they are
one line, whatever schema, comment, constants or length of a list they have. Statements inside of
functions are part of their call.

--by tenant shows the average time per tenant, and --tenant the statements of some. PostgreSQL
does not keep the search path of a statement, so a tenant's are known by the tenant's own role
("tenant create --role"), or before PostgreSQL 18 by the schema in their text. What is left is
(unknown). Texts of other roles are hidden unless this role has pg_read_all_stats.

pg_stat_statements comes with PostgreSQL. Where it is missing:
  1. Add it to shared_preload_libraries in postgresql.conf, behind a comma if
     others are there, and restart the server. Amazon RDS and Aurora, Cloud SQL,
     Supabase, Neon and Heroku have it loaded. Azure has it among the server
     parameters, and allows it under azure.extensions.
  2. Once in this database, in any schema: CREATE EXTENSION pg_stat_statements
With many tenants before PostgreSQL 18, raise pg_stat_statements.max: one entry a tenant and
statement. When there is no room the least used are thrown away, which is said below the table.

What it costs: the server reads its file of texts; no lock on any tenant's table.`,
		Example: `crmctl stats queries
crmctl stats queries --sort mean --limit 10
crmctl stats queries --by tenant
crmctl stats queries --tenant acme-corp -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsQueries(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.Var(cli.NewEnum(&opts.by, "query", []string{"query", byTenant}), "by", "a line for each query, or tenant: `WHAT`")
	fs.Var(cli.NewEnum(&opts.sort, string(stats.OrderTotal), orders()), "sort",
		"rank by `WHAT`: total, mean or max time, calls, rows, or blocks read")
	fs.IntVar(&opts.limit, "limit", 20, "only the first `N`; 0 for all")
	cli.RegisterCompletion(cmd, "by", cli.CompleteWords("query", byTenant))
	cli.RegisterCompletion(cmd, "sort", cli.CompleteWords(orders()...))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func orders() []string {
	var out []string
	for _, o := range stats.Orders() {
		out = append(out, string(o))
	}
	return out
}

func runStatsQueries(ctx context.Context, f *factory, opts *statsQueriesOptions) error {
	if opts.limit < 0 {
		return cli.Usagef("--limit %d: want 0 (all) or more", opts.limit)
	}
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	found, err := a.Queries(ctx, app.LookOptions{Selection: m, Skip: f.skipInvalid})
	if err != nil {
		return queriesHint(err)
	}
	found.Sort(stats.Order(opts.sort))
	s := queriesScreen{p: p, found: found, some: !m.Everything(), whose: opts.by == byTenant}
	if opts.by == byTenant {
		err = cli.PrintList(p, s.tenantList(), firstOf(s.tenants(), opts.limit))
	} else {
		err = cli.PrintList(p, s.list(), firstOf(found.Queries, opts.limit))
	}
	if err == nil {
		f.noteBelow(p, s.gaps())
	}
	return err
}

// queriesHint says how to get pg_stat_statements where it is not there.
func queriesHint(err error) error {
	more := cli.Hint{Label: "where, and on managed services", Command: "crmctl stats queries --help"}
	var hints []cli.Hint
	switch {
	case errors.Is(err, stats.ErrNotLoaded):
		hints = []cli.Hint{{Label: "add it there, restart the server, then as a superuser",
			Command: "create extension pg_stat_statements"}, more}
	case errors.Is(err, stats.ErrNotCreated):
		hints = []cli.Hint{{Label: "as a superuser", Command: "create extension pg_stat_statements"}, more}
	case errors.Is(err, stats.ErrOutdated):
		hints = []cli.Hint{{Label: "as a superuser", Command: "alter extension pg_stat_statements update"}}
	default:
		return err
	}
	return &cli.Error{Err: err, Hints: hints}
}
