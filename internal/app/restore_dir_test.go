package app_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestRestoreDir restores what is gone of a directory, past a damaged file, and leaves
// alone what is there.
func TestRestoreDir(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, n := open(t, f, "")
	ctx := t.Context()
	limit := 5 * time.Second
	names := []string{"acme", "globex", "hooli", "initech"}
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs(names...), LockTimeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	dir := t.TempDir()
	saveAll(t, a, dir, names...)
	for _, s := range names[1:] {
		f.Exec(t, "drop schema tenant_"+s+" cascade")
	}
	listed, err := a.ListBackups(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, listed[3].Path) // initech's

	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := app.RestoreDirOptions{RestoreOptions: app.RestoreOptions{LockTimeout: limit}, Dir: dir, Chosen: all, DryRun: true}
	if got, err := a.RestoreDir(ctx, o); err != nil || len(got.Tenants) != 2 || got.Tenants[0].Would == nil {
		t.Fatalf("dry run: %+v, %v", got, err)
	}
	refused := errors.New("no")
	o.DryRun, o.Confirm = false, func(_ context.Context, slugs []string) error {
		if !slices.Equal(slugs, names[1:]) {
			t.Errorf("asked about %v", slugs)
		}
		return refused
	}
	if _, err := a.RestoreDir(ctx, o); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	var failed []string
	o.Confirm, o.Failed = nil, func(slug string, _ error) { failed = append(failed, slug) }
	got, err := a.RestoreDir(ctx, o)
	if err != nil || got.Summary.Done != 2 || got.Summary.Failed != 1 || !slices.Equal(failed, []string{"initech"}) {
		t.Errorf("restore: %+v, %v, failed: %v", got, err, failed)
	}
	passed := slices.ContainsFunc(n.all, func(notice app.Notice) bool {
		p, is := notice.(app.PassedBy)
		return is && p.Path == listed[3].Path && p.Err != nil
	})
	left := slices.ContainsFunc(n.all, func(notice app.Notice) bool {
		l, is := notice.(app.LeftAlone)
		return is && len(l.Tenants) == 1 && l.Tenants[0].Slug == "acme"
	})
	if !passed || !left {
		t.Errorf("told: %+v", n.all)
	}
	testNothingToRestore(t, a, o)
}

// testNothingToRestore: what cannot be begun is told by the error's type.
func testNothingToRestore(t *testing.T, a *app.App, o app.RestoreDirOptions) {
	t.Helper()
	var none *app.NoBackupError
	var several *app.SeveralError
	var wrong *app.DirError
	nobody, err := app.Select([]string{"nobody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	named := o
	named.Chosen = nobody
	if _, err := a.RestoreDir(t.Context(), named); !errors.As(err, &none) || none.Slug != "nobody" {
		t.Errorf("a tenant without a backup: %v", err)
	}
	as := o
	as.As = "one"
	if _, err := a.RestoreDir(t.Context(), as); !errors.As(err, &several) || several.Count != 4 {
		t.Errorf("one name for several: %v", err)
	}
	empty := o
	empty.Dir = t.TempDir()
	if _, err := a.RestoreDir(t.Context(), empty); !errors.As(err, &none) || none.Slug != "" || none.Registry != "" {
		t.Errorf("no backups: %v", err)
	}
	empty.Dir += "/none"
	if _, err := a.RestoreDir(t.Context(), empty); !errors.As(err, &wrong) {
		t.Errorf("no directory: %v", err)
	}
}
