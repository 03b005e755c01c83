//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

func stopFleet(t *testing.T, slugs ...string) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), slugs...)
	return f
}

func stopEnv(f *fleettest.Fleet) []string {
	return []string{"GORACE=" + noSleep, "DATABASE_URL=" + f.DSN}
}

// A command that waits for what somebody else sends ends with the first signal.
func TestFirstSignalEndsAWaitForInput(t *testing.T) {
	t.Parallel()
	f := stopFleet(t, "acme")
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"tenant", "exec", "acme", "-f", "-"},
		{"tenant", "exec", "acme", "-f", pipe},
		{"tenant", "create", "--from", "-"},
		{"tenant", "create", "--from", pipe},
		{"tenant", "list", "--tenants-from", "-"},
		{"migrate", "all-tenants", "--tenants-from", pipe},
		{"contacts", "import", "--tenant", "acme", "-"},
		{"contacts", "import", "--tenant", "acme", pipe},
		{"migrate", "adopt", "--from-file", "-"},
		{"backup", "list", t.TempDir(), "--identity", pipe},
	} {
		cmd := exec.Command("crmctl", args...)
		cmd.Env = stopEnv(f)
		cmd.Dir = t.TempDir()
		in, err := cmd.StdinPipe() // open, and silent
		if err != nil {
			t.Fatal(err)
		}
		code, out, took := signalled(t, cmd, 700*time.Millisecond)
		_ = in.Close()
		if code != cli.ExitInterrupted || took > 3*time.Second {
			t.Errorf("%v: exit code %d after %v\n%s", args, code, took, out)
		}
		if !strings.Contains(out, "interrupted") {
			t.Errorf("%v: says %q", args, out)
		}
	}
}

// signalled starts a command, sends SIGTERM after a while and returns its exit code,
// stderr and how long it took to end.
func signalled(t *testing.T, cmd *exec.Cmd, after time.Duration) (int, string, time.Duration) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	begun := time.Now()
	killed := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer killed.Stop()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), stderr.String(), time.Since(begun)
}

// Signals at any moment: the code is 130 or that of a command that was done, no server
// message about a cancelled statement is shown, and the command that is named goes on.
func TestSignalsAtAnyMoment(t *testing.T) {
	t.Parallel()
	f := stopFleet(t, "acme", "globex", "initech")
	dir := t.TempDir()
	csv := filepath.Join(dir, "a b.csv")
	var rows strings.Builder
	rows.WriteString("email,name\n")
	for i := range 20000 {
		fmt.Fprintf(&rows, "p%d@example.com,Person %d\n", i, i)
	}
	if err := os.WriteFile(csv, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	next := regexp.MustCompile(`(?m)^  next: (crmctl .*)$`)
	for i, args := range [][]string{
		{"tenant", "create", "many", "--count", "40", "--role=false"},
		{"contacts", "import", "--tenant", "acme", csv},
		{"seed", "--tenant", "sample", "--contacts", "20000"},
		{"backup", "create", "--all", "--dir", filepath.Join(dir, "b")},
		{"tenant", "clone", "acme", "copy"},
		{"tenant", "exec", "acme", "globex", "initech", "--write", "--yes", "-c", "select pg_sleep(0.4)"},
	} {
		for try := range 3 {
			cmd := exec.Command("crmctl", args...)
			cmd.Env, cmd.Dir = stopEnv(f), dir
			code, out, took := signalled(t, cmd, time.Duration(60+150*try+17*i)*time.Millisecond)
			switch {
			case strings.Contains(out, "57014"), strings.Contains(out, "canceling statement"), took > 15*time.Second:
				t.Errorf("%v: after %v\n%s", args, took, out)
			case code == -1: // the signal came before anybody listened
				continue
			case code != cli.ExitInterrupted:
				if code != cli.ExitOK && try == 0 {
					t.Errorf("%v: exit code %d\n%s", args, code, out)
				}
				continue
			}
			if strings.Contains(out, "stopping") && strings.Contains(out, "not done") {
				command := next.FindStringSubmatch(out)
				if command == nil {
					t.Errorf("%v: names no command that goes on\n%s", args, out)
					continue
				}
				again := exec.Command("sh", "-c", command[1])
				again.Env, again.Dir = append(stopEnv(f), "PATH="+os.Getenv("PATH")), dir
				if out, err := again.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", command[1], err, out)
				}
			}
		}
	}
}

