package backup_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/migrations"
)

// childEnv makes this test binary the process that is killed: "create" or
// "restore", the database and a directory or a file, on a line each.
const childEnv = "CRMCTL_BACKUP_CHILD"

// child does half of what it is told, says so, and waits to be killed.
func child() int {
	parts := strings.Split(os.Getenv(childEnv), "\n")
	if err := childWork(parts[0], &fleettest.Fleet{DSN: parts[1]}, parts[2]); err != nil {
		fmt.Println(err)
	}
	return 1
}

func childWork(what string, f *fleettest.Fleet, path string) error {
	ctx := context.Background()
	conn, err := f.Dial(ctx)
	if err != nil {
		return err
	}
	wait := func() {
		fmt.Println("half")
		select {}
	}
	if what == "create" {
		dir, err := backup.OpenDir(path, false)
		if err != nil {
			return err
		}
		src, err := registry.Default().Get(ctx, conn, "acme")
		if err != nil {
			return err
		}
		_, err = dir.Create(ctx, conn, backup.Source{ID: src.ID, Slug: src.Slug, Schema: src.Schema}, backup.CreateOptions{
			WriteOptions: backup.WriteOptions{Progress: func(int64) { wait() }}, Audit: audit("backup"),
		})
		return err
	}
	plan, err := migrate.Compile(ctx, migrations.Tenant())
	if err != nil {
		return err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	in := io.MultiReader(bytes.NewReader(file[:len(file)*3/4]), waiting(wait))
	_, err = backup.Restore(ctx, conn, in, backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"})
	return err
}

type waiting func()

func (w waiting) Read([]byte) (int, error) {
	w()
	return 0, io.EOF
}

// kill starts a child and kills it, the hard way, in the middle of its work.
func kill(t *testing.T, f *fleettest.Fleet, what, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what+"\n"+f.DSN+"\n"+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != "half\n" {
		t.Fatalf("the child said %q", line)
	}
}

func TestKilledCreateLeavesOnlyATemporaryFile(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	path := filepath.Join(t.TempDir(), "backups")
	dir, err := backup.OpenDir(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	kill(t, f, "create", path)
	left, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil || len(left) != 1 || !strings.HasSuffix(left[0], ".tmp") {
		t.Fatalf("left %v, %v, want one temporary file", left, err)
	}
	if there, err := dir.List(nil); err != nil || len(there) != 0 {
		t.Errorf("List: %v, %v", there, err)
	}
	gone, err := dir.Sweep()
	if err != nil || len(gone) != 1 {
		t.Errorf("Sweep: %v, %v", gone, err)
	}
	w, err := dir.Create(t.Context(), f.Connect(t), source(src), backup.CreateOptions{Audit: audit("backup")})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir.Path(w.File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if there, err := dir.List(nil); err != nil || len(there) != 1 || there[0].Err != nil {
		t.Errorf("List: %+v, %v", there, err)
	}
}

// A writer at work is not swept away.
func TestSweepLeavesWritersAlone(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	path := t.TempDir()
	dir, err := backup.OpenDir(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	swept := 0
	o := backup.CreateOptions{Audit: audit("backup")}
	o.Progress = func(int64) {
		gone, err := dir.Sweep()
		if err != nil {
			t.Error(err)
		}
		swept += len(gone)
	}
	if _, err := dir.Create(t.Context(), f.Connect(t), source(src), o); err != nil || swept > 0 {
		t.Errorf("%v, %d files swept", err, swept)
	}
	// What is no backup of ours is left alone too.
	if err := os.WriteFile(filepath.Join(path, ".crmctl-x.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if gone, err := dir.Sweep(); err != nil || len(gone) != 0 {
		t.Errorf("%v, %v", gone, err)
	}
}

func TestKilledRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, `insert into contacts (email) select md5(g::text) || '@example.com'
		from generate_series(1, 30000) g`)
	file, _ := write(t, f, source(src))
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, f, "restore", path)
	deadline := time.Now().Add(30 * time.Second)
	for f.Int(t, `select count(*) from pg_stat_activity where datname = current_database() and application_name = 'crmctl'
		and pid <> pg_backend_pid() and state <> 'idle'`) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the session of the killed process stays")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := f.Int(t, `select (select count(*) from public.tenants) + (select count(*) from pg_namespace
		where nspname = 'tenant_copy')`); n != 1 {
		t.Errorf("%d tenants and schemas, want one", n)
	}
	if _, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file),
		backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"}); err != nil {
		t.Error(err)
	}
}

func TestUnsafeDirectories(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	place := filepath.Join(base, "real")
	link := filepath.Join(base, "link")
	file := filepath.Join(base, "file")
	if err := errors.Join(os.Mkdir(place, 0o700), os.Symlink(place, link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, link + "/", link + "/.", file} {
		if d, err := backup.OpenDir(path, true); !errors.Is(err, backup.ErrUnsafe) {
			t.Errorf("%s: %v, want ErrUnsafe", path, err)
			if d != nil {
				d.Close()
			}
		}
	}
}

// TestBackupsOfOneSecond takes more backups of a tenant than there are seconds, two
// at a time, and finds each of them.
func TestBackupsOfOneSecond(t *testing.T) {
	t.Parallel()
	const writers, each = 2, 4
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	dir, err := backup.OpenDir(filepath.Join(t.TempDir(), "backups"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	begun := time.Now()
	files := make(chan string, writers*each)
	var wg sync.WaitGroup
	for range writers {
		conn := f.Connect(t)
		wg.Go(func() {
			for range each {
				w, err := dir.Create(t.Context(), conn, source(src), backup.CreateOptions{Audit: audit("backup")})
				if err != nil {
					t.Error(err)
				}
				files <- w.File
			}
		})
	}
	wg.Wait()
	close(files)
	if took := time.Since(begun); took > writers*each*time.Second {
		t.Skipf("%v for %d backups: no two fell into one second", took, writers*each)
	}
	names := map[string]bool{}
	for file := range files {
		names[file] = true
	}
	entries, err := dir.List(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != writers*each || len(entries) != writers*each {
		t.Errorf("%d names and %d files of %d backups: %v", len(names), len(entries), writers*each, names)
	}
	for _, e := range entries {
		if e.Err != nil || !names[e.File] {
			t.Errorf("%s: %v", e.File, e.Err)
		}
	}
}
