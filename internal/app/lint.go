package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/crmctl/crmctl/internal/lint"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/migrations"
)

// LintOptions say which migration files are read, and what for.
type LintOptions struct {
	Paths   []string // files and directories; none = the tenants' migrations
	Target  string   // "" or lint.Citus
	Since   int64    // tell only of files newer than this version
	Applied bool     // compare with the files that were applied
}

// LintResult is what was found.
type LintResult struct {
	Findings []lint.Finding
	Files    int // that were looked at
	// Uncompared says why files were not compared with what was applied, nil where they
	// were, or need not be.
	Uncompared error
}

// Lint reads migration files and says what would go wrong with them. It connects only to
// compare. Errors are an *InputError or the database's.
func (a *App) Lint(ctx context.Context, o LintOptions) (LintResult, error) {
	var out LintResult
	files, err := a.lintFiles(o.Paths)
	if err != nil {
		return out, err
	}
	settings := lint.Options{Since: o.Since, Shared: a.Config.SharedSchemas, Target: o.Target}
	if o.Applied {
		if settings.Applied, out.Uncompared, err = a.appliedChecksums(ctx, files); err != nil {
			return out, err
		}
	}
	out.Files = files.count(o.Since)
	out.Findings, err = lint.Check(ctx, files.all(), settings)
	return out, err
}

// lintSource is a directory of migrations and those of its files that are read.
type lintSource struct {
	fsys  fs.FS
	dir   string // "" for the built-in files
	files []lint.File
}

type lintSources []*lintSource

func (s lintSources) all() []lint.File {
	var files []lint.File
	for _, source := range s {
		files = append(files, source.files...)
	}
	return files
}

// count returns how many files were looked at.
func (s lintSources) count(since int64) int {
	n := 0
	for _, file := range s.all() {
		if v, named := lint.Version(file.Path); !file.Context && (!named || v > since) {
			n++
		}
	}
	return n
}

// lintFiles reads what the arguments name, or the tenant's migrations.
func (a *App) lintFiles(paths []string) (lintSources, error) {
	if len(paths) == 0 {
		if a.Config.MigrationsDir == "" {
			source := &lintSource{fsys: migrations.Tenant()}
			return lintSources{source}, source.read(nil)
		}
		if _, err := os.Stat(a.Config.MigrationsDir); errors.Is(err, fs.ErrNotExist) {
			return nil, inputErrorf("%w", &FilesError{Where: a.Config.MigrationsDir, Err: fs.ErrNotExist})
		}
		paths = []string{a.Config.MigrationsDir}
	}
	var sources lintSources
	named := map[string][]string{} // directory -> its files that were named, nil for all
	for _, path := range paths {
		dir, base := filepath.Split(filepath.Clean(path))
		if isDir(path) {
			dir, base = TenantDir(path), ""
		}
		dir = filepath.Clean(dir)
		names, seen := named[dir]
		if !seen {
			sources = append(sources, &lintSource{fsys: os.DirFS(dir), dir: dir})
		}
		switch {
		case base == "":
			named[dir] = nil
		case !seen || names != nil:
			named[dir] = append(names, base)
		}
	}
	for _, source := range sources {
		if err := source.read(named[source.dir]); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// TenantDir returns the directory "tenant" of a directory of migrations, where
// it has one.
func TenantDir(dir string) string {
	if sub := filepath.Join(dir, "tenant"); isDir(sub) {
		return sub
	}
	return dir
}

// read reads all files of the directory; those that are not named are context.
func (s *lintSource) read(named []string) error {
	entries, err := fs.ReadDir(s.fsys, ".")
	if err != nil {
		return inputErrorf("read the migrations: %w", err)
	}
	for _, name := range named {
		if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name && !e.IsDir() }) {
			return inputErrorf("no file %s", filepath.Join(s.dir, name))
		}
	}
	for _, e := range entries {
		wanted := named == nil || slices.Contains(named, e.Name())
		if !lint.Looks(e.Name()) && (e.IsDir() || named == nil || !wanted) {
			continue
		}
		// A directory or a link to nothing is a finding, as a run refuses it.
		text, err := fs.ReadFile(s.fsys, e.Name())
		s.files = append(s.files, lint.File{Path: filepath.Join(s.dir, e.Name()), Text: string(text), Err: err,
			Context: !wanted})
	}
	if len(s.files) == 0 {
		return inputErrorf("no migration files (like 00001_create_contacts.sql) in %s", s.dir)
	}
	return nil
}

// appliedChecksums reads what was applied, and gives the files their own
// checksums. Files that do not compile cannot be compared: uncompared says why.
func (a *App) appliedChecksums(ctx context.Context, sources lintSources) (applied map[int64]string,
	uncompared, err error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer closeConn(ctx, conn)
	known, err := a.Registry.AppliedFiles(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	applied = make(map[int64]string, len(known))
	for version, file := range known {
		applied[version] = file.Checksum
	}
	for _, source := range sources {
		plan, err := migrate.Compile(ctx, source.fsys)
		if err != nil {
			uncompared = fmt.Errorf("not compared with what was applied: %w", err)
			continue
		}
		for i := range source.files {
			for _, m := range plan.Migrations {
				if m.File == filepath.Base(source.files[i].Path) {
					source.files[i].Checksum = m.Checksum
				}
			}
		}
	}
	return applied, uncompared, nil
}
