package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// screen is a stream that a test can read while the program writes.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// bench is a run of the program without a process: streams, environment and
// directories of its own.
type bench struct {
	*cli.Streams

	out, err *screen
	dir      string
}

// newBench makes a bench off a terminal, with an empty environment.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{out: &screen{}, err: &screen{}, dir: t.TempDir()}
	b.Streams = &cli.Streams{
		In:        strings.NewReader(""),
		Out:       b.out,
		Err:       b.err,
		Width:     func() int { return 100 },
		Dir:       b.dir,
		SystemDir: filepath.Join(b.dir, "etc"),
		Env:       []string{"XDG_CONFIG_HOME=" + filepath.Join(b.dir, "xdg"), "LANG=C.UTF-8", "TERM=xterm"},
	}
	return b
}

// onTerminal makes all streams terminals.
func (b *bench) onTerminal() *bench {
	b.InTerminal, b.OutTerminal, b.ErrTerminal = true, true, true
	return b
}

func (b *bench) setenv(pairs ...string) *bench {
	b.Env = append(b.Env, pairs...)
	return b
}

func (b *bench) run(args ...string) int {
	return run(context.Background(), args, b.Streams)
}

// factory returns a factory on the bench, for tests below the command tree.
func (b *bench) factory(t *testing.T) *factory {
	t.Helper()
	_, in := cli.WatchInterrupts(t.Context())
	t.Cleanup(in.Stop)
	f := newFactory(b.Streams, in)
	f.Now = func() time.Time { return time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC) }
	return f
}

// parse runs a command whose work is a spy, and fails unless it was reached.
func (b *bench) parse(t *testing.T, build func(f *factory) *cobra.Command, args ...string) {
	t.Helper()
	f := b.factory(t)
	root := cli.NewGroup("crmctl", "test", build(f))
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(b.out)
	root.SetFlagErrorFunc(cli.FlagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return f.prepare(cmd) }
	f.flags.addFlags(root.PersistentFlags())
	if code := f.execute(t.Context(), root, args); code != cli.ExitOK {
		t.Fatalf("crmctl %s: exit code %d\n%s", strings.Join(args, " "), code, b.err)
	}
}

// equal compares texts and shows both in full.
func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", what, got, want)
	}
}

// probeFactory builds a command that does nothing but hand out its factory.
func probeFactory(out **factory) func(*factory) *cobra.Command {
	return func(f *factory) *cobra.Command {
		return &cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error {
			*out = f
			return nil
		}}
	}
}
