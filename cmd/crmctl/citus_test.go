package main

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// refusedOnCitus are the commands that end otherwise on a cluster, and how.
func refusedOnCitus() map[string]string {
	return map[string]string{}
}

// TestEveryCommandOnACluster: each command that works on PostgreSQL works where the tenants
// stand on the nodes of a cluster.
func TestEveryCommandOnACluster(t *testing.T) {
	t.Parallel()
	spread, alone := fleettest.OnCitus(t), fleettest.New(t)
	plan := fleettest.TenantPlan(t, 3)
	spread.Create(t, plan, "acme", "globex")
	alone.Create(t, plan, "acme", "globex")
	there, here := shadowedCommands(shadowedFiles(t)), shadowedCommands(shadowedFiles(t))
	for i := range there {
		args := append(strings.Fields(here[i][0]), here[i][1:]...)
		_, want := outcome(t, alone, args...)
		out, code := outcome(t, spread, append(strings.Fields(there[i][0]), there[i][1:]...)...)
		refused, is := refusedOnCitus()[strings.Join(args[:min(len(args), 5)], " ")]
		if is && !strings.Contains(out, refused) || !is && code != want {
			t.Errorf("%q: exit code %d, on PostgreSQL %d\n%s", args, code, want, out)
		}
	}
}
