package main

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// refusedOnCitus says what commands end with that work on PostgreSQL alone.
func refusedOnCitus() map[string]string {
	const own = "on a cluster these cannot be made from a file"
	return map[string]string{
		"contacts import --tenant acme --undo": "what the import replaced is not kept",
		"contacts dedupe --tenant acme --by":   "contacts that are spread over servers are not merged",
		"contacts dedupe --tenant acme --undo": "crmctl: ",
		"contacts remove --tenant acme svc@":   "svc@example.com", // which were not merged
		"contacts person svc+2@example.com":    "svc+2@example.com",
		"backup restore":                       own, // what "tenant exec" has made
		"tenant purge --backup-dir":            own,
		"tenant relocate acme":                 "where tablespaces are not chosen from here",
		"stats sizes --by tablespace":          "where tablespaces are not chosen from here",
		"doctor":                               "spread",
	}
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
		if refused, is := refusal(args); is && code != want && strings.Contains(out, refused) || code == want {
			continue
		}
		t.Errorf("%q: exit code %d, on PostgreSQL %d\n%s", args, code, want, out)
	}
}

func refusal(args []string) (string, bool) {
	line := strings.Join(args, " ")
	for command, text := range refusedOnCitus() {
		if strings.HasPrefix(line, command) {
			return text, true
		}
	}
	return "", false
}
