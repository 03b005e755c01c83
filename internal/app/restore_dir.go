package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// Notices about a restore of a directory.
type (
	// LeftAlone names tenants of the backups that are there already.
	LeftAlone struct{ Tenants []registry.Tenant }
	// PassedBy names a backup that is not restored. Err is nil for one of pg_dump.
	PassedBy struct {
		Path string
		Err  error
	}
)

func (LeftAlone) notice() {}
func (PassedBy) notice()  {}

// NoBackupError says that a directory has no backup of what was chosen.
type NoBackupError struct {
	Dir      string
	Slug     string // of the tenant that was named, "" for any
	Registry string // the file of a backup of the registry, "" where there is none
}

func (e *NoBackupError) Error() string {
	switch {
	case e.Slug != "":
		return fmt.Sprintf("no backup of tenant %q in %s", e.Slug, e.Dir)
	case e.Registry != "":
		return "only the registry is saved in " + e.Dir
	}
	return "no backups of tenants in " + e.Dir
}

// SeveralError says that one new name was given for several tenants.
type SeveralError struct {
	Dir   string
	Count int
}

func (e *SeveralError) Error() string {
	return fmt.Sprintf("one name for %d tenants of %s", e.Count, e.Dir)
}

// RegistryFirstError says that the registry has to be restored before its tenants.
type RegistryFirstError struct{ File string }

func (e *RegistryFirstError) Error() string {
	return "the registry has no tenants, and a backup of it is there, which has to come first"
}

// RestoreDirOptions say which tenants of a directory are restored.
type RestoreDirOptions struct {
	RestoreOptions

	Dir        string
	Chosen     *Selection
	Identities []age.Identity
	DryRun     bool
	// Confirm is asked about the tenants where there are several; nil for nobody.
	Confirm func(ctx context.Context, slugs []string) error
	// Failed is told at once of a tenant that fails, of several; nil for nobody.
	Failed func(slug string, err error)
}

// RestoredTenant is a tenant that was restored, or could be.
type RestoredTenant struct {
	Path  string         // of the backup
	Made  *RestoreResult // nil for a dry run
	Would *WouldRestore  // nil without
}

// WouldRestore is what a dry run found out about a backup.
type WouldRestore struct {
	Manifest  *backup.Manifest
	SetAside  bool // a deleted tenant would make room
	Encrypted bool
	Size      int64
}

// RestoreDirResult is what became of the tenants.
type RestoreDirResult struct {
	Tenants []RestoredTenant // that are there now, or could be
	Summary fleet.Summary
}

// RestoreDir restores the newest whole backup of each chosen tenant of a directory, one
// after the other, and goes on after one that fails. Where several are chosen those that
// are there are left alone. The error says that nothing could be begun.
func (a *App) RestoreDir(ctx context.Context, o RestoreDirOptions) (RestoreDirResult, error) {
	dir, err := openDir(o.Dir)
	if err != nil {
		return RestoreDirResult{}, err
	}
	defer func() { _ = dir.Close() }()
	all, err := dir.List(nil)
	if err != nil {
		return RestoreDirResult{}, err
	}
	r := &dirRestore{app: a, o: o, dir: dir}
	if err := r.choose(all); err != nil {
		return RestoreDirResult{}, err
	}
	if r.conn, err = a.changeSchemas(ctx, o.DryRun); err != nil {
		return RestoreDirResult{}, err
	}
	defer closeConn(ctx, r.conn)
	if len(r.tenants) > 1 {
		if err := r.leaveAlone(ctx); err != nil {
			return RestoreDirResult{}, err
		}
	}
	return r.each(ctx), nil
}

// dirRestore is a restore of a directory that is under way.
type dirRestore struct {
	app        *App
	o          RestoreDirOptions
	dir        *backup.Dir
	conn       *pgx.Conn
	tenants    map[string][]*backup.Entry // by slug, the newest first
	ofRegistry string                     // the newest backup of the registry, "" for none
}

// choose takes the backups of the chosen tenants.
func (r *dirRestore) choose(all []backup.Entry) error {
	r.tenants = map[string][]*backup.Entry{}
	for i := range all {
		e := &all[i]
		switch {
		case e.Name.Slug != "" && r.o.Chosen.Selects(e.Name.Slug):
			r.tenants[e.Name.Slug] = append(r.tenants[e.Name.Slug], e)
		case e.Name.Slug == "" && e.Err == nil && r.ofRegistry == "":
			r.ofRegistry = r.dir.Path(e.File)
		}
	}
	for _, slug := range r.o.Chosen.Names() {
		if len(r.tenants[slug]) == 0 {
			return &NoBackupError{Dir: r.o.Dir, Slug: slug}
		}
	}
	switch {
	case len(r.tenants) == 0:
		return &NoBackupError{Dir: r.o.Dir, Registry: r.ofRegistry}
	case len(r.tenants) > 1 && r.o.As != "":
		return &SeveralError{Dir: r.o.Dir, Count: len(r.tenants)}
	}
	return nil
}

