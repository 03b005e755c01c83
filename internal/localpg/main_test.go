//go:build unix

package localpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The test binary is its own child: childName says which instance the child starts
// in childRoot.
const (
	childName      = "LOCALPG_TEST_CHILD"
	childRoot      = "LOCALPG_TEST_ROOT"
	childStarted   = "started"
	ephemeralChild = "ephemeral"
	resettingChild = "resetting"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childName); name != "" {
		os.Exit(child(name))
	}
	os.Exit(m.Run())
}

// child resets the instance "trial", or starts a server, says where it is, and waits to be killed, or for the end
// of its input to leave without a word to the server.
func child(name string) int {
	if name == resettingChild {
		fmt.Println(resettingChild)
		_ = Reset(context.Background(), Options{Name: "trial", Root: os.Getenv(childRoot)})
		return 0
	}
	s, err := Start(context.Background(), Options{
		Name:      name,
		Root:      os.Getenv(childRoot),
		BinDir:    os.Getenv("CRMCTL_PG_BIN"),
		Ephemeral: name == ephemeralChild,
		Observe:   func(step Step) { fmt.Println(step) },
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(childStarted, s.PID, s.Dir)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

type childProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

func startChild(t *testing.T, name, root string) *childProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childName+"="+name, childRoot+"="+root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &childProcess{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

// waitFor reads the child's lines up to one that begins with prefix.
func (c *childProcess) waitFor(t *testing.T, prefix string) string {
	t.Helper()
	var seen []string
	for c.lines.Scan() {
		if line := c.lines.Text(); strings.HasPrefix(line, prefix) {
			return line
		}
		seen = append(seen, c.lines.Text())
	}
	t.Fatalf("the child ended without %q; it said %q", prefix, seen)
	return ""
}

func (c *childProcess) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

// newRoot returns a directory for instances that the server's account can enter,
// and removes it when the test ends.
func newRoot(t *testing.T) string {
	t.Helper()
	//nolint:usetesting // its directories are closed to other accounts
	root, err := os.MkdirTemp(temporaryPlaces()[0], "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// options of a server in a root of its own, with the binaries the tests run on.
func options(t *testing.T) Options {
	t.Helper()
	return Options{Root: newRoot(t), BinDir: os.Getenv("CRMCTL_PG_BIN")}
}

// mustStart starts a server, which goes when the test ends.
func mustStart(t *testing.T, o Options) *Server {
	t.Helper()
	if !o.Ephemeral {
		resetAtTheEnd(t, o)
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return s
}

func resetAtTheEnd(t *testing.T, o Options) {
	t.Cleanup(func() {
		if err := Reset(context.Background(), o); err != nil {
			t.Error(err)
		}
	})
}

func wantState(t *testing.T, o Options, want State) Status {
	t.Helper()
	s, err := Inspect(t.Context(), o)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	if s.State != want {
		t.Fatalf("the instance is %s, want %s", s.State, want)
	}
	return s
}

// query runs one statement and returns its single value as text.
func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// processExists reports whether a process is there, whoever owns it. One that ended and was
// not waited for yet by the system's first process is not.
func processExists(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(poll) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
}
