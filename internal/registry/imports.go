package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ImportState is how far an import has come.
type ImportState string

// The states of an import.
const (
	ImportUnfinished   ImportState = "unfinished" // some of its rows are committed
	ImportDone         ImportState = "done"
	ImportAbandoned    ImportState = "abandoned" // unfinished, and begun again
	ImportUndone       ImportState = "undone"
	ImportPartlyUndone ImportState = "partly_undone" // some of it could not be taken back
)

// Import is a file that was imported into a tenant.
type Import struct {
	ID       int64
	TenantID string
	Tenant   string // its name
	Key      string // a UUID: what it is called in the tenant's schema
	File     string
	Bytes    int64
	SHA256   string          // in hexadecimal, "" when not known
	Options  json.RawMessage // the mapping and the policies
	Counts   json.RawMessage // of rows, by what became of them
	State    ImportState
	Done     int64 // records of the file that are committed
	// RejectFile is where rejected rows are written, RejectBytes how much of it belongs
	// to the records that are committed.
	RejectFile  string
	RejectBytes int64
	Actor       string
	Program     string
	StartedAt   time.Time
	FinishedAt  *time.Time
	UndoUntil   *time.Time // nil where it never could be taken back
	UndoneAt    *time.Time
	UndoneBy    string
}

// ImportPart is one transaction of an import that has made contacts, or changed some.
type ImportPart struct {
	FirstID, LastID string // the ids of the contacts that it has made lie between
	XID             string // xmin of what it has written
	LoadedAt        time.Time
}

// Errors of imports.
var (
	// ErrNoImport says that a tenant has no import of that number.
	ErrNoImport = errors.New("no such import")
	// ErrImportMoved says that somebody else has gone on with an import, or taken it back.
	ErrImportMoved = errors.New("somebody else goes on with this import, or has taken it back")
)

// ImportSum is the name in an import's Detail of the SHA-256 of its file, in hexadecimal.
const ImportSum = "sha256"

const importColumns = `i.id, i.tenant_id::text, t.slug as tenant, i.key::text, i.file, i.bytes,
	coalesce(i.sha256, '') as sha256, i.options, i.counts, i.state, i.done,
	coalesce(i.reject_file, '') as reject_file, coalesce(i.reject_bytes, 0) as reject_bytes, i.actor,
	coalesce(i.program, '') as program, i.started_at, i.finished_at, i.undo_until, i.undone_at,
	coalesce(i.undone_by, '') as undone_by`

// HasImports reports whether the registry keeps imports: one of an older program does
// not, until it is migrated.
func (r Registry) HasImports(ctx context.Context, q db.Querier) (bool, error) {
	found, err := db.Select(ctx, q, pgx.RowTo[bool], "select to_regclass($1) is not null and to_regclass($2) is not null",
		r.Imports(), r.ImportParts())
	if err != nil {
		return false, fmt.Errorf("look for the list of imports: %w", err)
	}
	return found[0], nil
}

// ListImports returns the imports of a tenant, or of all for "", the newest first, and no
// more than limit, 0 for all.
func (r Registry) ListImports(ctx context.Context, q db.Querier, tenantID string, limit int) ([]Import, error) {
	list, err := r.selectImports(ctx, q, `where $1::uuid is null or i.tenant_id = $1::uuid order by i.id desc limit $2`,
		orNull(tenantID), orNull(limit))
	return list, r.ExplainTable(ctx, q, "read the imports", err)
}

// LikeImports returns the imports of a tenant that may be of the same file, those of the
// same size, and the unfinished ones; the newest first. What was taken back does not
// count.
func (r Registry) LikeImports(ctx context.Context, q db.Querier, tenantID string, bytes int64) ([]Import, error) {
	return r.selectImports(ctx, q, `where i.tenant_id = $1 and (i.bytes = $2 or i.state = 'unfinished')
		and i.state <> 'undone' order by i.id desc limit 100`, tenantID, bytes)
}

// FindImport returns an import of a tenant and its parts.
func (r Registry) FindImport(
	ctx context.Context, q db.Querier, tenantID string, id int64,
) (Import, []ImportPart, error) {
	list, err := r.selectImports(ctx, q, "where i.tenant_id = $1 and i.id = $2", tenantID, id)
	switch {
	case err != nil && r.Missing(err):
		return Import{}, nil, ErrOldRegistry
	case err != nil:
		return Import{}, nil, err
	case len(list) == 0:
		return Import{}, nil, fmt.Errorf("%w: %d", ErrNoImport, id)
	}
	parts, err := db.Select(ctx, q, pgx.RowToStructByName[ImportPart], `
		select first_id::text, last_id::text, xid, loaded_at from `+r.ImportParts()+` where import_id = $1 order by part`, id)
	if err != nil {
		return Import{}, nil, fmt.Errorf("read import %d: %w", id, err)
	}
	return list[0], parts, nil
}

