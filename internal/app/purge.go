package app

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// PurgeOptions say how due tenants are destroyed.
type PurgeOptions struct {
	BackupDir   string          // where each is saved before; "" for no backup
	EncryptTo   []age.Recipient // of these backups
	Concurrency int             // 0 goes by the machine and the server
	LockTimeout time.Duration
}

// Saved says that a tenant was saved.
type Saved struct {
	Path     string
	Manifest *backup.Manifest
}

// Swept names what killed runs had left in a directory of backups, and is removed.
type Swept struct{ Files []string }

func (Saved) notice() {}
func (Swept) notice() {}

// PurgeResult is what became of due tenants, in their order.
type PurgeResult struct {
	Purged  []tenant.Purged
	Results []fleet.Result
	Stopped error // why the run ended before its tenants did, nil when each had its turn
}

// Summary counts what became of the tenants.
func (r *PurgeResult) Summary() fleet.Summary { return fleet.Summarize(r.Results, r.Stopped) }

// PurgeTenants destroys tenants that are due, each after it was saved, and looked at
// again under a lock. The error says that nothing could be begun.
func (a *App) PurgeTenants(ctx context.Context, due []registry.Tenant, o PurgeOptions) (PurgeResult, error) {
	before, end, err := a.saveBefore(ctx, o)
	if err != nil {
		return PurgeResult{}, err
	}
	defer end()
	names := make([]string, len(due))
	for i, t := range due {
		names[i] = t.Slug
	}
	observer, shown := a.Watch("purge", names)
	defer shown()
	// One works, one holds the tenant, and one may be taking the backup.
	run := fleet.Options{Concurrency: o.Concurrency, Connections: 3, Drain: a.Drain(), Observer: observer}
	purged, results, stopped := tenant.PurgeMany(ctx, a.Connect, due, tenant.PurgeOptions{
		MoveOptions: a.move(o.LockTimeout), Before: before}, run)
	return PurgeResult{purged, results, stopped}, nil
}

// saveBefore returns what saves a tenant, nil where none is to be saved, and what ends it.
func (a *App) saveBefore(ctx context.Context, o PurgeOptions) (before func(context.Context, registry.Tenant) error,
	end func(), err error) {
	if o.BackupDir == "" {
		return nil, func() {}, nil
	}
	create := backup.CreateOptions{
		WriteOptions: a.writeOptions(ctx, backup.Limits{LockTimeout: o.LockTimeout}), Audit: a.audit(registry.ActionBackup),
	}
	create.Prove, create.Recipients = true, o.EncryptTo
	dir, err := a.OpenBackups(o.BackupDir, true)
	if err != nil {
		return nil, nil, err
	}
	var made sync.Map // the file of each tenant that was saved, by its id
	// A new connection for each would know nothing of the catalog: that is half of the work.
	kept := db.Guards{Connect: a.Connect, RecycleAfter: fleet.DefaultRecycleAfter}
	before = func(ctx context.Context, t registry.Tenant) error {
		conn, err := kept.Take(ctx)
		if err != nil {
			return err
		}
		defer kept.Give(conn)
		sources, err := a.sources(ctx, conn, []registry.Tenant{t})
		if err != nil {
			return err
		}
		written, err := dir.Create(ctx, conn, sources[0], create)
		if err != nil {
			return err
		}
		a.Notify(Saved{Path: dir.Path(written.File), Manifest: written.Manifest})
		// A purge that had to be tried again has saved the tenant again.
		if former, again := made.Swap(t.ID, written.File); again {
			return dir.Remove(former.(string))
		}
		return nil
	}
	return before, func() {
		kept.Close(ctx)
		_ = dir.Close()
	}, nil
}

// DirError says that a directory of backups cannot be used.
type DirError struct{ Err error }

func (e *DirError) Error() string { return e.Err.Error() }
func (e *DirError) Unwrap() error { return e.Err }

// OpenBackups opens a directory of backups, and clears away what dead writers have left
// where it may be made. It is nil where it is not there and must not be made.
func (a *App) OpenBackups(path string, create bool) (*backup.Dir, error) {
	dir, err := backup.OpenDir(path, create)
	if errors.Is(err, os.ErrNotExist) && !create {
		return nil, nil //nolint:nilnil // a dry run in a directory that is still to be made
	}
	if err != nil {
		return nil, &DirError{err}
	}
	if !create {
		return dir, nil
	}
	gone, err := dir.Sweep()
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if len(gone) > 0 {
		a.Notify(Swept{gone})
	}
	return dir, nil
}
