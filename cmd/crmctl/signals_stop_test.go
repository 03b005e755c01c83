//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/migrations"
)

// watched is a stream that a test looks at while it is written.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func waitUntil(t *testing.T, what string, said *watched, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s\n%s", what, said)
		}
	}
}

// Each long command, stopped while a lock holds it up: the signal is answered at once
// with what it does and what a second one does; the command says what is done and what
// is not, and names the command that goes on, which then does the rest; nothing is left
// half done.
func TestASignalInTheMiddle(t *testing.T) {
	t.Parallel()
	const (
		drains = "crmctl: stopping: what is under way is finished"
		undoes = "crmctl: stopping: what is under way is undone"
		reads  = "crmctl: stopping: it only reads"
		second = "a second Ctrl-C (or SIGTERM)"
	)
	registry, data := "lock table public.tenants in share mode", "lock table tenant_acme.contacts"
	for i, tt := range []struct {
		name   string
		lock   string
		args   []string
		answer string
		says   string // of what is done and what is not, a pattern
	}{
		{"create", registry, []string{"tenant", "create", "n", "--count", "30", "--role=false"}, drains,
			`\d+ of 30 tenants created, \d+ not done`},
		{"backup", data, []string{"backup", "create", "--all", "--dir", "saved", "--concurrency", "1", "--lock-timeout",
			"60s"}, drains, `\d of 3 tenants saved, \d not done`},
		{"import", data, []string{"contacts", "import", "--tenant", "acme", "contacts.csv"}, undoes, "undone"},
		{"migrate", data, []string{"migrate", "all-tenants", "--migrations-dir", "files", "--concurrency", "1", "--canary",
			"0", "--lock-timeout", "60s"}, drains, "next: crmctl migrate retry 1 "},
		{"clone", data, []string{"tenant", "clone", "acme", "copy"}, undoes, "undone"},
		{"seed", registry, []string{"seed", "--tenant", "sample", "--contacts", "50"}, undoes, "undone"},
		{"restore", registry, []string{"backup", "restore", "acme.crmctl", "--as", "again"}, undoes, "undone"},
		{"pool", "lock table public.tenant_pool in share mode", []string{"tenant", "pool", "fill", "--count", "2"}, drains,
			`\d made, 0 dropped`},
		{"adopt", registry, []string{"migrate", "adopt", "--schema", "app_*", "--concurrency", "1", "--lock-timeout", "60s"},
			drains, `\d of 3 schemas adopted or refused, \d not done`},
		{"purge", data, []string{"tenant", "purge", "--yes", "--no-backup", "--max", "0", "--max-percent", "0",
			"--concurrency", "1", "--lock-timeout", "60s"}, drains, `\d of 3 tenants purged, \d not done`},
		{"sizes", data, []string{"stats", "sizes", "--exact"}, reads, "nothing was changed"},
		{"status", "lock table tenant_acme.goose_db_version", []string{"migrate", "status", "--verify"}, reads,
			"nothing was changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := stopFleet(t, "acme", "globex", "initech")
			dir := stopDir(t, f, tt.name)
			holder := f.Connect(t)
			tx, err := holder.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), tt.lock); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("crmctl", tt.args...)
			cmd.Env, cmd.Dir = stopEnv(f), dir
			var stderr watched
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			killed := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
			defer killed.Stop()
			waitUntil(t, "a session that waits", &stderr, func() bool { return blockedBy(t, tx) })
			_ = cmd.Process.Signal([]os.Signal{syscall.SIGINT, syscall.SIGTERM}[i%2])
			waitUntil(t, "an answer", &stderr, func() bool { return strings.Contains(stderr.String(), tt.answer) })
			if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
			said := stderr.String()
			if code := cmd.ProcessState.ExitCode(); code != cli.ExitInterrupted {
				t.Errorf("exit code %d\n%s", code, said)
			}
			if strings.Contains(said, "57014") || !regexp.MustCompile(tt.says).MatchString(said) || tt.answer != reads &&
				!strings.Contains(said, second) {
				t.Errorf("it says\n%s", said)
			}
			stopGoOn(t, f, dir, said)
		})
	}
}

// stopDir returns a directory with what the command needs.
func stopDir(t *testing.T, f *fleettest.Fleet, name string) string {
	t.Helper()
	dir := t.TempDir()
	var rows strings.Builder
	for i := range 100 {
		fmt.Fprintf(&rows, "p%d@example.com,Person %d\n", i, i)
	}
	files := map[string]string{"contacts.csv": "email,name\n" + rows.String()}
	switch name {
	case "migrate":
		names, err := fs.Glob(migrations.Tenant(), "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(migrations.Tenant(), name)
			if err != nil {
				t.Fatal(err)
			}
			files["files/"+name] = string(text)
		}
		files["files/00100_more.sql"] = "-- +goose Up\nalter table contacts add column more text;\n-- +goose Down\nalter " +
			"table contacts drop column more;\n"
	case "restore":
		b := newBench(t).setenv(stopEnv(f)...)
		if code := b.run("backup", "create", "acme", "--dir", filepath.Join(dir, "before")); code != cli.ExitOK {
			t.Fatalf("exit code %d\n%s", code, b.err)
		}
		saved, err := filepath.Glob(filepath.Join(dir, "before", "acme*.crmctl"))
		if err != nil || len(saved) != 1 {
			t.Fatal(saved, err)
		}
		if err := os.Rename(saved[0], filepath.Join(dir, "acme.crmctl")); err != nil {
			t.Fatal(err)
		}
	case "purge":
		f.Exec(t, `update public.tenants set status = 'deleted', deleted_at = now() - interval '2 days',
			purge_after = now() - interval '1 day'`)
	case "adopt":
		for i := range 3 {
			f.Exec(t, fmt.Sprintf(`create schema app_%[1]d; create table app_%[1]d.goose_db_version (id serial primary key,
				version_id bigint not null, is_applied boolean not null, tstamp timestamp default now());
				insert into app_%[1]d.goose_db_version (version_id, is_applied) values (0, true), (1, true)`, i))
		}
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// blockedBy reports whether another session waits for the transaction's.
func blockedBy(t *testing.T, tx pgx.Tx) bool {
	t.Helper()
	var waits bool
	err := tx.QueryRow(t.Context(), `select exists (select from pg_catalog.pg_locks l where not l.granted
		and pg_catalog.pg_backend_pid() = any (pg_catalog.pg_blocking_pids(l.pid)))`).Scan(&waits)
	if err != nil {
		t.Fatal(err)
	}
	return waits
}

// stopGoOn runs the command that an interrupted one names, and looks for what was left.
func stopGoOn(t *testing.T, f *fleettest.Fleet, dir, said string) {
	t.Helper()
	next := regexp.MustCompile(`(?m)^ *next: (crmctl .*)$`).FindStringSubmatch(said)
	if next == nil {
		t.Fatalf("it names no command that goes on\n%s", said)
	}
	for _, command := range []string{next[1], "crmctl doctor --check " +
		"half-built,orphan-schema,ghost-row,pool,purge-stuck,dirty,open-run"} {
		again := exec.Command("sh", "-c", command)
		again.Env, again.Dir = append(stopEnv(f), "PATH="+os.Getenv("PATH")), dir
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\nafter\n%s", command, err, out, said)
		}
	}
}
