//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestEphemeral(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Options{
		Ephemeral: true,
		BinDir:    os.Getenv("CRMCTL_PG_BIN"),
		Settings:  map[string]string{"full_page_writes": "on"},
	})
	for setting, want := range map[string]string{"fsync": "off", "full_page_writes": "on", "listen_addresses": ""} {
		if got := query(t, s.DSN, `select current_setting('`+setting+`')`); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	for range 2 {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNothingLeft(t, s.PID, s.Dir)
	}
}

func TestEphemeralFailing(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	_, err := Start(t.Context(), Options{
		Ephemeral: true,
		Root:      root,
		BinDir:    os.Getenv("CRMCTL_PG_BIN"),
		Settings:  map[string]string{"shared_buffers": "nonsense"},
	})
	if _, ok := errors.AsType[*StartError](err); !ok {
		t.Errorf("%v, want a StartError", err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("a failed start left %v (%v)", entries, err)
	}
}

// A caller may forget the server, which then ends with this process and not with
// the next garbage collection.
func TestEphemeralForgotten(t *testing.T) {
	t.Parallel()
	dsn := mustStart(t, Options{Ephemeral: true, BinDir: os.Getenv("CRMCTL_PG_BIN")}).DSN
	for range 3 {
		runtime.GC()
		time.Sleep(50 * time.Millisecond)
	}
	query(t, dsn, `select current_database()`)
}

func TestEphemeralEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*childProcess){
		"killed": func(c *childProcess) { c.kill(t) },
		"exit":   func(c *childProcess) { _ = c.stdin.Close(); _ = c.cmd.Wait() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, ephemeralChild, "")
			var pid int
			var dir string
			if _, err := fmt.Sscanf(c.waitFor(t, childStarted), childStarted+" %d %s", &pid, &dir); err != nil {
				t.Fatal(err)
			}
			if !processExists(pid) {
				t.Fatalf("process %d is not there", pid)
			}
			end(c)
			eventually(t, "the server is gone", func() bool { return !processExists(pid) })
			eventually(t, "its directory is gone", func() bool {
				_, err := os.Lstat(dir)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

func TestEphemeralKilledInInitdb(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	if err := os.Chmod(root, 0o1777); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, ephemeralChild, root)
	c.waitFor(t, string(StepInitialise))
	time.Sleep(300 * time.Millisecond)
	c.kill(t)
	eventually(t, "its directory is gone", func() bool {
		entries, err := os.ReadDir(root)
		return err == nil && len(entries) == 0
	})
}

func wantNothingLeft(t *testing.T, pid int, dir string) {
	t.Helper()
	if processExists(pid) {
		t.Errorf("process %d is there", pid)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", dir, err)
	}
}
