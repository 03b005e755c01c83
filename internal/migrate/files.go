package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrOldRegistry says that the registry lacks what this program needs of it.
var ErrOldRegistry = errors.New("the registry is missing or older than this crmctl")

// AppliedFile is a tenant migration as it was when it was first applied.
type AppliedFile struct {
	Version  int64
	File     string
	Checksum string
}

// AppliedFiles returns the tenant migrations that were ever applied to a tenant of
// this registry, by version.
func AppliedFiles(ctx context.Context, q db.Querier) (map[int64]AppliedFile, error) {
	files, err := db.Select(ctx, q, pgx.RowToStructByPos[AppliedFile], selectFiles)
	if err != nil {
		if db.MissingRegistry(err) {
			return nil, ErrOldRegistry
		}
		return nil, fmt.Errorf("read which files were applied: %w", err)
	}
	return byVersion(files), nil
}

const selectFiles = `select version, file, checksum from public.migration_files`

func byVersion(files []AppliedFile) map[int64]AppliedFile {
	out := make(map[int64]AppliedFile, len(files))
	for _, f := range files {
		out[f.Version] = f
	}
	return out
}

// ChangedFilesError says that files are not what they were when they were
// applied.
type ChangedFilesError struct{ Files []*Migration }

// Error names the files.
func (e *ChangedFilesError) Error() string {
	return fmt.Sprintf("changed since it was applied: %s; put it back as it was and write a new file for what is to be different, "+
		"or accept it with --allow-changed", fileNames(e.Files))
}

// LateFilesError says that files are older than the newest applied one and were
// never applied.
type LateFilesError struct {
	Files  []*Migration
	Newest int64
}

// Error names the files.
func (e *LateFilesError) Error() string {
	return fmt.Sprintf("out of order: %s was never applied, but version %d was; give it a newer version, "+
		"or apply it as it is with --out-of-order", fileNames(e.Files), e.Newest)
}

// CheckFiles compares the plan with the files that were applied before. The error
// is a *ChangedFilesError, unless that is allowed, or a *LateFilesError, unless
// the route takes files out of order or goes down.
func (p *Plan) CheckFiles(applied map[int64]AppliedFile, r Route, allowChanged bool) error {
	newest := int64(0)
	for v := range applied {
		newest = max(newest, v)
	}
	var changed, late []*Migration
	for _, m := range p.Migrations {
		before, was := applied[m.Version]
		switch {
		case was && before.Checksum != m.Checksum:
			changed = append(changed, m)
		case !was && m.Version < newest:
			late = append(late, m)
		}
	}
	switch {
	case len(changed) > 0 && !allowChanged:
		return &ChangedFilesError{Files: changed}
	case len(late) > 0 && r.kind() == Up && !r.OutOfOrder:
		return &LateFilesError{Files: late, Newest: newest}
	}
	return nil
}

// RecordFiles remembers the plan's files up to a version as applied. Those already
// known are left as they are, unless replace is set.
func (p *Plan) RecordFiles(ctx context.Context, q db.Querier, upTo int64, replace bool) error {
	var pipe db.Pipeline
	p.queueFiles(&pipe, upTo, replace)
	if err := pipe.Run(ctx, q); err != nil {
		return fmt.Errorf("record which files were applied: %w", err)
	}
	return nil
}

// Record returns a statement that records the plan's files along with the first
// tenant they are applied to, where the registry does not know all of them yet, and
// none where it does. The error is CheckFiles' where the files do not agree.
func (p *Plan) Record(applied map[int64]AppliedFile) ([]db.Statement, error) {
	if err := p.CheckFiles(applied, Route{OutOfOrder: true}, false); err != nil {
		return nil, err
	}
	var rows []string
	for _, m := range p.Migrations {
		if _, known := applied[m.Version]; !known {
			rows = append(rows, fmt.Sprintf("(%d, %s, %s)", m.Version, db.Literal(m.File), db.Literal(m.Checksum)))
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return []db.Statement{{SQL: `insert into public.migration_files (version, file, checksum) values ` +
		strings.Join(rows, ", ") + ` on conflict (version) do nothing`}}, nil
}

func (p *Plan) queueFiles(pipe *db.Pipeline, upTo int64, replace bool) {
	var (
		versions         []int64
		names, checksums []string
	)
	for _, m := range p.Migrations {
		if m.Version <= upTo {
			versions = append(versions, m.Version)
			names = append(names, m.File)
			checksums = append(checksums, m.Checksum)
		}
	}
	if len(versions) == 0 {
		return
	}
	conflict := "do nothing"
	if replace {
		conflict = "do update set file = excluded.file, checksum = excluded.checksum"
	}
	pipe.Exec(`insert into public.migration_files (version, file, checksum)
		select * from rows from (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]))
		on conflict (version) `+conflict, versions, names, checksums)
}