// Under -o json every error is a line of JSON, whatever went wrong.
func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	f := stopFleet(t, "acme")
	for _, tt := range []struct {
		args   []string
		env    []string
		code   int
		tenant string
		state  string
		next   string
	}{
		{args: []string{"tenant", "show", "nobody", "-o", "json"}, code: exitNoTenant, tenant: "nobody"},
		{args: []string{"tenant", "show", "-o", "json"}, code: cli.ExitUsage, next: "crmctl tenant show --help"},
		{args: []string{"tenant", "list", "--nope", "--output=ndjson"}, code: cli.ExitUsage,
			next: "crmctl tenant list --help"},
		{args: []string{"tenant", "lst", "-ojson"}, code: cli.ExitUsage},
		{args: []string{"tenant", "list"}, env: []string{"CRMCTL_OUTPUT=json", "DATABASE_URL=postgres://u@127.0.0.1:1/x"},
			code: cli.ExitUnreachable, next: "crmctl config show --origin"},
		{args: []string{"tenant", "create", "acme", "-o", "json"}, code: cli.ExitFailure, tenant: "acme",
			next: "crmctl tenant show acme"},
		{args: []string{"tenant", "exec", "acme", "-c", "select nothing", "-o", "json"}, code: cli.ExitFailure,
			tenant: "acme", state: "42703"},
		{args: []string{"tenant", "activate", "acme", "-o", "json"}, code: cli.ExitFailure, tenant: "acme",
			next: "crmctl tenant show acme"},
	} {
		b := newBench(t).setenv(stopEnv(f)...).setenv(tt.env...)
		if code := b.run(tt.args...); code != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.args, code, tt.code)
		}
		var found *errorRecord
		for line := range strings.Lines(b.err.String()) {
			if strings.HasPrefix(line, "{") {
				found = &errorRecord{}
				if err := json.Unmarshal([]byte(line), found); err != nil {
					t.Errorf("%v: %s: %v", tt.args, line, err)
				}
			}
		}
		if found == nil {
			t.Errorf("%v: no JSON: %s", tt.args, b.err)
			continue
		}
		if found.Code != tt.code || found.Message == "" || found.Tenant != tt.tenant || found.SQLState != tt.state ||
			found.Next != tt.next {
			t.Errorf("%v: %+v", tt.args, *found)
		}
	}
}

// The first signal ends a run of maintenance that waits for a locked table; the ledger has what
// was done, and --resume does the rest.
func TestSignalEndsMaintenance(t *testing.T) {
	t.Parallel()
	f := stopFleet(t, "acme", "globex", "initech")
	conn := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_globex.contacts"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	cmd := program(t, f, "maintenance", "vacuum", "--retries", "1000")
	cmd.Env = append(cmd.Env, stopEnv(f)...)
	code, out, took := signalled(t, cmd, 4*time.Second)
	if code != cli.ExitInterrupted || took > 10*time.Second || !strings.Contains(out, "--resume") {
		t.Errorf("exit code %d after %v\n%s", code, took, out)
	}
	if n := f.Int(t, "select succeeded from migration_runs where state = 'stopped' and failed + not_started = 1"); n != 2 {
		t.Errorf("the ledger has %d tenants", n)
	}
	_ = conn.Close(t.Context())
	again, err := program(t, f, "maintenance", "vacuum", "--resume").CombinedOutput()
	if err != nil || !strings.Contains(string(again), "vacuumed 1 tenant ") {
		t.Errorf("resume: %v\n%s", err, again)
	}
}
