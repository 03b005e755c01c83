package main

import (
	"github.com/spf13/cobra"
)

func newStatsCmd(f *factory) *cobra.Command {
	return newGroup("stats", "what the fleet takes and does",
		newStatsSizesCmd(f, nil),
	)
}
