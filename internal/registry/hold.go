package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// HoldOpen makes sure, within the caller's transaction, that a tenant is active and in the
// schema that t says, and stays so until the transaction ends. The error wraps ErrState or
// ErrNotFound. That it has another name does not matter.
func (r Registry) HoldOpen(ctx context.Context, q db.Querier, t Tenant) error {
	now, err := r.hold(ctx, q, t)
	if err != nil {
		return err
	}
	now.Slug = t.Slug
	return now.still(t, Active)
}

// HoldNamed is HoldOpen for who found the tenant by its name some time ago: another may have
// that name by now.
func (r Registry) HoldNamed(ctx context.Context, q db.Querier, t Tenant) error {
	now, err := r.hold(ctx, q, t)
	if err != nil {
		return err
	}
	return now.still(t, Active)
}

// HoldRow keeps the row of a tenant as it is, in whatever state but that its purge has begun,
// until the transaction ends.
func (r Registry) HoldRow(ctx context.Context, q db.Querier, t Tenant) error {
	now, err := r.hold(ctx, q, t)
	if err == nil && now.Purging {
		return &NotFoundError{Slug: t.Slug}
	}
	if err != nil {
		return err
	}
	now.Slug = t.Slug
	return now.still(t, now.Status)
}

// QueueStill makes sure, within the caller's transaction, that a tenant has the name and
// the schema that t says, and is in one of the states, at the moment that the transaction
// sees. It locks nothing. The error wraps ErrState or ErrNotFound.
func (r Registry) QueueStill(p *db.Pipeline, t Tenant, states ...Status) {
	p.Query(func(rows pgx.Rows) error {
		now, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[standing])
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return &NotFoundError{Slug: t.Slug}
		case err != nil:
			return err
		}
		return now.still(t, states...)
	}, r.standingSQL(), t.ID)
}

// standing is what may not change under who works on a tenant.
type standing struct {
	Slug    string `db:"slug"`
	Schema  string `db:"schema_name"`
	Status  Status `db:"status"`
	Purging bool   `db:"purging"`
}

func (r Registry) standingSQL() string {
	return `select slug, schema_name, status, purge_started_at is not null as purging from ` + r.Tenants() +
		` where id operator(pg_catalog.=) $1`
}

// hold locks the row of a tenant, so that it is not changed until the transaction ends.
func (r Registry) hold(ctx context.Context, q db.Querier, t Tenant) (standing, error) {
	var now standing
	rows, err := q.Query(ctx, r.standingSQL()+` for share`, t.ID)
	if err == nil {
		now, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[standing])
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return now, &NotFoundError{Slug: t.Slug}
	case err != nil:
		return now, fmt.Errorf("look at tenant %q: %w", t.Slug, err)
	}
	return now, nil
}

func (s standing) still(t Tenant, states ...Status) error {
	switch {
	case s.Slug != t.Slug || s.Schema != t.Schema.String():
		return &RenamedError{Slug: t.Slug, Now: s.Slug, Schema: t.Schema, In: s.Schema}
	case !slices.Contains(states, s.Status):
		state := s.Status
		if s.Purging {
			state = Purging
		}
		return &StateError{Slug: t.Slug, State: state}
	}
	return nil
}
