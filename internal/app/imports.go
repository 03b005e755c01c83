package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// SameFile says, before anything is loaded, that the tenant had a file of the same bytes
// already.
type SameFile struct{ Import registry.Import }

// GoesOn says that an import which had stopped goes on behind the rows it has committed.
type GoesOn struct{ Import registry.Import }

func (SameFile) notice() {}
func (GoesOn) notice()   {}

// UnfinishedError says that an import in batches was stopped, and that what is given now
// is not what it would go on with.
type UnfinishedError struct {
	Import registry.Import
	Reason string // what differs
}

// Error says what differs.
func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("import %d of %s has stopped after %d records, and cannot go on: %s", e.Import.ID, e.Import.File,
		e.Import.Done, e.Reason)
}

// importRun is an import into a tenant, with its row of the registry.
type importRun struct {
	app    *App
	conn   *pgx.Conn
	tenant registry.Tenant
	read   *importer.Options
	fresh  bool // an import that has stopped does not go on
	listed bool // the registry keeps imports
	row    registry.Import
	going  bool // the row is there
	from   int64
	before *registry.Import // the tenant had the same file
}

// fitsBatches refuses what cannot be kept where rows are committed before the next are
// read: whether a later row has the same key.
func fitsBatches(o importer.Options) error {
	usual, err := importer.ParseRepeatPolicy("", o.OnConflict)
	if err != nil {
		return &InputError{err}
	}
	if o.Batch == 0 || o.InFile == "" || o.InFile == usual {
		return nil
	}
	return inputErrorf("in batches rows with the same key are known only where they are in one batch: the policy %q for "+
		"them does not go with that", o.InFile)
}

// prepare makes the options ask for what the registry keeps of the import.
func (r *importRun) prepare(ctx context.Context, keep time.Duration) (err error) {
	if r.listed, err = r.app.Registry.HasImports(ctx, r.conn); err != nil {
		return err
	}
	if r.listed && !r.read.DryRun {
		key, err := newUUID()
		if err != nil {
			return err
		}
		r.row.Key = key
		if r.read.Expired, err = r.app.Registry.ExpiredImports(ctx, r.conn, r.tenant.ID, r.app.Now()); err != nil {
			return err
		}
		if keep > 0 {
			until := r.app.Now().Add(keep)
			r.read.Keep, r.row.UndoUntil = key, &until
		}
	}
	if r.read.Batch > 0 && !r.listed {
		return registry.ErrOldRegistry
	}
	r.read.Opened, r.read.AfterLoad = r.opened, r.record
	return nil
}

// newUUID returns a random UUID.
func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make an identifier: %w", err)
	}
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// opened looks for earlier imports of the file, before it is loaded.
func (r *importRun) opened(ctx context.Context, s importer.Source) (*importer.Checkpoint, error) {
	r.row.TenantID, r.row.Tenant, r.row.File, r.row.Bytes = r.tenant.ID, r.tenant.Slug, s.Plan.FileName, s.Size
	r.row.Actor, r.row.Program, r.row.StartedAt = r.app.Actor, r.app.Program, r.app.Now()
	options, err := json.Marshal(r.identity(s.Plan))
	if err != nil {
		return nil, err
	}
	r.row.Options = options
	if !r.listed {
		return nil, nil
	}
	like, err := r.app.Registry.LikeImports(ctx, r.conn, r.tenant.ID, s.Size)
	if err != nil {
		return nil, err
	}
	inBatches := r.read.Batch > 0 && !r.read.DryRun
	if len(like) > 0 || inBatches { // otherwise the file is read but once
		if r.row.SHA256, err = s.Sum(); err != nil {
			return nil, err
		}
	}
	for i := range like {
		if like[i].State != registry.ImportUnfinished && like[i].SHA256 == r.row.SHA256 && r.row.SHA256 != "" {
			r.before = &like[i]
			r.app.Notify(SameFile{like[i]})
			break
		}
	}
	if inBatches && !r.fresh {
		return r.goOn(like)
	}
	return nil, nil
}

// identity is what an import that has stopped goes on with only where it is the same.
func (r *importRun) identity(p importer.Plan) map[string]any {
	o := r.read
	return map[string]any{
		"mapping": mappingOf(p), "on_conflict": string(o.OnConflict), "in_file": string(o.InFile), "key": string(o.Key),
		"null": append([]string{}, o.Null...), "region": o.Region, "encoding": o.Encoding, "delimiter": o.Delimiter,
		"header_row": o.HeaderRow,
	}
}

// goOn returns where the import goes on that has stopped, nil for the beginning.
func (r *importRun) goOn(like []registry.Import) (*importer.Checkpoint, error) {
	var other *registry.Import
	for i := range like {
		old := &like[i]
		switch {
		case old.State != registry.ImportUnfinished:
			continue
		case old.SHA256 == r.row.SHA256 && sameJSON(old.Options, r.row.Options):
			return r.take(*old)
		case old.SHA256 == r.row.SHA256:
			return nil, &UnfinishedError{Import: *old, Reason: "it was begun with another mapping or other options"}
		case old.File == r.row.File && old.File != "stdin":
			other = old
		}
	}
	if other != nil {
		return nil, &UnfinishedError{Import: *other, Reason: "the file was changed since"}
	}
	return nil, nil
}

