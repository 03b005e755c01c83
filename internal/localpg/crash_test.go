//go:build unix

package localpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func killServer(t *testing.T, s *Server) {
	t.Helper()
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed server is gone", func() bool { return !processExists(s.PID) })
}

func TestKilledServer(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := mustStart(t, o)
	keepRow(t, s.DSN)

	// A session too busy to notice at once that its server is gone keeps the
	// shared memory, which keeps a new server from starting.
	busy, err := pgx.Connect(t.Context(), s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = busy.Exec(context.Background(), `do $$
			declare until timestamptz := clock_timestamp() + interval '2 s';
			begin while clock_timestamp() < until loop end loop; end $$`)
		_ = busy.Close(context.Background())
	}()
	defer func() { <-ended }()
	eventually(t, "the session is busy", func() bool {
		return query(t, s.DSN, `select count(*)::text from pg_catalog.pg_stat_activity where query like 'do %'
			and state = 'active'`) == "1"
	})
	killServer(t, s)
	if got := wantState(t, o, Crashed); got.PID != 0 {
		t.Errorf("a crashed server has process %d", got.PID)
	}

	var steps []Step
	o.Observe = func(step Step) { steps = append(steps, step) }
	again := mustStart(t, o)
	wantRow(t, again.DSN)
	if again.Created || again.AlreadyRunning || len(steps) != 1 || steps[0] != StepRecover {
		t.Errorf("created %t, already running %t, steps %q", again.Created, again.AlreadyRunning, steps)
	}
}

// After a reboot the pid in the file may belong to any other process, of the same
// account even.
func TestPidOfAnotherProcess(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := mustStart(t, o)
	keepRow(t, s.DSN)
	in, err := instanceOf(o)
	if err != nil {
		t.Fatal(err)
	}
	other := in.account.command("/", "/bin/sleep", "300")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = other.Wait()
		close(ended)
	}()
	t.Cleanup(func() { _ = other.Process.Kill() })

	killServer(t, s)
	text, err := os.ReadFile(in.pidFile())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	stale := strconv.Itoa(other.Process.Pid) + "\n" + rest
	for _, path := range []string{in.pidFile(), socketPath(in.socketDir()) + ".lock"} {
		if err := os.WriteFile(path, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	wantState(t, o, Crashed)
	if err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	again := mustStart(t, o)
	wantRow(t, again.DSN)
	if err := Reset(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Error("the other process was signalled")
	default:
	}
}

func TestOtherMajorVersion(t *testing.T) {
	t.Parallel()
	o := options(t)
	mustStart(t, o)
	if err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Root, DefaultName, "data", "PG_VERSION")
	if err := os.WriteFile(path, []byte("13\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{o.BinDir, wantState(t, o, Stopped).BinDir} {
		o.BinDir = dir
		var version *VersionError
		_, err := Start(t.Context(), o)
		if !errors.Is(err, ErrVersion) || !errors.As(err, &version) || version.Data != 13 || version.Server == 13 {
			t.Errorf("%v, want a VersionError", err)
		}
	}
	if s := wantState(t, o, Stopped); s.Version != "13" {
		t.Errorf("version %q, want 13", s.Version)
	}
	if _, err := os.Stat(filepath.Join(o.Root, DefaultName, "data", "global")); err != nil {
		t.Errorf("the data was touched: %v", err)
	}
}

// A reset killed at any moment leaves the data whole or none of it.
func TestKilledReset(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Name = "trial"
	for _, later := range []time.Duration{2 * time.Millisecond, 8 * time.Millisecond} {
		keepRow(t, mustStart(t, o).DSN)
		if err := Stop(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		c := startChild(t, resettingChild, o.Root)
		c.waitFor(t, resettingChild)
		time.Sleep(later)
		c.kill(t)
		s := mustStart(t, o)
		if !s.Created {
			wantRow(t, s.DSN)
		}
		if err := Reset(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// A start killed at any moment leaves something that the next start makes whole.
func TestKilledStart(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	for i, moment := range []struct {
		step  Step
		later time.Duration
	}{
		{StepInitialise, 0},
		{StepInitialise, 100 * time.Millisecond},
		{StepInitialise, 400 * time.Millisecond},
		{StepStart, 0},
		{StepStart, 30 * time.Millisecond},
	} {
		o := Options{Root: root, Name: strconv.Itoa(i), BinDir: os.Getenv("CRMCTL_PG_BIN")}
		c := startChild(t, o.Name, root)
		c.waitFor(t, string(moment.step))
		time.Sleep(moment.later)
		c.kill(t)
		s := mustStart(t, o)
		if got := query(t, s.DSN, `select current_database()`); got != Database {
			t.Errorf("connected to %s", got)
		}
	}
}
