package cli

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// sheet is a stream that a test can read while the program writes.
type sheet struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *sheet) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// desk is where a console of a test writes.
type desk struct {
	*Streams

	err   *sheet
	flags Switches
}

// newDesk makes a desk off a terminal.
func newDesk() *desk {
	d := &desk{err: &sheet{}}
	d.Streams = &Streams{
		In: strings.NewReader(""), Out: io.Discard, Err: d.err,
		Width: func() int { return 100 }, Env: []string{"LANG=C.UTF-8", "TERM=xterm"},
	}
	return d
}

// onTerminal makes all streams terminals.
func (d *desk) onTerminal() *desk {
	d.InTerminal, d.OutTerminal, d.ErrTerminal = true, true, true
	return d
}

func (d *desk) setenv(pair string) *desk {
	d.Env = append(d.Env, pair)
	return d
}

// console returns a console on the desk, whose clock stands still.
func (d *desk) console(t *testing.T) *Console {
	t.Helper()
	_, in := WatchInterrupts(t.Context())
	t.Cleanup(in.Stop)
	c := NewConsole(d.Streams, in, &d.flags)
	c.Now = func() time.Time { return time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC) }
	return c
}
