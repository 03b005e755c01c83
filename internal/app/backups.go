package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Notices about files of backups.
type (
	// LostBackup names a checksum whose backup is not there.
	LostBackup struct{ Path string }
	// NothingRestored says why no restore is tried: the database cannot be reached.
	NothingRestored struct{ Err error }
)

func (LostBackup) notice()      {}
func (NothingRestored) notice() {}

// openDir opens a directory of backups that is there. The error is a *DirError.
func openDir(path string) (*backup.Dir, error) {
	dir, err := backup.OpenDir(path, false)
	if err != nil {
		return nil, &DirError{err}
	}
	return dir, nil
}

// ListedBackup is a backup of a directory.
type ListedBackup struct {
	backup.Entry

	Path string
}

// ListBackups returns the backups of a directory, as backup.Dir.List does.
func (a *App) ListBackups(path string, identities []age.Identity) ([]ListedBackup, error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.List(identities)
	if err != nil {
		return nil, err
	}
	out := make([]ListedBackup, len(entries))
	for i, e := range entries {
		out[i] = ListedBackup{Entry: e, Path: dir.Path(e.File)}
	}
	return out, nil
}

// PruneOptions say which backups of a directory stay.
type PruneOptions struct {
	Path       string
	Keep       backup.Keep
	Identities []age.Identity
	DryRun     bool
	// Confirm is asked before so many are removed; nil for nobody.
	Confirm func(ctx context.Context, going int) error
}

// PrunedBackup is what becomes of a backup.
type PrunedBackup struct {
	backup.Pruned

	Path string
}

// PruneBackups removes old backups. Where there is a result the error is one of removing
// them. It is backup.ErrLocked where another prune is at the directory.
func (a *App) PruneBackups(ctx context.Context, o PruneOptions) ([]PrunedBackup, error) {
	dir, err := openDir(o.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	if !o.DryRun {
		release, err := dir.LockPrune()
		if err != nil {
			return nil, err
		}
		defer release()
	}
	count, end := a.Bytes("read")
	plan, err := dir.PlanPrune(ctx, o.Keep, backup.ProveOptions{Identities: o.Identities, Progress: count})
	end()
	if err != nil {
		return nil, err
	}
	out, going := make([]PrunedBackup, len(plan)), 0
	for i, e := range plan {
		out[i] = PrunedBackup{Pruned: e, Path: dir.Path(e.File)}
		if e.Remove {
			going++
		}
	}
	if o.DryRun {
		return out, nil
	}
	if going > 0 && o.Confirm != nil {
		if err := o.Confirm(ctx, going); err != nil {
			return nil, err
		}
	}
	return out, dir.Prune(plan)
}

// VerifyOptions say which backups are checked, and how far.
type VerifyOptions struct {
	Paths      []string // files, and directories of them
	Identities []age.Identity
	Restore    bool // try to restore them too, where there is a database
	TrustCode  bool // with code of the file that no migration makes
}

// VerifiedBackup is what is known of a backup that was read.
type VerifiedBackup struct {
	backup.Examined

	Path     string
	Whole    bool   // every checksum and count is right
	Restores bool   // it was restored, and that undone
	Untried  string // why it was not, where it could have been
	Err      error  // why it is not whole, or does not restore
}

// VerifyBackups reads backups from end to end, and tries to restore them.
func (a *App) VerifyBackups(ctx context.Context, o VerifyOptions) ([]VerifiedBackup, error) {
	files, err := a.backupFiles(o.Paths)
	if err != nil {
		return nil, err
	}
	count, end := a.Bytes("verify")
	defer end()
	trial, err := a.newTrial(ctx, o)
	if err != nil {
		return nil, err
	}
	if trial.conn != nil {
		defer closeConn(ctx, trial.conn)
	}
	out := make([]VerifiedBackup, 0, len(files))
	for _, path := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		v := VerifiedBackup{Path: path}
		if v.Examined, v.Err = backup.Examine(ctx, path, o.Identities, count); v.Err == nil {
			v.Whole = true
			trial.try(ctx, &v, o.Identities)
		}
		out = append(out, v)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// backupFiles returns the files that paths mean: a directory stands for the backups in
// it, and a checksum for its backup. None twice; no backup at all is an error.
func (a *App) backupFiles(paths []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	add := func(path string) {
		if path = filepath.Clean(path); !seen[path] {
			seen[path], out = true, append(out, path)
		}
	}
	for _, path := range paths {
		if of, ok := backup.ChecksumOf(filepath.Base(path)); ok {
			path = filepath.Join(filepath.Dir(path), of)
		}
		if !isDir(path) {
			add(path)
			continue
		}
		dir, err := openDir(path)
		if err != nil {
			return nil, err
		}
		files, orphans, err := dir.Files()
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			add(dir.Path(file))
		}
		for _, file := range orphans {
			a.Notify(LostBackup{dir.Path(file)})
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("no backups in %s", path)
		}
	}
	return out, nil
}

// trial restores files into schemas that are rolled back, where there is a database to
// do it in.
type trial struct {
	conn *pgx.Conn
	anew backup.NewTenant
	not  string // why nothing can be tried
}

// newTrial connects, or finds out why it cannot: to read files needs no database.
func (a *App) newTrial(ctx context.Context, o VerifyOptions) (*trial, error) {
	if !o.Restore {
		return &trial{not: "not asked for"}, nil
	}
	conn, err := a.Connect(ctx)
	switch {
	case errors.Is(err, config.ErrNoDatabase):
		return &trial{not: "no database is given"}, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, new(*registry.ForeignError)), errors.As(err, new(*registry.TakenError)):
		return nil, err
	case err != nil:
		a.Notify(NothingRestored{err})
		return &trial{not: "the database cannot be reached"}, nil //nolint:nilerr // the notice has it
	}
	anew := a.structures(ctx, backup.Limits{}).NewTenant
	anew.TrustCode = o.TrustCode
	return &trial{conn: conn, anew: anew}, nil
}

// try finds out whether a file that is whole restores.
func (t *trial) try(ctx context.Context, v *VerifiedBackup, identities []age.Identity) {
	if v.Manifest == nil || v.Manifest.Kind != backup.KindTenant {
		return
	}
	if t.not != "" {
		v.Untried = t.not
		return
	}
	in, err := backup.OpenFile(v.Path, identities, nil)
	if err == nil {
		_, err = backup.Try(ctx, t.conn, backup.UntilDone(ctx, in), t.anew)
		_ = in.Close()
	}
	switch {
	case err == nil:
		v.Restores = true
	case ctx.Err() != nil:
		v.Err = context.Cause(ctx)
	case db.SQLState(err) == db.CodeReadOnlyTransaction, db.ConnectionLost(err), db.Retryable(err),
		errors.Is(err, backup.ErrNoRole), errors.Is(err, backup.ErrSpread), errors.Is(err, ErrExtensionAway):
		v.Untried = db.Text(err) // that says nothing about the file
	default:
		v.Err = err
	}
}
