package main

import (
	"slices"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/localpg"
)

func TestLocalVersionHints(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]string{
		localpg.DefaultName: "crmctl local reset",
		"old":               "crmctl local reset --name old",
	} {
		err := localError(&localpg.VersionError{Name: name, DataDir: "/data", Data: 13, Server: 15, BinDir: "/bin15"})
		if got, want := err.Error(), "/data was made by PostgreSQL 13, and the server in /bin15 is version 15"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		want := []cli.Hint{
			{Label: "give the programs of PostgreSQL 13", Command: "CRMCTL_PG_BIN=DIRECTORY"},
			{Label: "or remove the data", Command: reset},
		}
		if got := cli.HintsOf(err); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
