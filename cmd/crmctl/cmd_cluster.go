package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
)

func newClusterCmd(f *factory) *cobra.Command {
	return cli.NewGroup("cluster", "the nodes of a Citus cluster that keeps the tenants",
		newClusterNodesCmd(f), newClusterRebalanceCmd(f))
}

func newClusterNodesCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "the nodes, what stands on them, and whether they are reached",
		Long: `List the nodes of the cluster: how many tenants each keeps, what these take there, and whether all
other nodes reach it. While one is not reached, no tenant's schema can be changed, of whatever node;
reading and writing goes on elsewhere. Each node is asked once, at the same time.`,
		Example: "crmctl cluster nodes",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClusterNodes(cmd.Context(), f)
		},
	}
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPending, cli.ExitUnreachable)
	return cmd
}

func runClusterNodes(ctx context.Context, f *factory) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	nodes, err := a.Nodes(ctx)
	if err != nil {
		return err
	}
	if err := cli.PrintList(p, nodeList(), nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		if !n.Reached {
			return cli.ExitWith(cli.ExitPending)
		}
	}
	return nil
}

func nodeList() cli.List[cluster.Node] {
	return cli.List[cluster.Node]{
		Plural: "nodes",
		Columns: []cli.Column[cluster.Node]{
			{Name: "node", Value: func(n cluster.Node) any { return n.Address() }},
			{Name: "role", Value: func(n cluster.Node) any {
				if n.Coordinator {
					return "coordinator"
				}
				return "worker"
			}},
			{Name: "takes_tenants", Title: "TAKES TENANTS", Value: func(n cluster.Node) any {
				return cli.Either{Human: yesNo(n.Shards && n.Active), Machine: n.Shards && n.Active}
			}},
			{Name: "tenants", Right: true, Value: func(n cluster.Node) any { return n.Tenants }},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(n cluster.Node) any { return sizeCell(n.Bytes) }},
			{Name: "reached", Value: func(n cluster.Node) any {
				if n.Reached {
					return cli.Either{Human: "yes", Machine: true}
				}
				return cli.Styled{Value: cli.Either{Human: "no", Machine: false}, Color: cli.Red}
			}},
		},
		Name: func(n cluster.Node) string { return n.Address() },
	}
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
