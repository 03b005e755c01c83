package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// migrationDir writes migration files, each of which pauses between two
// statements, so that a kill falls between any of them.
func migrationDir(t *testing.T, versions int, pause time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	for v := 1; v <= versions; v++ {
		text := fmt.Sprintf("-- +goose Up\ncreate table a%d (x int);\nselect pg_sleep(%f);\ncreate table b%d (x "+
			"int);\nselect pg_sleep(%f);\n",
			v, pause.Seconds(), v, pause.Seconds())
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d_x.sql", v)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program runs crmctl as a process of its own; testscript has put it on PATH.
func program(t *testing.T, f *fleettest.Fleet, args ...string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "crmctl", args...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+f.DSN, "HOME="+home, "XDG_CONFIG_HOME="+home)
	return cmd
}

// killAfter starts a process and kills it, the hard way, after a while. It tells
// whether the process was still at work.
func killAfter(t *testing.T, cmd *exec.Cmd, after time.Duration) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill() // it may have ended already
	return cmd.Wait() != nil
}

// settle waits until the server has noticed that the killed client is gone.
func settle(t *testing.T, f *fleettest.Fleet) {
	t.Helper()
	for range 200 {
		if f.Int(t, `select count(*) from pg_stat_activity where datname = current_database()
			and application_name = 'crmctl' and pid <> pg_backend_pid()`) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("a session of the killed process stays")
}

// cut ends the sessions that a killed process has left, where they stand. The
// server would otherwise run what was sent to it to the end, the commit included,
// and a kill would never fall between two statements.
func cut(t *testing.T, f *fleettest.Fleet) (sessions int64) {
	t.Helper()
	return f.Int(t, `select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database()
		and application_name = 'crmctl' and pid <> pg_backend_pid()`)
}

// TestKilledCreateIsWholeOrAbsent: kill -9 at every stage of tenant
// create leaves a whole tenant or none, and the same command then works.
func TestKilledCreateIsWholeOrAbsent(t *testing.T) {
	t.Parallel()
	const versions = 3
	f := fleettest.New(t)
	dir := migrationDir(t, versions, 10*time.Millisecond)
	killed := 0
	for i := range 12 {
		slug := fmt.Sprintf("t%d", i)
		args := []string{"tenant", "create", slug, "--migrations-dir", dir}
		if killAfter(t, program(t, f, args...), time.Duration(20+i*25)*time.Millisecond) {
			killed++
		}
		if i%2 == 1 {
			cut(t, f)
		}
		settle(t, f)
		rows := f.Int(t, "select count(*) from public.tenants where slug = $1", slug)
		schemas := f.Int(t, "select count(*) from pg_namespace where nspname = $1", "tenant_"+slug)
		tables := f.Int(t, "select count(*) from pg_tables where schemaname = $1", "tenant_"+slug)
		events := f.Int(t, "select count(*) from public.tenant_events where slug = $1", slug)
		whole := rows == 1 && schemas == 1 && tables == 2*versions+1 && events == 1
		absent := rows == 0 && schemas == 0 && tables == 0 && events == 0
		if !whole && !absent {
			t.Errorf("%s: %d rows, %d schemas, %d tables, %d events", slug, rows, schemas, tables, events)
		}
		if out, err := program(t, f, append(args, "--if-not-exists")...).CombinedOutput(); err != nil {
			t.Errorf("%s again: %v\n%s", slug, err, out)
		}
	}
	if killed == 0 {
		t.Error("no process was killed at work: the test shows nothing")
	}
}

// TestKilledRunLeavesWholeVersions: kill -9 in a fleet run leaves
// every tenant at a whole version, and the next run does the rest.
func TestKilledRunLeavesWholeVersions(t *testing.T) {
	t.Parallel()
	const tenants, versions = 16, 4
	f := fleettest.New(t)
	// A tenant is under way long enough for its session to be found and cut, on
	// a busy machine too.
	dir := migrationDir(t, versions, 150*time.Millisecond)
	one, err := fleettest.Plan(t, os.DirFS(dir)).To(1)
	if err != nil {
		t.Fatal(err)
	}
	f.Create(t, one, fleettest.Names(tenants)...)
	interrupted := int64(0)
	for i := range 4 {
		cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "2")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed when a few more tenants are done, and the next are under way.
		const more = 3
		for f.Int(t, "select count(*) from public.tenants where schema_version = $1", versions) < int64(more*i+1) {
			time.Sleep(5 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			t.Error("the run was over before it was killed: the test shows nothing")
		}
		if i > 0 {
			interrupted += cut(t, f)
		}
		settle(t, f)
		checkVersions(t, f, tenants, versions)
	}
	if interrupted == 0 {
		t.Error("no session was cut at work: the test shows nothing")
	}
	if out, err := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir).CombinedOutput(); err != nil {
		t.Errorf("the next run: %v\n%s", err, out)
	}
	if done := checkVersions(t, f, tenants, versions); done != tenants {
		t.Errorf("%d of %d tenants at the head in the end", done, tenants)
	}
}

// checkVersions wants every tenant at version 1 or at the head, with exactly the
// tables of that version and the registry in agreement, and returns how many are
// at the head.
func checkVersions(t *testing.T, f *fleettest.Fleet, tenants, head int) (atHead int) {
	t.Helper()
	conn, err := f.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, slug := range fleettest.Names(tenants) {
		var version, cached, tables int
		err := conn.QueryRow(context.Background(), `select
			(select max(version_id) from tenant_`+slug+`.goose_db_version),
			(select schema_version from public.tenants where slug = $1),
			(select count(*) from pg_tables where schemaname = $2 and tablename ~ '^[ab][0-9]+$')`,
			slug, "tenant_"+slug).Scan(&version, &cached, &tables)
		if err != nil {
			t.Fatal(err)
		}
		if version != cached || tables != 2*version || version != 1 && version != head {
			t.Errorf("%s: version %d, cached %d, %d tables", slug, version, cached, tables)
		}
		if version == head {
			atHead++
		}
	}
	return atHead
}