func (r Registry) selectImports(ctx context.Context, q db.Querier, where string, args ...any) ([]Import, error) {
	list, err := db.Select(ctx, q, pgx.RowToStructByName[Import],
		"select "+importColumns+" from "+r.Imports()+" i join "+r.Tenants()+" t on t.id = i.tenant_id "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read the list of imports: %w", err)
	}
	return list, nil
}

// ExpiredImports returns the keys of a tenant's imports that could be taken back once, and
// cannot any more.
func (r Registry) ExpiredImports(ctx context.Context, q db.Querier, tenantID string, now time.Time) ([]string, error) {
	keys, err := db.Select(ctx, q, pgx.RowTo[string], `select key::text from `+r.Imports()+`
		where tenant_id = $1 and undo_until <= $2`, tenantID, now)
	if err != nil {
		return nil, fmt.Errorf("read the list of imports: %w", err)
	}
	return keys, nil
}

// QueueImport adds the row of a new import. id gets its number.
func (r Registry) QueueImport(p *db.Pipeline, i Import, id *int64) {
	p.QueryRow([]any{id}, `insert into `+r.Imports()+` (tenant_id, key, file, bytes, sha256, options, counts, state, done,
			reject_file, reject_bytes, actor, program, started_at, finished_at, undo_until)
		values ($1::pg_catalog.uuid, $2::pg_catalog.uuid, $3, $4, $5, $6::pg_catalog.jsonb, $7::pg_catalog.jsonb, $8, $9,
			$10, $11, $12, $13, $14, $15, $16) returning id`,
		i.TenantID, i.Key, i.File, i.Bytes, orNull(i.SHA256), object(i.Options), object(i.Counts), string(i.State), i.Done,
		orNull(i.RejectFile), i.RejectBytes, i.Actor, orNull(i.Program), i.StartedAt, i.FinishedAt, i.UndoUntil)
}

// QueueImportPart adds a transaction of an import. id is read when the pipeline runs no
// earlier than this call: the import's row must be there.
func (r Registry) QueueImportPart(p *db.Pipeline, id int64, part ImportPart) {
	p.Exec(`insert into `+r.ImportParts()+` (import_id, part, first_id, last_id, xid, loaded_at)
		select $1, pg_catalog.count(*), $2::pg_catalog.uuid, $3::pg_catalog.uuid, $4, $5 from `+r.ImportParts()+`
			where import_id operator(pg_catalog.=) $1`,
		id, part.FirstID, part.LastID, part.XID, part.LoadedAt)
}

// QueueImportDone adds how far an unfinished import has come since it had done from
// records. The error is ErrImportMoved where that is not so any more.
func (r Registry) QueueImportDone(p *db.Pipeline, i Import, from int64) {
	p.Query(oneImport, `update `+r.Imports()+` set counts = $3::pg_catalog.jsonb, state = $4, done = $5,
			reject_file = $6, reject_bytes = $7, finished_at = $8, undo_until = $9
		where id operator(pg_catalog.=) $1 and done operator(pg_catalog.=) $2 and state operator(pg_catalog.=) 'unfinished'`,
		i.ID, from, object(i.Counts), string(i.State), i.Done, orNull(i.RejectFile), i.RejectBytes, i.FinishedAt, i.UndoUntil)
}

// QueueImportAbandoned adds that the unfinished imports of a file of a tenant do not go on.
func (r Registry) QueueImportAbandoned(p *db.Pipeline, tenantID, file, sum string) {
	p.Exec(`update `+r.Imports()+` set state = 'abandoned' where tenant_id operator(pg_catalog.=) $1::pg_catalog.uuid
		and state operator(pg_catalog.=) 'unfinished' and (file operator(pg_catalog.=) $2
			or sha256 operator(pg_catalog.=) $3)`,
		tenantID, file, sum)
}

// QueueImportUndone adds that an import, as it was read, was taken back, or some of it. The
// error is ErrImportMoved where it has gone on since, or was taken back by somebody else.
func (r Registry) QueueImportUndone(p *db.Pipeline, i Import, state ImportState, at time.Time, actor string) {
	p.Query(oneImport, `update `+r.Imports()+` set state = $2, undone_at = $3, undone_by = $4
		where id operator(pg_catalog.=) $1 and done operator(pg_catalog.=) $5 and state operator(pg_catalog.=) $6`,
		i.ID, string(state), at, actor, i.Done, string(i.State))
}

// oneImport returns ErrImportMoved unless a statement has changed the row of an import.
func oneImport(rows pgx.Rows) error {
	rows.Close()
	if rows.Err() == nil && rows.CommandTag().RowsAffected() != 1 {
		return ErrImportMoved
	}
	return rows.Err()
}

func object(text json.RawMessage) string {
	if len(text) == 0 {
		return "{}"
	}
	return string(text)
}
