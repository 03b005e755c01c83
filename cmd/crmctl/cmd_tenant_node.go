package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
)

// tenantNodeOptions are the options of the commands that place a tenant of a cluster.
type tenantNodeOptions struct {
	tenantMoveOptions

	to          string
	blockWrites bool
	all         bool
	stmtTimeout time.Duration
}

func newTenantToNodeCmd(f *factory) *cobra.Command {
	opts := &tenantNodeOptions{}
	cmd := placeCmd(f, opts, "moved", func(a *app.App, ctx context.Context) (app.Placed, error) {
		return a.MoveToNode(ctx, app.NodeMoveOptions{MoveOptions: opts.move(), To: opts.to,
			BlockWrites: opts.blockWrites, Timeout: opts.stmtTimeout})
	}, &cobra.Command{
		Use:   "move TENANT --to HOST:PORT",
		Short: "move a tenant to another node of a Citus cluster",
		Long: `Move a tenant of a Citus cluster to another node. The application reads and writes it meanwhile; writes
wait for a moment at the end. A table without a primary key needs --block-writes: writes wait for as
long as the copy takes. Migrations, imports and other moves of the tenant wait. Should it fail, or end
at --statement-timeout, the tenant stays where it is.

"crmctl cluster nodes" lists the nodes.`,
		Example: `crmctl tenant move acme-corp --to worker2:5432
crmctl tenant move acme-corp --to worker2:5432 --block-writes`,
	})
	fs := cmd.Flags()
	fs.StringVar(&opts.to, "to", "", "the node, `HOST:PORT` as \"crmctl cluster nodes\" shows it")
	fs.BoolVar(&opts.blockWrites, "block-writes", false, "let nobody write to the tenant during the copy")
	fs.Var(newDuration(&opts.stmtTimeout, "1h"), "statement-timeout", "give up after this `DURATION`; 0 for never")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func newTenantDistributeCmd(f *factory) *cobra.Command {
	opts := &tenantNodeOptions{}
	cmd := placeCmd(f, opts, "distributed", func(a *app.App, ctx context.Context) (app.Placed, error) {
		return a.DistributeTenant(ctx, opts.move())
	}, &cobra.Command{
		Use:   "distribute TENANT | --all",
		Short: "give local tenants of a Citus cluster to its nodes",
		Long: `Give a tenant that stands on the coordinator of a Citus cluster, as one does that is older than the
cluster, to one of the nodes. Nobody writes to it meanwhile. Its rows are counted before and after, and
where a table has not all of them nothing is changed. Then what it took on the coordinator is freed.

Citus refuses triggers, foreign keys to tables outside of the schema, inheritance, foreign tables, and
identity columns that are no bigint: a tenant that has some is left as it is, and they are named. With
--dry-run this is all that is done.

--all gives every local tenant to a node, one after another. The same command goes on where it was cut
short.`,
		Example: `crmctl tenant distribute acme-corp
crmctl tenant distribute --all --dry-run`,
	})
	one := cmd.RunE
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if opts.all && len(args) > 0 {
			return cli.Usagef("--all is for every tenant: name none")
		}
		if opts.all {
			return nil
		}
		return cli.ExactArgs("TENANT")(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.all {
			return runDistributeAll(cmd.Context(), f, opts)
		}
		return one(cmd, args)
	}
	cmd.Flags().BoolVar(&opts.all, "all", false, "every tenant that stands on the coordinator")
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runDistributeAll(ctx context.Context, f *factory, opts *tenantNodeOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.DistributeAll(ctx, opts.move())
	if err != nil {
		return err
	}
	f.skipInvalid(done.Invalid)
	slug := func(i int) string { return done.Placed[i].Slug }
	var rows []placedRow
	for i, r := range done.Results {
		row := placedRow{done.Placed[i], opts.result("distributed"), r.Err}
		switch r.State {
		case fleet.Done:
		case fleet.Failed:
			row.result = resultFailed
		case fleet.NotStarted:
			row.result = resultNotStarted
		}
		if r.State == fleet.Done || !p.IsTable() {
			rows = append(rows, row)
		}
	}
	f.sayFailures(done.Results, slug, func(err error) error { return err })
	if err := cli.PrintList(p, placedList(f), rows); err != nil {
		return err
	}
	s := done.Summary()
	if s.Items > manyTenants && !opts.dryRun {
		f.Note("%s", runLine(s, done.Elapsed))
	}
	return f.end(runEnd{Summary: s, did: "distributed"})
}

func newTenantUndistributeCmd(f *factory) *cobra.Command {
	opts := &tenantNodeOptions{}
	return placeCmd(f, opts, "local", func(a *app.App, ctx context.Context) (app.Placed, error) {
		return a.UndistributeTenant(ctx, opts.move())
	}, &cobra.Command{
		Use:   "undistribute TENANT",
		Short: "bring a tenant of a Citus cluster back to the coordinator",
		Long: `Bring a tenant back from its node to the coordinator. Nobody writes to it meanwhile. Its rows are
counted before and after, and where a table has not all of them nothing is changed.`,
		Example: "crmctl tenant undistribute acme-corp",
	})
}

func placeCmd(f *factory, opts *tenantNodeOptions, done string,
	place func(*app.App, context.Context) (app.Placed, error), cmd *cobra.Command) *cobra.Command {
	cmd.Args = cli.ExactArgs("TENANT")
	cmd.ValidArgsFunction = completeOne(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts.name = args[0]
		p, a, err := f.begin()
		if err != nil {
			return err
		}
		placed, err := place(a, cmd.Context())
		if err != nil {
			return err
		}
		return cli.PrintList(p, placedList(f), []placedRow{{placed, opts.result(done), nil}})
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

// placedRow is what became of one tenant.
type placedRow struct {
	app.Placed

	result string
	err    error // in answers for programs alone
}

func placedList(f *factory) cli.List[placedRow] {
	return cli.List[placedRow]{
		Plural: "tenants",
		Columns: []cli.Column[placedRow]{
			{Name: "result", Value: func(r placedRow) any {
				if !r.Changed() && r.err == nil {
					return "unchanged"
				}
				return r.result
			}},
			{Name: "tenant", Value: func(r placedRow) any { return r.Slug }},
			{Name: "kind", Value: func(r placedRow) any { return string(r.After.Kind) }},
			{Name: "node", Value: func(r placedRow) any { return r.After.Node }},
			{Name: "from_node", Title: "FROM", Value: func(r placedRow) any { return r.Before.Node }},
			{Name: "error", Document: true, Optional: true, Value: func(r placedRow) any {
				if r.err == nil {
					return nil
				}
				return f.redact(f.withTarget(r.err).Error())
			}},
		},
		Name: func(r placedRow) string { return r.Slug },
	}
}
