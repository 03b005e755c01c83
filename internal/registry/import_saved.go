package registry

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// SavedImport is an import of a tenant as it goes with the tenant into another registry,
// where it gets another number.
type SavedImport struct {
	Key         string          `json:"key"`
	File        string          `json:"file"`
	Bytes       int64           `json:"bytes"`
	SHA256      *string         `json:"sha256,omitempty"`
	Options     json.RawMessage `json:"options"`
	Counts      json.RawMessage `json:"counts"`
	State       ImportState     `json:"state"`
	Done        int64           `json:"done"`
	RejectFile  *string         `json:"reject_file,omitempty"`
	RejectBytes *int64          `json:"reject_bytes,omitempty"`
	Actor       string          `json:"actor"`
	Program     *string         `json:"program,omitempty"`
	StartedAt   time.Time       `json:"started_at"`
	FinishedAt  *time.Time      `json:"finished_at,omitempty"`
	UndoUntil   *time.Time      `json:"undo_until,omitempty"`
	UndoneAt    *time.Time      `json:"undone_at,omitempty"`
	UndoneBy    *string         `json:"undone_by,omitempty"`

	// Of the transactions of one that can be taken back: between which ids the contacts lie
	// that each has made, when it was, and its number, which means nothing elsewhere.
	FirstIDs []string    `json:"first_ids,omitempty"`
	LastIDs  []string    `json:"last_ids,omitempty"`
	LoadedAt []time.Time `json:"loaded_at,omitempty"`
	XIDs     []string    `json:"-" db:"xids"`
}

// Known reports whether a state is one of an import.
func (s ImportState) Known() bool {
	switch s {
	case ImportUnfinished, ImportDone, ImportAbandoned, ImportUndone, ImportPartlyUndone:
		return true
	}
	return false
}

// maxSavedImports is how many imports go with a tenant.
const maxSavedImports = 1000

// QueueSavedImports adds the query of the newest imports of a tenant, the newest first. The
// registry must have them, as HasImports says.
func (r Registry) QueueSavedImports(p *db.Pipeline, tenantID string, into *[]SavedImport) {
	of := ` from ` + r.ImportParts() + ` p where p.import_id operator(pg_catalog.=) i.id
		and i.undo_until operator(pg_catalog.>) pg_catalog.now() order by p.part)`
	p.Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[SavedImport])
		return err
	}, `select i.key::pg_catalog.text, i.file, i.bytes, i.sha256, i.options, i.counts, i.state, i.done, i.reject_file,
			i.reject_bytes, i.actor, i.program, i.started_at, i.finished_at, i.undo_until, i.undone_at, i.undone_by,
			array(select p.first_id::pg_catalog.text`+of+` as first_ids,
			array(select p.last_id::pg_catalog.text`+of+` as last_ids, array(select p.xid`+of+` as xids,
			array(select p.loaded_at`+of+` as loaded_at
		from `+r.Imports()+` i where i.tenant_id operator(pg_catalog.=) $1::pg_catalog.uuid
		order by i.id desc limit $2`, tenantID, maxSavedImports)
}

// QueueImportsAgain adds the imports that came with a tenant, the newest first, in place of
// those that the registry has of it.
func (r Registry) QueueImportsAgain(p *db.Pipeline, tenantID string, list []SavedImport) error {
	p.Exec(`delete from `+r.Imports()+` where tenant_id operator(pg_catalog.=) $1::pg_catalog.uuid`, tenantID)
	for _, i := range slices.Backward(list) {
		text, err := json.Marshal(i)
		if err != nil {
			return err
		}
		p.Exec(`with i as (
				insert into `+r.Imports()+` (tenant_id, key, file, bytes, sha256, options, counts, state, done, reject_file,
					reject_bytes, actor, program, started_at, finished_at, undo_until, undone_at, undone_by)
				select $1::pg_catalog.uuid, x.* from pg_catalog.jsonb_to_record($2::pg_catalog.text::pg_catalog.jsonb)
					as x (key pg_catalog.uuid, file pg_catalog.text, bytes bigint, sha256 pg_catalog.text,
					options pg_catalog.jsonb, counts pg_catalog.jsonb, state pg_catalog.text, done bigint,
					reject_file pg_catalog.text, reject_bytes bigint, actor pg_catalog.text, program pg_catalog.text,
					started_at timestamp with time zone, finished_at timestamp with time zone,
					undo_until timestamp with time zone, undone_at timestamp with time zone, undone_by pg_catalog.text)
				returning id
			)
			insert into `+r.ImportParts()+` (import_id, part, first_id, last_id, xid, loaded_at)
			select i.id, p.n operator(pg_catalog.-) 1, p.first::pg_catalog.uuid, p.last::pg_catalog.uuid, $6, p.at
			from i, rows from (pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::pg_catalog.text[]),
				pg_catalog.unnest($5::timestamp with time zone[])) with ordinality as p (first, last, at, n)`,
			tenantID, string(text), i.FirstIDs, i.LastIDs, i.LoadedAt, db.NoXID)
	}
	return nil
}
