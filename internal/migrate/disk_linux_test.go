package migrate_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestRealDiskFull has a disk that is full: a small one, in memory,
// which only root may make.
func TestRealDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	f := fleettest.New(t)
	var data string
	f.Scan(t, []any{&data}, "show data_directory")
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	server, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner of the data directory")
	}
	small, err := os.MkdirTemp("/tmp", "crmctl-disk-") //nolint:usetesting // the server's account cannot enter t.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(small) })
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=2m,mode=0777"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	space := filepath.Join(small, "space")
	if err := errors.Join(os.Chmod(small, 0o755), os.Mkdir(space, 0o700),
		os.Chown(space, int(server.Uid), int(server.Gid))); err != nil {
		t.Fatal(err)
	}
	name := "crmctl_small_" + filepath.Base(small)[len("crmctl-disk-"):]
	f.Exec(t, "create tablespace "+name+" location '"+space+"'")
	t.Cleanup(func() { f.Exec(t, "drop tablespace "+name) })
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "create table big tablespace " + name +
		" as select repeat('x', 1000) from generate_series(1, 5000);"})
	tenants := f.Create(t, old, fleettest.Names(10)...)
	report := run(t, f, plan, tenants, migrate.RunOptions{Fleet: fleet.Options{Concurrency: 1}})
	if !errors.Is(report.Stopped, fleet.ErrServer) || db.SQLState(report.Outcomes[0].Err) != db.CodeDiskFull {
		t.Errorf("stopped %v, first %+v", report.Stopped, report.Outcomes[0])
	}
	if report.Count(migrate.NotStarted) != 9 {
		t.Errorf("%d not started", report.Count(migrate.NotStarted))
	}
}
