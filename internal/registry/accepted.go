package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Accepted is an object in which a tenant is not what its migrations make, on purpose.
type Accepted struct {
	TenantID string
	Slug     string
	Change   string // missing, extra or different
	Kind     string
	Parent   string // "" where the object belongs to the schema
	Name     string
	Found    string // the definition that was accepted, "" where the object is missing
	Reason   string
	Actor    string // "alice@host"
	At       time.Time
}

// ListAccepted returns what was accepted of the tenants with the ids, or for nil of all that
// are not deleted, in the order of tenants and objects. A registry that has no table for it has
// none.
func (r Registry) ListAccepted(ctx context.Context, q db.Querier, ids []string) ([]Accepted, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByName[Accepted], `select a.tenant_id::text, t.slug, a.change, a.kind,
			a.parent, a.name, a.found, a.reason, a.actor, a.accepted_at as at
		from `+r.Accepted()+` a join `+r.Tenants()+` t on t.id = a.tenant_id
		where case when $1::text[] is null then t.status <> 'deleted' else a.tenant_id = any ($1::text[]::uuid[]) end
		order by t.slug collate "C", a.kind collate "C", a.parent collate "C", a.name collate "C"`, ids)
	if r.missing(err, accepted) {
		return nil, nil
	}
	return found, r.explain(err)
}

// QueueAccept adds that differences of a tenant are wanted, in the place of what was
// accepted of the same objects.
func (r Registry) QueueAccept(p *db.Pipeline, list []Accepted) {
	for _, a := range list {
		p.Exec(`insert into `+r.Accepted()+` (tenant_id, change, kind, parent, name, found, reason, actor)
			values ($1, $2, $3, $4, $5, $6, $7, $8)
			on conflict (tenant_id, kind, parent, name) do update set change = excluded.change, found = excluded.found,
				reason = excluded.reason, actor = excluded.actor, accepted_at = pg_catalog.now()`,
			a.TenantID, a.Change, a.Kind, a.Parent, a.Name, a.Found, a.Reason, a.Actor)
	}
}

// QueueUnaccept adds that nothing of a tenant is accepted any more.
func (r Registry) QueueUnaccept(p *db.Pipeline, id string) {
	p.Exec(`delete from `+r.Accepted()+` where tenant_id operator(pg_catalog.=) $1`, id)
}

// CopyAccepted gives a copy of a tenant what was accepted of it. A registry that has no
// table for it has nothing to copy.
func (r Registry) CopyAccepted(ctx context.Context, q db.Querier, from, to string) error {
	_, err := db.Exec(ctx, q, `insert into `+r.Accepted()+` (tenant_id, change, kind, parent, name, found, reason, actor,
			accepted_at)
		select $2, a.change, a.kind, a.parent, a.name, a.found, a.reason, a.actor, a.accepted_at
		from `+r.Accepted()+` a where a.tenant_id = $1
		on conflict do nothing`, from, to)
	if r.missing(err, accepted) {
		return nil
	}
	return err
}
