package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// tenantNodeOptions are the options of the commands that place a tenant of a cluster.
type tenantNodeOptions struct {
	tenantMoveOptions

	to          string
	blockWrites bool
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
	return placeCmd(f, opts, "distributed", func(a *app.App, ctx context.Context) (app.Placed, error) {
		return a.DistributeTenant(ctx, opts.move())
	}, &cobra.Command{
		Use:   "distribute TENANT",
		Short: "give a local tenant of a Citus cluster to a node",
		Long: `Give a tenant that stands on the coordinator of a Citus cluster, as one does that is older than the
cluster, to one of the nodes. Nobody writes to it meanwhile. Its rows are counted before and after, and
where a table has not all of them nothing is changed. Then what it took on the coordinator is freed.
Citus refuses tables with triggers, and foreign keys to tables outside of the schema.`,
		Example: "crmctl tenant distribute acme-corp",
	})
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
		return cli.PrintList(p, placedList(opts.result(done)), []app.Placed{placed})
	}
	opts.addFlags(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func placedList(done string) cli.List[app.Placed] {
	return cli.List[app.Placed]{
		Plural: "tenants",
		Columns: []cli.Column[app.Placed]{
			{Name: "result", Value: func(p app.Placed) any {
				if !p.Changed() {
					return "unchanged"
				}
				return done
			}},
			{Name: "tenant", Value: func(p app.Placed) any { return p.Slug }},
			{Name: "kind", Value: func(p app.Placed) any { return string(p.After.Kind) }},
			{Name: "node", Value: func(p app.Placed) any { return p.After.Node }},
			{Name: "from_node", Title: "FROM", Value: func(p app.Placed) any { return p.Before.Node }},
		},
		Name: func(p app.Placed) string { return p.Slug },
	}
}
