package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// QueueInsert adds the row of a new tenant, made now where t does not say when.
func (r Registry) QueueInsert(p *db.Pipeline, t Tenant) {
	p.Claim(`insert into `+r.Tenants()+` (id, slug, display_name, schema_name, status, role_name, schema_version,
		settings, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, coalesce($8::pg_catalog.jsonb, '{}'),
			coalesce($9::pg_catalog.timestamptz, pg_catalog.now()),
			coalesce($9::pg_catalog.timestamptz, pg_catalog.now()))`,
		t.ID, t.Slug, t.DisplayName, t.Schema.String(), string(t.Status), orNull(t.Role), t.Version,
		orNull(string(t.Settings)), timeOrNil(t.CreatedAt))
}

// QueueUpdate adds the update of a tenant's row to what t says, but for its version.
func (r Registry) QueueUpdate(p *db.Pipeline, t *Tenant) {
	p.QueryRow([]any{&t.UpdatedAt}, `update `+r.Tenants()+
		` set slug = $2, display_name = $3, schema_name = $4, role_name = nullif($5, ''), status = $6,
		deleted_at = $7, purge_after = $8, deleted_from = nullif($9, ''), purge_started_at = $10, settings = $11::jsonb,
			updated_at = now()
		where id = $1 returning updated_at`,
		t.ID, t.Slug, t.DisplayName, t.Schema.String(), cmp.Or(t.Role, t.ForeignRole), string(t.Status),
		t.DeletedAt, t.PurgeAfter, string(t.DeletedFrom), t.PurgeStartedAt, string(t.Settings))
	queueChanged(p, t.ID)
}

// QueueVersion adds the cached version of a tenant.
func (r Registry) QueueVersion(p *db.Pipeline, id string, version int64) {
	p.Exec(`update `+r.Tenants()+` set schema_version = $2, updated_at = pg_catalog.now() where id = $1`, id, version)
}

// QueueDelete adds the end of a tenant's row.
func (r Registry) QueueDelete(p *db.Pipeline, id string) {
	p.Exec("delete from "+r.Tenants()+" where id = $1", id)
}

// Lock takes the lock of a tenant, within the caller's transaction, and reads it again.
// With wait it waits as long as lock_timeout says. A tenant that was renamed since t
// was read is not the one that was meant any more.
func (r Registry) Lock(ctx context.Context, q db.Querier, t Tenant, wait bool) (Tenant, error) {
	var (
		p    db.Pipeline
		rows []*row
	)
	p.LockTenant(r.Row(t.ID), db.Schema{}, wait)
	p.Query(func(found pgx.Rows) (err error) {
		rows, err = pgx.CollectRows(found, r.scan)
		return err
	}, `select `+columns+` from `+r.Tenants()+` where id = $1`, t.ID)
	if err := p.Run(ctx, q); err != nil {
		if busy, ok := errors.AsType[*db.BusyError](err); ok {
			return Tenant{}, &busyError{t.Slug, busy}
		}
		if errors.Is(err, db.ErrNoTenant) {
			return Tenant{}, &NotFoundError{Slug: t.Slug}
		}
		return Tenant{}, fmt.Errorf("lock tenant %q: %w", t.Slug, err)
	}
	switch {
	case len(rows) == 0:
		return Tenant{}, &NotFoundError{Slug: t.Slug}
	case rows[0].invalid != nil:
		return Tenant{}, rows[0].invalid.Err()
	case rows[0].Slug != t.Slug:
		return Tenant{}, &NotFoundError{Slug: t.Slug}
	case rows[0].Schema != t.Schema: // what was found out about the former one is void
		return Tenant{}, fmt.Errorf("tenant %q: %w", t.Slug, db.ErrBusy)
	}
	return rows[0].Tenant, nil
}

// busyError says which tenant is busy. Who is in the way is found out after it was
// made, when the transaction is over.
type busyError struct {
	slug string
	err  *db.BusyError
}

func (e *busyError) Error() string { return fmt.Sprintf("tenant %q: %v", e.slug, e.err) }
func (e *busyError) Unwrap() error { return e.err }
func (e *busyError) Named() string { return e.slug }

// Due returns the deleted tenants that are due for purge at due, and were deleted
// before deletedBefore unless their purge has begun, without their settings: those
// whose purge has begun come first, then those deleted first. No slugs are all of
// them. It also returns how many tenants the registry has.
func (r Registry) Due(ctx context.Context, q db.Querier, due, deletedBefore time.Time, slugs []string) (found []Tenant,
	invalid []InvalidRow, all int, err error) {
	var bare Filter // without settings: there may be many due
	rows, err := db.Select(ctx, q, r.scan, `select `+bare.columns("")+`
		from `+r.Tenants()+`
		where status = 'deleted' and purge_after <= $1
		  and (deleted_at <= $2 or purge_started_at is not null)
		  and (cardinality($3::text[]) = 0 or slug = any ($3::text[]))
		order by purge_started_at nulls last, deleted_at, slug collate "C"`, due, deletedBefore, nonNil(slugs))
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	found, invalid = split(rows)
	bare.forget(found)
	total, err := db.Select(ctx, q, pgx.RowTo[int], `select count(*) from `+r.Tenants())
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	return found, invalid, total[0], nil
}

