package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

func newStatsCmd(f *factory) *cobra.Command {
	return cli.NewGroup("stats", "what the fleet takes and does",
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
		newStatsMetricsCmd(f),
		newStatsServeCmd(f),
	)
}
