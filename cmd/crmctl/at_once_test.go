package main

import (
	"runtime"
	"testing"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// What is said to go by the machine and the server does, and not by a number of its own.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	conn := fleettest.New(t).Connect(t)
	auto, err := fleet.AutoConcurrency(t.Context(), conn, runtime.NumCPU(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ given, n, connections, want int }{
		{7, 1000, 1, 7}, {0, 0, 1, 0}, {0, 1, 1, auto}, {0, 8, 1, 2}, {0, 1000, 1000, 1},
	} {
		if got, err := atOnce(t.Context(), conn, c.given, c.n, c.connections); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v", c, got, err)
		}
	}
}