// take goes on with an import that has stopped.
func (r *importRun) take(old registry.Import) (*importer.Checkpoint, error) {
	var kept keptCounts
	if err := json.Unmarshal(old.Counts, &kept); err != nil {
		return nil, fmt.Errorf("read import %d: %w", old.ID, err)
	}
	from := &importer.Checkpoint{Records: old.Done, Counts: kept.Counts, RejectPath: old.RejectFile,
		RejectBytes: old.RejectBytes, AcceptPath: kept.AcceptFile, AcceptBytes: kept.AcceptBytes}
	r.row, r.going, r.from = old, true, old.Done
	if r.read.Keep != "" {
		r.read.Keep = old.Key
	}
	r.app.Notify(GoesOn{old})
	return from, nil
}

// keptCounts is what the registry keeps as the counts of an import: with them how much of the
// file of accepted rows is of the rows that are committed.
type keptCounts struct {
	importer.Counts

	AcceptFile  string `json:"accept_file,omitempty"`
	AcceptBytes int64  `json:"accept_bytes,omitempty"`
}

// sameJSON reports whether two texts are the same value.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// record writes what an import has done into the registry, in the import's own
// transaction, and makes sure that the tenant was not closed while the file was read.
func (r *importRun) record(ctx context.Context, q db.Querier, done importer.Result) error {
	if err := r.app.Registry.HoldOpen(ctx, q, r.tenant); err != nil {
		return err
	}
	unfinished := r.read.Batch > 0 && done.Unfinished
	var p db.Pipeline
	if !unfinished || !r.going {
		if err := r.queueEvent(&p, done, unfinished); err != nil {
			return err
		}
	}
	if !r.listed {
		return p.Run(ctx, q)
	}
	row, err := r.progress(done, unfinished)
	if err != nil {
		return err
	}
	if r.going {
		r.app.Registry.QueueImportDone(&p, row, r.from)
	} else {
		if r.fresh {
			r.app.Registry.QueueImportAbandoned(&p, r.tenant.ID, row.File, row.SHA256)
		}
		r.app.Registry.QueueImport(&p, row, &row.ID)
	}
	if err := p.Run(ctx, q); err != nil {
		if errors.Is(err, registry.ErrImportMoved) {
			return registry.ErrImportMoved
		}
		return err
	}
	if part := done.Part; part != nil {
		var p db.Pipeline
		r.app.Registry.QueueImportPart(&p, row.ID, registry.ImportPart{FirstID: part.FirstID, LastID: part.LastID,
			XID: part.XID, LoadedAt: part.LoadedAt})
		if err := p.Run(ctx, q); err != nil {
			return err
		}
	}
	r.row, r.going, r.from = row, true, row.Done
	return nil
}

// progress returns the row as it is after what was done.
func (r *importRun) progress(done importer.Result, unfinished bool) (registry.Import, error) {
	row := r.row
	counts, err := json.Marshal(keptCounts{done.Counts(), done.AcceptFile, done.Checkpoint.AcceptBytes})
	if err != nil {
		return row, err
	}
	row.Counts, row.Done = counts, done.Checkpoint.Records
	row.RejectFile, row.RejectBytes = done.RejectFile, done.Checkpoint.RejectBytes
	row.State = registry.ImportUnfinished
	if done.SHA256 != "" {
		row.SHA256 = done.SHA256
	}
	if !unfinished {
		at := r.app.Now()
		row.State, row.FinishedAt = registry.ImportDone, &at
	}
	if !done.Undoable {
		row.UndoUntil = nil
	}
	return row, nil
}

// queueEvent adds the audit of an import, or of its beginning.
func (r *importRun) queueEvent(p *db.Pipeline, done importer.Result, unfinished bool) error {
	detail := map[string]any{
		"file": done.Plan.FileName, "read": done.Read, "inserted": done.Inserted, "updated": done.Updated,
		"unchanged": done.Unchanged, "repeated": done.Repeated, "rejected": done.Rejected, "mapping": mappingOf(done.Plan),
	}
	if done.SHA256 != "" {
		detail[registry.ImportSum] = done.SHA256
	}
	if r.read.Batch > 0 {
		detail["batch"] = r.read.Batch
	}
	if unfinished {
		detail["unfinished"] = true
	}
	return r.app.Registry.QueueEvent(p, registry.Event{
		TenantID: r.tenant.ID, Slug: r.tenant.Slug, Action: registry.ActionImport, Actor: r.app.Actor, Program: r.app.Program,
		Detail: detail, Role: done.Role,
	})
}

// Imports returns what was imported into a tenant, or into all for "", the newest first.
func (a *App) Imports(ctx context.Context, tenant string, limit int) ([]registry.Import, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	id := ""
	if tenant != "" {
		slug, err := registry.Slug(tenant)
		if err != nil {
			return nil, err
		}
		t, err := a.Registry.Get(ctx, conn, slug)
		if err != nil {
			return nil, err
		}
		id = t.ID
	}
	return a.Registry.ListImports(ctx, conn, id, limit)
}
