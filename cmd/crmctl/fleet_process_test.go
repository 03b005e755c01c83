//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// writeFiles writes migration files into a fresh directory.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("-- +goose Up\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fleetOf makes n tenants at version 1 of the files.
func fleetOf(t *testing.T, n int, dir string) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t)
	one, err := fleettest.Plan(t, os.DirFS(dir)).To(1)
	if err != nil {
		t.Fatal(err)
	}
	f.Create(t, one, fleettest.Names(n)...)
	return f
}

// TestProcessesShareTheWork: of several processes at once, every migration
// is applied once to every tenant, and all of them end well.
func TestProcessesShareTheWork(t *testing.T) {
	t.Parallel()
	const processes, tenants, versions = 3, 24, 3
	files := map[string]string{"00001_a.sql": "create table log (version int);"}
	for v := 2; v <= versions; v++ {
		files[fmt.Sprintf("%05d_x.sql", v)] = fmt.Sprintf("insert into log values (%d);\nselect pg_sleep(0.02);", v)
	}
	dir := writeFiles(t, files)
	f := fleetOf(t, tenants, dir)
	// All wait at the ledger until all are there, or they would not meet.
	gate := f.Connect(t)
	for _, sql := range []string{"begin", "lock table public.migration_runs"} {
		if _, err := gate.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range processes {
		cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "2", "--retries", "50",
			"--canary", "0")
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	waitFor(t, func() bool {
		return f.Int(t, "select count(*) from pg_locks where relation = 'public.migration_runs'::regclass and not "+
			"granted") == processes
	})
	if _, err := gate.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, slug := range fleettest.Names(tenants) {
		if n := f.Int(t, "select count(*) from tenant_"+slug+".log"); n != versions-1 {
			t.Errorf("%s: %d migrations applied", slug, n)
		}
	}
	// Each tenant was migrated by one of them and found current by the others.
	if n := f.Int(t, "select count(*) from public.migration_run_tenants where state = 'migrated'"); n != tenants {
		t.Errorf("%d tenants migrated according to the ledger, want %d", n, tenants)
	}
	if n := f.Int(t, "select count(distinct run_id) from public.migration_run_tenants where state = 'migrated'"); n < 2 {
		t.Errorf("%d process did all the work: the test shows nothing", n)
	}
}

// TestSignalsInARun: the first signal lets the tenants under way finish,
// the second rolls them back; both end with a summary and 130, and the ledger
// knows.
func TestSignalsInARun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		signals int
	}{{"one", 1}, {"two", 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, map[string]string{"00001_a.sql": "create table a (x int);",
				"00002_b.sql": "create table b (x int);\nselect pg_sleep(1.5);"})
			f := fleetOf(t, 12, dir)
			cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "2", "--canary", "0")
			var out, errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool {
				return f.Int(t, "select count(*) from pg_stat_activity where datname = current_database() and query like "+
					"'%pg_sleep(1.5)%' and state = 'active' and pid <> pg_backend_pid()") == 2
			})
			before := f.Int(t, "select count(*) from public.tenants where schema_version = 2")
			for range c.signals {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != cli.ExitInterrupted {
				t.Errorf("exit code %d\n%s%s", code, &out, &errOut)
			}
			done := f.Int(t, "select count(*) from public.tenants where schema_version = 2")
			if c.signals == 1 && done != before+2 || c.signals == 2 && done > before+1 {
				t.Errorf("%d tenants before the signal, %d in the end", before, done)
			}
			if n := f.Int(t, "select count(*) from pg_tables where tablename = 'b'"); n != done {
				t.Errorf("%d tables for %d tenants", n, done)
			}
			if n := f.Int(t, "select not_started from public.migration_runs where state = 'stopped'"); n != 12-done {
				t.Errorf("the ledger says %d not started, want %d", n, 12-done)
			}
			if !strings.Contains(out.String(), "not done") || !strings.Contains(errOut.String(), "next: crmctl migrate retry") {
				t.Errorf("no summary:\n%s%s", &out, &errOut)
			}
		})
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("waited in vain")
}

// TestOneBrokenOfMany: one tenant fails, the others are migrated, and it
// is named in every report.
func TestOneBrokenOfMany(t *testing.T) {
	t.Parallel()
	const tenants = 200
	dir := writeFiles(t, map[string]string{"00001_a.sql": "create table a (x int);",
		"00002_b.sql": "alter table a\n  add y int;"})
	f := fleetOf(t, tenants, dir)
	f.Exec(t, "alter table tenant_t0123.a add y text")
	reports := t.TempDir()
	junit, page := filepath.Join(reports, "junit.xml"), filepath.Join(reports, "page.md")
	cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "-o", "json", "--report", junit,
		"--report", page)
	cmd.Env = append(cmd.Env, "GITHUB_ACTIONS=true")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitPartial {
		t.Errorf("exit code %d\n%s", code, &errOut)
	}
	type outcome struct{ Tenant, State, SQLState, Place string }
	var doc struct {
		Run struct {
			Migrated int
			Outcomes []outcome
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	var failed []outcome
	for _, o := range doc.Run.Outcomes {
		if o.State == "failed" {
			failed = append(failed, o)
		}
	}
	if doc.Run.Migrated != tenants-1 || len(failed) != 1 || failed[0].Tenant != "t0123" || failed[0].SQLState != "42701" ||
		failed[0].Place != "00002_b.sql:2" {
		t.Errorf("json: %d migrated, failed %+v", doc.Run.Migrated, failed)
	}
	text, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, c := range suites.Suite.Cases {
		if c.Failure != nil && c.Name == "t0123" && c.Failure.Type == "42701" {
			named++
		}
	}
	if suites.Suite.Tests != tenants || suites.Suite.Failures != 1 || named != 1 {
		t.Errorf("junit: %d tests, %d failures", suites.Suite.Tests, suites.Suite.Failures)
	}
	if text, err = os.ReadFile(page); err != nil || !strings.Contains(string(text),
		"| t0123 | 1 | 00002\\_b.sql:2 | 42701 |") {
		t.Errorf("markdown: %v\n%s", err, text)
	}
	if !strings.Contains(errOut.String(), "::error::") || !strings.Contains(errOut.String(), "t0123") {
		t.Errorf("no annotation:\n%s", &errOut)
	}
}

// TestSwallowedPackets: a network that takes everything and answers
// nothing ends the command when its time is over, and the server rolls back.
func TestSwallowedPackets(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"00001_a.sql": "create table a (x int);",
		"00002_b.sql": "select pg_sleep(0.5);\ncreate table b (x int);"})
	f := fleetOf(t, 4, dir)
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	cmd := program(t, &fleettest.Fleet{DSN: proxy.DSN}, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency",
		"2", "--timeout", "3s")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		return f.Int(t, "select count(*) from pg_stat_activity where datname = current_database() and query like "+
			"'%pg_sleep(0.5)%' and state = 'active' and pid <> pg_backend_pid()") > 0
	})
	proxy.Swallow()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(90 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("still waiting after %s\n%s", time.Since(begun), &errOut)
	}
	if code := cmd.ProcessState.ExitCode(); code == cli.ExitOK {
		t.Errorf("exit code 0\n%s", &errOut)
	}
}
