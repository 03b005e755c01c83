//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// A server of metrics as systemd has it: it sees the database go and come, tells each
// once, keeps no connection, and ends with 0 at SIGTERM.
func TestStatsServe(t *testing.T) {
	t.Parallel()
	server, o := pgtest.Instance(t, nil)
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	const connected = "select count(*) from pg_stat_activity where application_name = 'crmctl'"
	before := f.Int(t, connected) // what the test itself keeps open
	cmd := exec.CommandContext(t.Context(), "crmctl", "stats", "serve", "--listen", "127.0.0.1:0", "--max-age", "0s")
	said := &watched{}
	cmd.Stderr, cmd.Env = said, append(os.Environ(), "DATABASE_URL="+server.DSN, "PGPASSWORD=s3cret-word")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`at (http://127\.0\.0\.1:\d+/metrics)\n`)
	waitUntil(t, "the address", said, func() bool { return address.MatchString(said.String()) })
	url := address.FindStringSubmatch(said.String())[1]
	scrape := func() string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := scrape(); !strings.Contains(text, "\ncrmctl_tenants{status=\"active\"} 2\n") {
		t.Errorf("%s\n%s", text, said)
	}
	waitUntil(t, "the end of the connection", said, func() bool { return f.Int(t, connected) <= before })
	pgtest.Restart(t, server, o)
	if text := scrape(); !strings.Contains(text, "\ncrmctl_up 1\n") {
		t.Errorf("after a restart: %s\n%s", text, said)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if text := scrape(); !strings.Contains(text, "\ncrmctl_up 0\n") || strings.Contains(text, "crmctl_tenants{") {
			t.Errorf("without a server: %s", text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitOK || time.Since(begun) > 10*time.Second {
		t.Errorf("exit code %d after %s\n%s", code, time.Since(begun), said)
	}
	if n := strings.Count(said.String(), "unreachable"); n != 1 {
		t.Errorf("told %d times that the database is away\n%s", n, said)
	}
	if strings.Contains(said.String(), "s3cret-word") {
		t.Errorf("a password is told\n%s", said)
	}
}
