package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestBackupFiles lists, verifies and prunes the backups of a directory.
func TestBackupFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, n := open(t, f, "")
	ctx := t.Context()
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme", "globex"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	dir := t.TempDir()
	saveAll(t, a, dir, "acme", "globex")
	listed, err := a.ListBackups(dir, nil)
	if err != nil || len(listed) != 2 || listed[0].Name.Slug != "acme" || listed[0].Err != nil {
		t.Fatalf("list: %+v, %v", listed, err)
	}
	damage(t, listed[1].Path)
	const lost = "gone-20260101T000000Z-v4.crmctl.age.sha256"
	if err := os.WriteFile(filepath.Join(dir, lost), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := a.VerifyBackups(ctx, app.VerifyOptions{Paths: []string{dir, listed[0].Path}, Restore: true})
	if err != nil || len(found) != 2 || !found[0].Whole || !found[0].Restores || found[1].Whole ||
		!errors.Is(found[1].Err, backup.ErrCorrupt) {
		t.Errorf("verify: %+v, %v", found, err)
	}
	if len(n.all) != 1 || n.all[0] != (app.LostBackup{Path: filepath.Join(dir, lost)}) {
		t.Errorf("told: %+v", n.all)
	}
	read, err := a.VerifyBackups(ctx, app.VerifyOptions{Paths: []string{listed[0].Path}})
	if err != nil || !read[0].Whole || read[0].Restores || read[0].Untried == "" {
		t.Errorf("only read: %+v, %v", read, err)
	}
	time.Sleep(1100 * time.Millisecond) // a backup's name has the second
	saveAll(t, a, dir, "acme")
	testPrune(t, a, dir)
}

// testPrune prunes a directory with two backups of acme of one day, and a damaged one.
func testPrune(t *testing.T, a *app.App, dir string) {
	t.Helper()
	ctx, refused := t.Context(), errors.New("no")
	o := app.PruneOptions{Path: dir, Keep: backup.Keep{Days: 1}, DryRun: true,
		Confirm: func(_ context.Context, going int) error {
			if going != 1 {
				t.Errorf("%d are to go", going)
			}
			return refused
		}}
	count := func(plan []app.PrunedBackup, err error) (going int) {
		t.Helper()
		if err != nil || len(plan) != 3 {
			t.Fatalf("prune: %+v, %v", plan, err)
		}
		for _, p := range plan {
			if p.Remove {
				going++
			}
		}
		return going
	}
	if going := count(a.PruneBackups(ctx, o)); going != 1 {
		t.Errorf("dry run: %d are to go", going)
	}
	o.DryRun = false
	if plan, err := a.PruneBackups(ctx, o); !errors.Is(err, refused) || plan != nil {
		t.Errorf("a prune that is refused: %+v, %v", plan, err)
	}
	o.Confirm = nil
	if going := count(a.PruneBackups(ctx, o)); going != 1 {
		t.Errorf("%d went", going)
	}
	if left, err := a.ListBackups(dir, nil); err != nil || len(left) != 2 {
		t.Errorf("left: %+v, %v", left, err)
	}
	var wrong *app.DirError
	o.Path = filepath.Join(dir, "none")
	if _, err := a.PruneBackups(ctx, o); !errors.As(err, &wrong) {
		t.Errorf("no directory: %v", err)
	}
}

// damage changes a byte in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 0xff
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
