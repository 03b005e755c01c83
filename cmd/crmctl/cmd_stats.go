package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

func newStatsCmd(f *factory) *cobra.Command {
	group := cli.NewGroup("stats", "what the fleet takes and does",
		newStatsSizesCmd(f, nil),
		newStatsLoadCmd(f),
		newStatsTopCmd(f),
		newStatsCatalogCmd(f),
		newStatsConnectionsCmd(f),
		newStatsActivityCmd(f),
		newStatsLocksCmd(f),
		newStatsDiagnoseCmd(f),
		newStatsIndexesCmd(f),
		newStatsQueriesCmd(f),
		newStatsExplainCmd(f),
		cli.Seldom(newStatsMetricsCmd(f)),
		newStatsServeCmd(f),
	)
	for _, cmd := range group.Commands() {
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			cmd.SetContext(stats.Bounded(cmd.Context()))
			return run(cmd, args)
		}
	}
	return group
}
