package migrate

import (
	"context"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// RefusedError says that a file holds what cannot be part of a tenant's migrations.
type RefusedError struct {
	File string
	Err  error
	More int // other files that are refused too
}

// Error names the file, and how many others there are.
func (e *RefusedError) Error() string {
	more := ""
	switch {
	case e.More == 1:
		more = " (1 more file is refused)"
	case e.More > 1:
		more = fmt.Sprintf(" (%d more files are refused)", e.More)
	}
	return fmt.Sprintf("migration %s: %v%s", e.File, e.Err, more)
}

// Unwrap returns what is wrong with the file.
func (e *RefusedError) Unwrap() error { return e.Err }

// ChangedFilesError says that files are not what they were when they were
// applied.
type ChangedFilesError struct {
	Files []*Migration
	// Other is the name of the first as it was applied, where none of the files has the name
	// or the contents of one that was: they are another program's.
	Other string
}

// Error names the files.
func (e *ChangedFilesError) Error() string {
	if e.Other != "" {
		return fmt.Sprintf("these are other files than those that made the tenants: version %d is %s here, and was %s",
			e.Files[0].Version, e.Files[0].File, e.Other)
	}
	return fmt.Sprintf("changed since it was applied: %s; put it back as it was and write a new file for what is to be "+
		"different, "+
		"or accept it as it is", fileNames(e.Files))
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
		"or apply it as it is", fileNames(e.Files), e.Newest)
}

// CheckFiles compares the plan with the files that were applied before. The error
// is a *ChangedFilesError, unless that is allowed, or a *LateFilesError, unless
// the route takes files out of order or goes down.
func (p *Plan) CheckFiles(applied map[int64]registry.File, r Route, allowChanged bool) error {
	newest := int64(0)
	for v := range applied {
		newest = max(newest, v)
	}
	var changed, late []*Migration
	other := "" // what the first was called, while no file is one that was applied
	for i, m := range p.Migrations {
		before, was := applied[m.Version]
		switch {
		case !was:
		case i == 0 && before.File != m.File && before.Checksum != m.Checksum:
			other = before.File
		case before.File == m.File || before.Checksum == m.Checksum:
			other = ""
		}
		switch {
		case was && before.Checksum != m.Checksum:
			changed = append(changed, m)
		case !was && m.Version < newest:
			late = append(late, m)
		}
	}
	switch {
	case len(changed) > 0 && !allowChanged:
		return &ChangedFilesError{Files: changed, Other: other}
	case len(late) > 0 && r.kind() == Up && !r.OutOfOrder:
		return &LateFilesError{Files: late, Newest: newest}
	}
	return nil
}

// RecordFiles remembers the plan's files up to a version as applied. Those already
// known are left as they are, unless replace is set.
func (p *Plan) RecordFiles(ctx context.Context, q db.Querier, reg registry.Registry, upTo int64, replace bool) error {
	var pipe db.Pipeline
	reg.QueueFiles(&pipe, p.filesUpTo(upTo), replace)
	if err := pipe.Run(ctx, q); err != nil {
		return fmt.Errorf("record which files were applied: %w", err)
	}
	return nil
}

// Record returns a statement that records the plan's files along with the first
// tenant they are applied to, where the registry does not know all of them yet, and
// none where it does. The error is CheckFiles' where the files do not agree.
func (p *Plan) Record(reg registry.Registry, applied map[int64]registry.File) ([]db.Statement, error) {
	if err := p.CheckFiles(applied, Route{OutOfOrder: true}, false); err != nil {
		return nil, err
	}
	var unknown []registry.File
	for _, m := range p.Migrations {
		if _, known := applied[m.Version]; !known {
			unknown = append(unknown, registry.File{Version: m.Version, File: m.File, Checksum: m.Checksum})
		}
	}
	return reg.RecordFiles(unknown), nil
}

// filesUpTo returns the plan's files up to a version.
func (p *Plan) filesUpTo(version int64) []registry.File {
	var list []registry.File
	for _, m := range p.Migrations {
		if m.Version <= version {
			list = append(list, registry.File{Version: m.Version, File: m.File, Checksum: m.Checksum})
		}
	}
	return list
}
