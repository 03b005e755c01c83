package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/pgtest"
)

// besideFleet is a fleet that the goose command line and crmctl both migrate.
type besideFleet struct {
	t               *testing.T
	goose, dsn, dir string
	conn            *pgx.Conn
	env             []string // for the programs, beside what all have
}

func (b *besideFleet) exec(sql string) {
	b.t.Helper()
	if _, err := b.conn.Exec(b.t.Context(), sql); err != nil {
		b.t.Fatal(err)
	}
}

func (b *besideFleet) int(sql string) (n int) {
	b.t.Helper()
	if err := b.conn.QueryRow(b.t.Context(), sql).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// file writes a migration.
func (b *besideFleet) file(version int, up string) {
	b.t.Helper()
	name := filepath.Join(b.dir, fmt.Sprintf("%05d_m.sql", version))
	if err := os.WriteFile(name, []byte("-- +goose Up\n"+up+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run runs a program, which is to end within a minute.
func (b *besideFleet) run(program, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "DATABASE_URL="+b.dsn, "HOME="+b.dir, "CRMCTL_LOCK_TIMEOUT=10s")
	cmd.Env = append(cmd.Env, b.env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		b.t.Errorf("%s %v waits without an end: %s", name, args, out)
	}
	return string(out), err
}

func (b *besideFleet) up(schema string) (string, error) {
	separator := "?"
	if strings.Contains(b.dsn, "?") {
		separator = "&"
	}
	return b.run(b.goose, "goose", "-dir", b.dir, "postgres", b.dsn+separator+"search_path="+schema, "up")
}

func (b *besideFleet) crmctl(args ...string) {
	self, err := os.Executable()
	if err != nil {
		b.t.Error(err)
		return
	}
	if out, err := b.run(self, "crmctl", append(args, "--migrations-dir", b.dir)...); err != nil {
		b.t.Errorf("crmctl %v: %v\n%s", args, err, out)
	}
}

// once wants a version to be applied exactly once to a tenant.
func (b *besideFleet) once(schema string, version int) {
	b.t.Helper()
	rows := b.int(fmt.Sprintf("select count(*) from %s.counted where version = %d", schema, version))
	applied := b.int(fmt.Sprintf("select count(*) from %s.goose_db_version where version_id = %d", schema, version))
	if rows != 1 || applied != 1 {
		b.t.Errorf("%s has version %d %d times, and %d rows say so", schema, version, rows, applied)
	}
}

// TestTwoMigrators runs the goose command line and crmctl at the same moment on the same
// tenants: each file is applied once, none of the two waits without an end, and crmctl
// never calls a tenant failed that goose has migrated.
func TestTwoMigrators(t *testing.T) {
	t.Parallel()
	b := &besideFleet{t: t, goose: gooseCLI(t), dsn: pgtest.Empty(t), dir: t.TempDir()}
	var err error
	if b.conn, err = pgx.Connect(t.Context(), b.dsn); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.conn.Close(context.Background()) }()
	b.file(1, "create table counted (version int);")
	schemas := []string{"tenant_a", "tenant_b", "tenant_c"}
	for _, s := range schemas {
		b.exec("create schema " + s)
		if out, err := b.up(s); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	b.crmctl("migrate", "public")
	b.crmctl("migrate", "adopt", "--schema", "tenant_*")

	// Goose is in the middle of a file when crmctl begins it.
	b.file(2, "create table t2 (id int);\ninsert into counted values (2);\nselect pg_sleep(1.5);")
	b.meet(schemas)
	// And of one that makes nothing: a unique index keeps the second from writing.
	for _, s := range schemas {
		b.exec("create unique index on " + s + ".goose_db_version (version_id)")
	}
	b.file(3, "insert into counted values (3);\nselect pg_sleep(1.5);")
	b.meet(schemas)
	for _, s := range schemas {
		b.once(s, 2)
		b.once(s, 3)
	}
	// Neither waits for the other.
	for version := 4; version < 8; version++ {
		b.file(version, fmt.Sprintf("create table t%d (id int);\ninsert into counted values (%d);", version, version))
		var both sync.WaitGroup
		both.Go(func() {
			for _, s := range schemas {
				_, _ = b.up(s) // fails where crmctl was first, and changes nothing
			}
		})
		both.Go(func() { b.crmctl("migrate", "all-tenants", "--canary", "0") })
		both.Wait()
		for _, s := range schemas {
			b.once(s, version)
		}
	}
	b.crmctl("migrate", "status", "--verify", "--exit-code")
}

// meet begins crmctl while goose is in the middle of a file that sleeps.
func (b *besideFleet) meet(schemas []string) {
	b.t.Helper()
	var goose sync.WaitGroup
	goose.Go(func() { _, _ = b.up(schemas[0]) })
	for deadline := time.Now().Add(time.Minute); b.int("select count(*) from pg_stat_activity where state = 'active' and "+
		"query like '%pg_sleep%' and pid <> pg_backend_pid()") == 0; {
		if time.Now().After(deadline) {
			b.t.Fatal("goose has not begun")
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.crmctl("migrate", "all-tenants", "--canary", "0")
	goose.Wait()
}
