package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestApplicationInTheMiddleOfARun drops, makes and renames tenants while a run is at work,
// as an application does that makes its tenants itself: each ends in a state that has a
// name, and the next run has taken in what was done.
func TestApplicationInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	b := &besideFleet{t: t, goose: gooseCLI(t), dsn: pgtest.Empty(t), dir: filepath.Join(t.TempDir(), "migrations"),
		env: []string{"CRMCTL_TENANTS_QUERY=select slug, schema from app.tenants"}}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if b.conn, err = pgx.Connect(t.Context(), b.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.conn.Close(context.Background()) })
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.file(1, "create table counted (version int);")
	b.exec("create schema app; create table app.tenants (slug text, schema text)")
	made := func(slug string) {
		t.Helper()
		b.exec("create schema " + slug)
		if out, err := b.up(slug); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b.exec("insert into app.tenants values ('" + slug + "', '" + slug + "')")
	}
	for _, slug := range []string{"a", "b", "c", "d", "e"} {
		made(slug)
	}
	run := func(args ...string) (string, int) {
		t.Helper()
		out, err := b.run(self, "crmctl", append(args, "--migrations-dir", b.dir)...)
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // of os/exec itself
			return out, exit.ExitCode()
		} else if err != nil {
			t.Error(err)
		}
		return out, 0
	}
	if out, code := run("migrate", "public"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if out, code := run("tenant", "sync"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}

	// While a is being migrated, the application drops d, renames the schema of e, and makes f.
	b.file(2, "insert into counted values (2);\nselect pg_sleep(1);")
	type ended struct {
		out  string
		code int
	}
	done := make(chan ended, 1)
	go func() {
		out, code := run("migrate", "all-tenants", "--canary", "a", "--concurrency", "1")
		done <- ended{out, code}
	}()
	for deadline := time.Now().Add(time.Minute); b.int("select count(*) from pg_stat_activity where state = 'active' and "+
		"query like '%pg_sleep%' and pid <> pg_backend_pid()") == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the run has not begun")
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.exec("drop schema d cascade; delete from app.tenants where slug = 'd'")
	b.exec("alter schema e rename to e2; update app.tenants set schema = 'e2' where slug = 'e'")
	made("f")
	first := <-done
	if first.code != 3 || !strings.Contains(first.out, "3 of 5 tenants") {
		t.Errorf("exit %d\n%s", first.code, first.out)
	}
	for _, slug := range []string{"d", "e"} {
		if !strings.Contains(first.out, "\n"+slug+"\t1\tschema is not there") {
			t.Errorf("what became of %s is not said\n%s", slug, first.out)
		}
		if n := b.int("select count(*) from public.migration_run_tenants o join public.tenants t on t.id = o.tenant_id " +
			"where t.slug = '" + slug + "' and o.state = 'failed'"); n != 1 {
			t.Errorf("the run has %d failures of %s", n, slug)
		}
	}
	b.once("a", 2)
	b.once("c", 2)

	// The next run takes in all of it.
	second, code := run("migrate", "all-tenants", "--concurrency", "1")
	if code != 0 || b.int("select count(*) from public.tenants where status = 'gone' and slug = 'd'") != 1 {
		t.Errorf("exit %d\n%s", code, second)
	}
	b.once("e2", 2)
	b.once("f", 2)
	if out, code := run("migrate", "status", "--verify", "--exit-code"); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
}
