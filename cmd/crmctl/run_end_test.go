package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// How a run ended decides on the exit code and on what is still to be said, for every
// command alike.
func TestTheEndOfARun(t *testing.T) {
	t.Parallel()
	broken, busy := errors.New("broken"), fmt.Errorf("tenant a: %w", db.ErrBusy)
	gone, late := fmt.Errorf("connect: %w", db.ErrUnreachable), fmt.Errorf("%w after 2s", cli.ErrTimedOut)
	full := fmt.Errorf("%w: the disk is full", fleet.ErrServer)
	done, never := fleet.Result{State: fleet.Done}, fleet.Result{}
	failed := func(err error) fleet.Result { return fleet.Result{State: fleet.Failed, Err: err} }
	left := func(err error) fleet.Result { return fleet.Result{Err: err} }
	for _, c := range []struct {
		name    string
		results []fleet.Result
		stopped error
		end     runEnd
		code    int
		says    string // "" where all was said
	}{
		{"nothing", nil, nil, runEnd{}, cli.ExitOK, ""},
		{"all", []fleet.Result{done, done}, nil, runEnd{}, cli.ExitOK, ""},
		{"some", []fleet.Result{done, failed(broken)}, nil, runEnd{}, cli.ExitPartial, ""},
		{"none", []fleet.Result{failed(broken), failed(broken)}, nil, runEnd{}, cli.ExitFailure, ""},
		{"a single one", []fleet.Result{failed(busy)}, nil, runEnd{}, cli.ExitLocked, busy.Error()},
		{"a single one, explained", []fleet.Result{failed(broken)}, nil,
			runEnd{alone: func(err error) error { return cli.WithCode(err, cli.ExitPending) }}, cli.ExitPending, "broken"},
		{"all locked", []fleet.Result{failed(busy), failed(busy)}, nil, runEnd{}, cli.ExitLocked, ""},
		{"locked or broken", []fleet.Result{failed(busy), failed(broken)}, nil, runEnd{}, cli.ExitFailure, ""},
		{"some held by others", []fleet.Result{done, failed(busy)}, nil, runEnd{exclusive: true}, cli.ExitLocked, ""},
		{"some locked", []fleet.Result{done, failed(busy)}, nil, runEnd{}, cli.ExitPartial, ""},
		{"no server", []fleet.Result{left(gone), left(gone)}, nil, runEnd{told: true}, cli.ExitUnreachable, gone.Error()},
		{"no server any more", []fleet.Result{done, left(gone)}, nil, runEnd{}, cli.ExitPartial, gone.Error()},
		{"no registry", []fleet.Result{failed(registry.ErrNoRegistry), failed(registry.ErrNoRegistry)}, nil, runEnd{},
			cli.ExitFailure, registry.ErrNoRegistry.Error()},
		{"too many", []fleet.Result{done, failed(broken), never}, fleet.ErrTooManyFailures, runEnd{threshold: true},
			cli.ExitStopped, ""},
		{"a server that is full", []fleet.Result{done, failed(broken), never}, full, runEnd{threshold: true}, cli.ExitStopped,
			""},
		{"the same without a threshold", []fleet.Result{done, failed(broken), never}, full, runEnd{}, cli.ExitPartial,
			full.Error()},
		{"the canary", []fleet.Result{failed(broken), never}, fmt.Errorf("%w: a", migrate.ErrCanary),
			runEnd{threshold: true, told: true}, cli.ExitStopped, ""},
		{"no canary to be had", []fleet.Result{failed(busy), never}, fmt.Errorf("%w: a", migrate.ErrCanaryBusy),
			runEnd{threshold: true, told: true}, cli.ExitLocked, ""},
		{"out of time", []fleet.Result{done, left(late)}, late, runEnd{did: "created"}, cli.ExitPartial, late.Error()},
		{"out of time, and nothing done", []fleet.Result{left(late), left(late)}, late, runEnd{did: "created"},
			cli.ExitFailure, late.Error()},
		{"out of time, and told", []fleet.Result{done, left(late)}, late, runEnd{told: true}, cli.ExitPartial, ""},
		{"the first speaks for all", []fleet.Result{done, failed(broken), failed(busy)}, nil, runEnd{unsaid: true},
			cli.ExitPartial, "broken"},
	} {
		b := newBench(t)
		_, in := cli.WatchInterrupts(t.Context())
		f := newFactory(b.Streams, in)
		c.end.Summary = fleet.Summarize(c.results, c.stopped)
		err := f.end(c.end)
		says := ""
		if err != nil && !cli.IsSilent(err) {
			says = err.Error()
		}
		if exitCode(err) != c.code || says != c.says {
			t.Errorf("%s: exit code %d and %q, want %d and %q", c.name, exitCode(err), says, c.code, c.says)
		}
		in.Stop()
	}
}

// An interruption says how many are done, and names the command that goes on.
func TestTheEndOfAnInterruptedRun(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	results := []fleet.Result{{State: fleet.Done}, {State: fleet.Failed, Err: broken}, {}}
	for _, c := range []struct {
		name string
		end  runEnd
		says string
		next string
	}{
		{"counts", runEnd{Summary: fleet.Summarize(results, fleet.ErrDrained), did: "created", more: []string{"--again"}},
			"interrupted: 1 of 3 tenants created, 1 failed, 1 not done", "crmctl tenant create a --again"},
		{"words of its own", runEnd{Summary: fleet.Summarize(results, fleet.ErrDrained), did: "created",
			left: func() error { return broken }}, "broken", ""},
		{"one that failed by itself", runEnd{Summary: fleet.Summarize(results[1:2], nil), did: "created"}, "broken", ""},
		{"done all the same", runEnd{Summary: fleet.Summarize(results[:1], nil), did: "created"}, "", ""},
	} {
		b := newBench(t)
		_, in := cli.WatchInterrupts(t.Context())
		f := newFactory(b.Streams, in)
		f.args = []string{"tenant", "create", "a"}
		in.Interrupt()
		err := f.end(c.end)
		says, next := "", ""
		if err != nil {
			says = err.Error()
		}
		if hints := cli.HintsOf(err); len(hints) > 0 {
			next = hints[0].Command
		}
		if says != c.says || next != c.next {
			t.Errorf("%s: %q, next %q", c.name, says, next)
		}
		in.Stop()
	}
}
