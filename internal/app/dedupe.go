package app

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// dedupeFile is what the list of imports calls a merge of doubles, where others name a file.
const dedupeFile = "(dedupe)"

// ErrNoMerge says that an entry of the list of imports is no merge of doubles.
var ErrNoMerge = errors.New("it is an import, and no merge of doubles")

// ErrIsMerge says that an entry of the list of imports is a merge of doubles.
var ErrIsMerge = errors.New("it is a merge of doubles, and no import")

// isMerge reports whether an entry of the list of imports is a merge of doubles.
func isMerge(i registry.Import) bool {
	var options struct {
		Kind string `json:"kind"`
	}
	return json.Unmarshal(i.Options, &options) == nil && options.Kind == "dedupe"
}

// DedupeOptions say what is done about the likely doubles among a tenant's contacts.
type DedupeOptions struct {
	Tenant string // its name
	Query  crm.DoublesQuery
	DryRun bool
	// Confirm, if not nil, is asked before anything is kept, with what would become of them.
	Confirm func(crm.Merged) error
}

// DedupeResult is what became of doubles.
type DedupeResult struct {
	crm.Merged

	ID int64 // in the list of imports, where it can be taken back; 0 for none
}

// Dedupe merges the likely doubles among a tenant's contacts.
func (a *App) Dedupe(ctx context.Context, o DedupeOptions) (DedupeResult, error) {
	var out DedupeResult
	err := a.onCRM(ctx, o.Tenant, o.DryRun, func(conn *pgx.Conn, known *crmTenant) error {
		t := known.tenant
		listed, err := a.Registry.HasImports(ctx, conn)
		if err != nil {
			return err
		}
		row := registry.Import{TenantID: t.ID, Tenant: t.Slug, File: dedupeFile, State: registry.ImportDone, Actor: a.Actor,
			Program: a.Program, StartedAt: a.Now()}
		merging := crm.Merging{DoublesQuery: o.Query}
		if keep := a.Config.ImportUndoKeep; listed {
			if row.Key, err = newUUID(); err != nil {
				return err
			}
			if merging.Expired, err = a.Registry.ExpiredImports(ctx, conn, t.ID, a.Now()); err != nil {
				return err
			}
			if keep > 0 {
				until := a.Now().Add(keep)
				merging.Keep, row.UndoUntil = row.Key, &until
			}
		}
		do := func(ctx context.Context, w *crm.Writer) (err error) {
			out.Merged, err = w.MergeDoubles(ctx, merging)
			return err
		}
		record := func(ctx context.Context, q db.Querier, role string, _ []crm.Change) error {
			return a.recordDedupe(ctx, q, t, role, listed, &row, out.Merged)
		}
		write := CRMWrite{DryRun: o.DryRun, Do: do}
		if o.Confirm != nil {
			write.Confirm = func() error {
				if out.Groups == 0 {
					return nil
				}
				return o.Confirm(out.Merged)
			}
		}
		if err := writeCRM(ctx, conn, known.opened.Recording(record), write); err != nil {
			return err
		}
		if row.UndoUntil != nil {
			out.ID = row.ID
		}
		return nil
	})
	return out, err
}

// recordDedupe writes a merge into the registry.
func (a *App) recordDedupe(ctx context.Context, q db.Querier, t registry.Tenant, role string, listed bool,
	row *registry.Import, done crm.Merged) error {
	counts := map[string]any{"read": done.Groups + done.Removed, "updated": done.Groups, "removed": done.Removed,
		"moved": done.Moved, "referred": done.Referred}
	var p db.Pipeline
	if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: t.ID, Slug: t.Slug, Action: registry.ActionDedupe,
		Actor: a.Actor, Program: a.Program, Role: role, Detail: counts}); err != nil {
		return err
	}
	if !listed {
		return p.Run(ctx, q)
	}
	at := a.Now()
	row.FinishedAt = &at
	row.Options = json.RawMessage(`{"kind": "dedupe"}`)
	var err error
	if row.Counts, err = json.Marshal(counts); err != nil {
		return err
	}
	a.Registry.QueueImport(&p, *row, &row.ID)
	if err := p.Run(ctx, q); err != nil {
		return err
	}
	// It has made no contacts: there is no id between these two.
	var part db.Pipeline
	a.Registry.QueueImportPart(&part, row.ID, registry.ImportPart{FirstID: "ffffffff-ffff-ffff-ffff-ffffffffffff",
		LastID: "00000000-0000-0000-0000-000000000000", XID: done.XID, LoadedAt: at})
	return part.Run(ctx, q)
}

// DedupeUndoOptions say which merge of doubles is taken back.
type DedupeUndoOptions struct {
	Tenant  string
	ID      int64 // in the list of imports
	DryRun  bool
	Confirm func(registry.Import, crm.Unmerged) error // nil agrees
}

// UndoDedupe takes a merge of doubles back: each group whose contact was not changed since.
func (a *App) UndoDedupe(ctx context.Context, o DedupeUndoOptions) (crm.Unmerged, error) {
	var out crm.Unmerged
	err := a.onCRM(ctx, o.Tenant, o.DryRun, func(conn *pgx.Conn, known *crmTenant) error {
		t := known.tenant
		i, parts, err := a.Registry.FindImport(ctx, conn, t.ID, o.ID)
		switch {
		case err != nil:
			return err
		case !isMerge(i):
			return ErrNoMerge
		case i.State == registry.ImportUndone:
			return ErrTakenBack
		case i.UndoUntil == nil || !a.Now().Before(*i.UndoUntil) || len(parts) != 1:
			return importer.ErrNothingKept
		}
		do := func(ctx context.Context, w *crm.Writer) (err error) {
			out, err = w.UnmergeDoubles(ctx, i.Key, parts[0].XID)
			return err
		}
		record := func(ctx context.Context, q db.Querier, role string, _ []crm.Change) error {
			return a.recordUndedupe(ctx, q, t, i, role, out)
		}
		write := CRMWrite{DryRun: o.DryRun, Do: do}
		if o.Confirm != nil {
			write.Confirm = func() error { return o.Confirm(i, out) }
		}
		return writeCRM(ctx, conn, known.opened.Recording(record), write)
	})
	return out, err
}

func (a *App) recordUndedupe(ctx context.Context, q db.Querier, t registry.Tenant, i registry.Import, role string,
	done crm.Unmerged) error {
	state := registry.ImportUndone
	if done.Left > 0 {
		state = registry.ImportPartlyUndone
	}
	var p db.Pipeline
	a.Registry.QueueImportUndone(&p, i, state, a.Now(), a.Actor)
	if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: t.ID, Slug: t.Slug, Action: registry.ActionDedupeUndo,
		Actor: a.Actor, Program: a.Program, Role: role, Detail: map[string]any{"import": i.ID, "groups": done.Groups,
			"restored": done.Restored, "moved": done.Moved, "left": done.Left}}); err != nil {
		return err
	}
	if err := p.Run(ctx, q); errors.Is(err, registry.ErrImportMoved) {
		return registry.ErrImportMoved
	} else if err != nil {
		return err
	}
	return nil
}
