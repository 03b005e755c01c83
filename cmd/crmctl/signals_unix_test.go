//go:build unix

package main

import (
	"bytes"
	"net"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
)

// silentServer accepts connections and never says a word. The returned channel
// gets a value for each connection.
func silentServer(t *testing.T) (address string, connected <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ch := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			ch <- struct{}{}
		}
	}()
	return l.Addr().String(), ch
}

// The first signal ends a process that waits for the network: 130, one line.
func TestSignalEndsAHangingCommand(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			continue // under nohup, and the process inherits it
		}
		address, connected := silentServer(t)
		cmd := exec.Command("crmctl", "tenant", "list")
		cmd.Env = []string{"GORACE=" + noSleep, "DATABASE_URL=postgres://u:geheim@" + address + "/db"}
		cmd.Dir = t.TempDir()
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-connected:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Fatalf("%v: it never connected: %s", sig, stderr.String())
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != cli.ExitInterrupted {
			t.Errorf("%v: exit code %d\n%s", sig, code, stderr.String())
		}
		if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "interrupted") ||
			strings.Contains(got, "geheim") {
			t.Errorf("%v: stderr %q", sig, got)
		}
		if stdout.Len() > 0 {
			t.Errorf("%v: stdout %q", sig, stdout.String())
		}
	}
}

// --timeout bounds a network that swallows everything.
func TestTimeoutEndsAHangingCommand(t *testing.T) {
	t.Parallel()
	address, _ := silentServer(t)
	b := newBench(t).setenv("DATABASE_URL=postgres://u@" + address + "/db")
	if code := b.run("tenant", "list", "--timeout", "200ms"); code != cli.ExitFailure && code != cli.ExitUnreachable {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(b.err.String(), "--timeout is over after 200ms") {
		t.Errorf("stderr %q", b.err)
	}
}

// Completion gives up after a second and says nothing.
func TestCompletionIsSilentWithoutADatabase(t *testing.T) {
	t.Parallel()
	address, _ := silentServer(t)
	for _, env := range []string{"DATABASE_URL=postgres://u@" + address + "/db",
		"DATABASE_URL=postgres://u@127.0.0.1:1/db", "CRMCTL_CONCURRENCY=abc", ""} {
		b := newBench(t).setenv(env)
		start := time.Now()
		code := b.run("__completeNoDesc", "tenant", "show", "ac")
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", env, took)
		}
		if code != cli.ExitOK || b.out.String() != ":4\n" {
			t.Errorf("%s: exit code %d, stdout %q", env, code, b.out)
		}
	}
}