// leaveAlone takes out the tenants whose schemas are there, and asks about the others.
// Where the registry is empty it is restored first: it takes no backup when it has a
// tenant.
func (r *dirRestore) leaveAlone(ctx context.Context) error {
	there, err := r.app.Registry.List(ctx, r.conn, registry.Filter{})
	if err != nil {
		return err
	}
	if len(there) == 0 && r.o.Chosen.All() && r.ofRegistry != "" {
		return &RegistryFirstError{File: r.ofRegistry}
	}
	ghosts, err := r.app.Registry.Ghosts(ctx, r.conn)
	if err != nil {
		return err
	}
	var left []registry.Tenant
	for _, t := range there {
		if len(r.tenants[t.Slug]) > 0 && !slices.Contains(ghosts, t.Slug) {
			left = append(left, t)
			delete(r.tenants, t.Slug)
		}
	}
	if len(left) > 0 {
		r.app.Notify(LeftAlone{left})
	}
	if r.o.DryRun || len(r.tenants) == 0 || r.o.Confirm == nil {
		return nil
	}
	return r.o.Confirm(ctx, slices.Sorted(maps.Keys(r.tenants)))
}

// each restores the tenants one after the other.
func (r *dirRestore) each(ctx context.Context) RestoreDirResult {
	var out RestoreDirResult
	s := &out.Summary
	stop := r.app.Drain()
	slugs := slices.Sorted(maps.Keys(r.tenants))
	for _, slug := range slugs {
		select {
		case <-stop:
			s.Stopped = fleet.ErrDrained
		case <-ctx.Done():
			s.Stopped = context.Cause(ctx)
		default:
		}
		if s.Stopped != nil {
			s.Add(fleet.NotStarted, nil)
			continue
		}
		done, err := r.newest(ctx, slug)
		if done != nil {
			out.Tenants = append(out.Tenants, *done)
		}
		switch {
		case err == nil:
			s.Add(fleet.Done, nil)
		case done == nil && cutShort(ctx, err):
			s.Stopped = context.Cause(ctx)
			s.Add(fleet.NotStarted, s.Stopped) // undone
		default:
			s.Add(fleet.Failed, err)
			if len(slugs) > 1 && r.o.Failed != nil {
				r.o.Failed(slug, err)
			}
		}
	}
	return out
}

// cutShort reports whether an error is what the end of a context makes of a statement:
// pgx's word, the server's answer to a cancel request, or a connection that was cut
// because no answer came.
func cutShort(ctx context.Context, err error) bool {
	if ctx.Err() == nil || errors.Is(err, db.ErrCommitUnknown) {
		return false
	}
	return errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) ||
		db.SQLState(err) == db.CodeQueryCanceled || db.ConnectionLost(err)
}

// newest restores the newest of a tenant's backups that is whole. Those that are not
// are named.
func (r *dirRestore) newest(ctx context.Context, slug string) (*RestoredTenant, error) {
	count, end := r.app.Bytes("restore")
	defer end()
	for _, e := range r.tenants[slug] {
		path := r.dir.Path(e.File)
		if e.Name.Format == backup.FormatPgDump {
			r.app.Notify(PassedBy{Path: path})
			continue
		}
		if e.Err == nil {
			if err := r.dir.Prove(ctx, []*backup.Entry{e}, backup.ProveOptions{Identities: r.o.Identities,
				Progress: count}); err != nil {
				return nil, err
			}
		}
		if e.Err != nil {
			r.app.Notify(PassedBy{Path: path, Err: e.Err})
			continue
		}
		return r.restore(ctx, path)
	}
	return nil, fmt.Errorf("no whole backup of tenant %q in %s", slug, r.o.Dir)
}

// restore restores a file, or looks whether it could be. There is a tenant when it is
// there, even with an error.
func (r *dirRestore) restore(ctx context.Context, path string) (*RestoredTenant, error) {
	in, err := OpenBackup(ctx, path, r.o.Identities, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = in.Close() }()
	if r.o.DryRun {
		would, err := r.app.TryRestore(ctx, r.conn, in, r.o.As, r.o.Tablespace)
		if err != nil {
			return nil, err
		}
		return &RestoredTenant{Path: path, Would: would}, nil
	}
	made, err := r.app.RestoreTenant(ctx, r.conn, in, r.o.RestoreOptions)
	if made == nil {
		return nil, err
	}
	return &RestoredTenant{Path: path, Made: made}, err
}

// OpenBackup opens a file. One that a key does not open is read whole: its head may
// have been changed.
func OpenBackup(ctx context.Context, path string, keys []age.Identity, progress func(int64)) (*backup.File, error) {
	in, err := backup.OpenFile(path, keys, progress)
	if errors.Is(err, backup.ErrEncrypted) && len(keys) > 0 {
		if _, why := backup.Examine(ctx, path, keys, progress); why != nil {
			err = why
		}
	}
	return in, err
}
