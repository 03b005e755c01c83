package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// allTenants stands in the place of a tenant's id where an erasure is of all of them.
const allTenants = "00000000-0000-0000-0000-000000000000"

// Erasure is a person whose data was erased, known by a keyed hash.
type Erasure struct {
	TenantID string // "" for all tenants
	KeyID    string
	Hash     string
	Actor    string
	ErasedAt time.Time // set by the registry
}

// QueueErasure adds an erasure, as of now: one that is there is brought up to now.
func (r Registry) QueueErasure(p *db.Pipeline, e Erasure) {
	id := e.TenantID
	if id == "" {
		id = allTenants
	}
	p.Exec(`insert into `+r.Erasures()+` as e (tenant_id, key_id, hash, actor) values ($1::pg_catalog.uuid, $2, $3, $4)
		on conflict (tenant_id, key_id, hash) do update
		set erased_at = greatest(e.erased_at, excluded.erased_at), actor = excluded.actor`, id, e.KeyID, e.Hash, e.Actor)
}

// QueueErasuresOf gives a tenant that has come from another registry the erasures that it had
// there, as of when they were.
func (r Registry) QueueErasuresOf(p *db.Pipeline, tenantID string, list []Erasure) {
	for _, e := range list {
		p.Exec(`insert into `+r.Erasures()+` as e (tenant_id, key_id, hash, actor, erased_at)
			values ($1::pg_catalog.uuid, $2, $3, $4, $5) on conflict (tenant_id, key_id, hash) do update
			set erased_at = greatest(e.erased_at, excluded.erased_at)`, tenantID, e.KeyID, e.Hash, e.Actor, e.ErasedAt)
	}
}

// RecordErasures keeps erasures, as of now. The error is ErrOldRegistry where there is no
// table for them.
func (r Registry) RecordErasures(ctx context.Context, q db.Querier, list []Erasure) error {
	var p db.Pipeline
	p.OwnTransaction()
	for _, e := range list {
		r.QueueErasure(&p, e)
	}
	return r.ExplainTable(ctx, q, "record the erasure", p.Run(ctx, q))
}

// ListErasures returns the erasures after a time, of all tenants and of those with the ids. A
// registry that has no table for them has none.
func (r Registry) ListErasures(ctx context.Context, q db.Querier, ids []string, after time.Time) ([]Erasure, error) {
	there, err := db.Select(ctx, q, pgx.RowTo[bool], "select to_regclass($1) is not null", r.Erasures())
	if err != nil || !there[0] {
		return nil, err
	}
	found, err := db.Select(ctx, q, pgx.RowToStructByName[Erasure], `
		select case when e.tenant_id = $1::text::uuid then '' else e.tenant_id::text end as tenant_id, e.key_id, e.hash,
			e.actor, e.erased_at
		from `+r.Erasures()+` e
		where (e.tenant_id = $1::text::uuid or e.tenant_id = any ($2::text[]::uuid[])) and e.erased_at > $3
		order by e.erased_at, e.tenant_id, e.hash`, allTenants, append([]string{}, ids...), after)
	if err != nil {
		return nil, fmt.Errorf("list the erasures: %w", err)
	}
	return found, nil
}

// ErasureKeys returns the ids of the keys that the erasures were made with.
func (r Registry) ErasureKeys(ctx context.Context, q db.Querier) ([]string, error) {
	found, err := db.Select(ctx, q, pgx.RowTo[string], "select distinct e.key_id from "+r.Erasures()+" e order by 1")
	if err != nil {
		return nil, r.ExplainTable(ctx, q, "read the erasures", err)
	}
	return found, nil
}

// CopyErasures gives a copy of a tenant its erasures. A registry that has no table for them
// has nothing to copy.
func (r Registry) CopyErasures(ctx context.Context, q db.Querier, from, to string) error {
	if from == to {
		return nil
	}
	// Within a transaction an error would end it.
	there, err := db.Select(ctx, q, pgx.RowTo[bool], "select to_regclass($1) is not null", r.Erasures())
	if err != nil || !there[0] {
		return err
	}
	_, err = db.Exec(ctx, q, `insert into `+r.Erasures()+` (tenant_id, key_id, hash, actor, erased_at)
		select $2::text::uuid, e.key_id, e.hash, e.actor, e.erased_at from `+r.Erasures()+` e
		where e.tenant_id = $1::text::uuid on conflict do nothing`, from, to)
	if err != nil {
		return fmt.Errorf("copy the erasures: %w", err)
	}
	return nil
}