// FirstFree returns the first of the slugs that no tenant has, "" where all are taken.
func (r Registry) FirstFree(ctx context.Context, q db.Querier, slugs []string) (string, error) {
	free, err := db.Select(ctx, q, pgx.RowTo[string],
		`select n from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality as u (n, i)
		where not exists (select from `+r.Tenants()+` t where t.slug operator(pg_catalog.=) n) order by i limit 1`, slugs)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the registry: %w", r.explain(err))
	case len(free) == 0:
		return "", nil
	}
	return free[0], nil
}

// MadeRole reports whether the audit says that a role was made for the tenant with the
// given id, or the role is not there.
func (r Registry) MadeRole(ctx context.Context, q db.Querier, id, role string) (bool, error) {
	var made bool
	err := q.QueryRow(ctx, `select exists (select from `+r.Events()+` where tenant_id = $1 and "after" ->> 'role' = $2)
		or not exists (select from pg_catalog.pg_roles where rolname = $2)`, id, role).Scan(&made)
	if err != nil {
		return false, fmt.Errorf("look for the origin of role %q: %w", role, err)
	}
	return made, nil
}

// Hold locks the row of a tenant until the transaction ends, and returns what the
// registry has of it. The error is pgx.ErrNoRows where it has none.
func (r Registry) Hold(ctx context.Context, q db.Querier, id string) (schema string, status Status, err error) {
	err = q.QueryRow(ctx, `select schema_name, status from `+r.Tenants()+` where id = $1 for no key update`,
		id).Scan(&schema, &status)
	return schema, status, err
}

// MarkDeleted closes the row of a tenant whose schema is gone.
func (r Registry) MarkDeleted(ctx context.Context, q db.Querier, id string, at, purgeAfter time.Time) error {
	_, err := q.Exec(ctx, `update `+r.Tenants()+
		` set status = 'deleted', deleted_at = $2, purge_after = $3, updated_at = now(),
			deleted_from = case when status = 'gone' then deleted_from else status end
		where id = $1`, id, at, purgeAfter)
	if err != nil {
		return err
	}
	var p db.Pipeline
	queueChanged(&p, id)
	return p.Run(ctx, q)
}

// CorrectVersion writes the version that a tenant's schema has into the registry, where
// that still has the former one; it reports whether it does.
func (r Registry) CorrectVersion(ctx context.Context, q db.Querier, id string, from, to int64) (bool, error) {
	tag, err := q.Exec(ctx, `update `+r.Tenants()+
		` set schema_version = $2, updated_at = now() where id = $1 and schema_version = $3`, id, to, from)
	return tag.RowsAffected() > 0, err
}

// GhostRow is what the registry says of a tenant whose schema is not there.
type GhostRow struct{ DisplayName, Status, Settings string }

// Ghost returns the row of a tenant whose schema is not there; one that is deleted is
// found only where deleted is set, and no purge has begun.
func (r Registry) Ghost(ctx context.Context, q db.Querier, id, slug string, schema db.Schema,
	deleted bool) (row GhostRow, found bool, err error) {
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[GhostRow],
		`select display_name, status, settings::text as settings from `+r.Tenants()+`
		where id = $1 and slug = $2 and schema_name = $3 and (status <> 'deleted' or $4 and purge_started_at is null)
		  and not exists (select from pg_namespace where nspname = $3::text::name)`, id, slug, schema.String(), deleted)
	if err != nil || len(rows) == 0 {
		return GhostRow{}, false, err
	}
	return rows[0], true, nil
}

// QueueRevive adds the update of the row of a tenant whose schema is made anew: its
// role, settings and version. Where the row is not as t says any more the error is pgx.ErrNoRows.
func (r Registry) QueueRevive(p *db.Pipeline, t Tenant) {
	var id string
	p.QueryRow([]any{&id}, `update `+r.Tenants()+` set role_name = $2, schema_version = $3,
			settings = $7::pg_catalog.jsonb, updated_at = pg_catalog.now()
		where id operator(pg_catalog.=) $1 and slug operator(pg_catalog.=) $4 and schema_name operator(pg_catalog.=) $5
		and status operator(pg_catalog.=) $6 returning id::pg_catalog.text`,
		t.ID, orNull(t.Role), t.Version, t.Slug, t.Schema.String(), string(t.Status), string(t.Settings))
	queueChanged(p, t.ID)
}

// OtherHas reports whether a tenant of another slug has an id.
func (r Registry) OtherHas(ctx context.Context, q db.Querier, id, slug string) (bool, error) {
	taken, err := db.Select(ctx, q, pgx.RowTo[bool], `select exists (select from `+r.Tenants()+
		` where id = $1 and slug <> $2)`, id, slug)
	return err == nil && taken[0], err
}

// DeletedID returns the id of the deleted tenant of a slug, "" where there is none.
func (r Registry) DeletedID(ctx context.Context, q db.Querier, slug string) (string, error) {
	ids, err := db.Select(ctx, q, pgx.RowTo[string], `select id::text from `+r.Tenants()+
		` where slug = $1 and status = 'deleted'`, slug)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

// QueueHoldUndeleted makes sure that a tenant is not deleted, and stays so until the
// transaction ends. The error is a *NotFoundError or a *StateError.
func (r Registry) QueueHoldUndeleted(p *db.Pipeline, t Tenant) {
	p.Query(func(rows pgx.Rows) error {
		status, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return &NotFoundError{Slug: t.Slug}
		case err == nil && Status(status) == Deleted:
			return &StateError{Slug: t.Slug, State: Deleted}
		}
		return err
	}, `select status from `+r.Tenants()+` where id operator(pg_catalog.=) $1 for share`, t.ID)
}
