package fleet_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

func TestSummarize(t *testing.T) {
	t.Parallel()
	broken, gone := errors.New("broken"), fmt.Errorf("connect: %w", db.ErrUnreachable)
	busy := fmt.Errorf("tenant a: %w", db.ErrBusy)
	for _, c := range []struct {
		name     string
		results  []fleet.Result
		stopped  error
		counts   [4]int // items, done, failed, not started
		first    error
		unserved error
		locked   bool
	}{
		{"nothing to do", nil, nil, [4]int{}, nil, nil, false},
		{"all done", []fleet.Result{{State: fleet.Done}, {State: fleet.Done}}, nil, [4]int{2, 2, 0, 0}, nil, nil, false},
		{"drained", []fleet.Result{{State: fleet.Done}, {}, {State: fleet.Failed, Err: broken}}, fleet.ErrDrained,
			[4]int{3, 1, 1, 1}, broken, nil, false},
		{"nobody to serve", []fleet.Result{{State: fleet.Failed, Err: broken}, {Err: gone}}, nil, [4]int{2, 0, 1, 1}, broken,
			gone, false},
		{"cut short before its next turn", []fleet.Result{{Err: busy}, {State: fleet.Failed, Err: broken}}, fleet.ErrServer,
			[4]int{2, 0, 1, 1}, busy, nil, false},
		{"held", []fleet.Result{{State: fleet.Failed, Err: busy}, {State: fleet.Done}}, nil, [4]int{2, 1, 1, 0},
			busy, nil, true},
		{"held, and one never begun", []fleet.Result{{State: fleet.Failed, Err: busy}, {}}, fleet.ErrDrained,
			[4]int{2, 0, 1, 1}, busy, nil, false},
	} {
		s := fleet.Summarize(c.results, c.stopped)
		if got := [4]int{s.Items, s.Done, s.Failed, s.NotStarted}; got != c.counts {
			t.Errorf("%s: %v, want %v", c.name, got, c.counts)
		}
		//nolint:errorlint // the very errors, not ones that wrap them
		if s.First() != c.first || s.Unserved != c.unserved || s.Locked() != c.locked || s.Stopped != c.stopped {
			t.Errorf("%s: first %v, unserved %v, locked %t, stopped %v", c.name, s.First(), s.Unserved, s.Locked(), s.Stopped)
		}
		if s.Whole() != (c.counts[2]+c.counts[3] == 0) {
			t.Errorf("%s: whole is %t", c.name, s.Whole())
		}
	}
}
