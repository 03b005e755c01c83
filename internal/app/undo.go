package app

import (
	"context"
	"errors"
	"time"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// UndoOptions say which import is taken back.
type UndoOptions struct {
	Tenant           string
	ID               int64
	DryRun           bool
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	// Confirm, if not nil, is asked before anything is changed, with what would become of
	// the contacts.
	Confirm func(registry.Import, importer.UndoResult) error
}

// UndoResult is what became of the contacts of an import.
type UndoResult struct {
	importer.UndoResult

	Import registry.Import // as it was before
}

// ErrTakenBack says that all of an import was taken back already.
var ErrTakenBack = errors.New("the import was taken back already")

// UndoImport takes an import back, where nothing has changed since.
func (a *App) UndoImport(ctx context.Context, o UndoOptions) (UndoResult, error) {
	var out UndoResult
	conn, t, err := a.changeTenant(ctx, o.Tenant, a.change, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	i, parts, err := a.Registry.FindImport(ctx, conn, t.ID, o.ID)
	out.Import = i
	switch {
	case err != nil:
		return out, err
	case isMerge(i):
		return out, ErrIsMerge
	case i.State == registry.ImportUndone:
		return out, ErrTakenBack
	case i.UndoUntil == nil || !a.Now().Before(*i.UndoUntil):
		return out, importer.ErrNothingKept
	}
	undo := importer.UndoOptions{Schema: t.Schema, Tenant: a.Registry.Row(t.ID), Import: i.Key, DryRun: true,
		LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Trusted: a.Config.TrustedOwners,
		OwnRole: a.ownRole()}
	for _, part := range parts {
		undo.Parts = append(undo.Parts, importer.Part(part))
	}
	if undo.Path, err = a.TenantPath(ctx, conn, nil); err != nil {
		return out, err
	}
	if o.DryRun || o.Confirm != nil {
		if out.UndoResult, err = importer.Undo(ctx, conn, undo); err != nil || o.DryRun {
			return out, err
		}
		if err := o.Confirm(i, out.UndoResult); err != nil {
			return out, err
		}
	}
	undo.DryRun = false
	undo.AfterUndo = func(ctx context.Context, q db.Querier, r importer.UndoResult) error {
		return a.recordUndo(ctx, q, t, i, r)
	}
	out.UndoResult, err = importer.Undo(ctx, conn, undo)
	return out, err
}

// recordUndo writes what was taken back into the registry.
func (a *App) recordUndo(ctx context.Context, q db.Querier, t registry.Tenant, i registry.Import,
	r importer.UndoResult) error {
	if err := a.Registry.HoldOpen(ctx, q, t); err != nil {
		return err
	}
	state := registry.ImportUndone
	if r.Left > 0 {
		state = registry.ImportPartlyUndone
	}
	var p db.Pipeline
	a.Registry.QueueImportUndone(&p, i, state, a.Now(), a.Actor)
	err := a.Registry.QueueEvent(&p, registry.Event{
		TenantID: t.ID, Slug: t.Slug, Action: registry.ActionImportUndo, Actor: a.Actor, Program: a.Program, Role: r.Role,
		Detail: map[string]any{"import": i.ID, "file": i.File, "removed": r.Removed, "put_back": r.PutBack,
			"left": r.Left, "left_by_reason": r.LeftBy},
	})
	if err != nil {
		return err
	}
	if err := p.Run(ctx, q); errors.Is(err, registry.ErrImportMoved) {
		return registry.ErrImportMoved
	} else if err != nil {
		return err
	}
	return nil
}
