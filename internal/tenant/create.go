package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

// Spec describes a tenant to be created.
type Spec struct {
	Slug        string // as Slug returns it
	DisplayName string // "" = the slug
}

// Template is what every new tenant's schema is made of.
type Template struct {
	// Script builds the schema's objects in the current schema, version table
	// and version rows included.
	Script []db.Statement
	// Version is the one the script leaves the schema at.
	Version int64
}

// CreateOptions are common to all tenants of one call.
type CreateOptions struct {
	Template    Template
	Actor       string // for the audit, "alice@host"
	LockTimeout time.Duration
	Now         func() time.Time // nil = time.Now
}

// Created is a tenant that Create made, or found where that was asked for.
type Created struct {
	Tenant Tenant
	// Existed tells that the tenant was there already and nothing was done.
	Existed bool
}

// ExistsError says what stands in the way of a new tenant.
type ExistsError struct {
	Slug   string
	Schema db.Schema
	// Status is that of the tenant in the way, "" when there is none but a
	// schema that the registry does not know.
	Status Status
}

// Error names the tenant and what to do where that is not plain.
func (e *ExistsError) Error() string {
	switch e.Status {
	case "":
		return fmt.Sprintf("schema %s exists, but the registry does not know it: rename or drop it, then create the tenant", e.Schema)
	case Deleted:
		return fmt.Sprintf("tenant %q exists and is deleted: undelete it, or purge it first", e.Slug)
	}
	return fmt.Sprintf("tenant %q exists already", e.Slug)
}

// Is makes errors.Is(err, ErrExists) true.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// Create makes one tenant: registry row, schema, the template's objects and the
// audit row in one transaction of two round trips. Whatever happens, the tenant
// is whole or absent afterwards.
//
// Where the slug or the schema is taken the error is an *ExistsError.
func Create(ctx context.Context, conn *pgx.Conn, s Spec, o CreateOptions) (Tenant, error) {
	t, err := newTenant(s, o)
	if err != nil {
		return Tenant{}, err
	}
	return t, create(ctx, conn, t, o)
}

func newTenant(s Spec, o CreateOptions) (Tenant, error) {
	schema, err := db.SchemaForSlug(s.Slug)
	if err != nil {
		return Tenant{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Tenant{}, fmt.Errorf("make an id for tenant %q: %w", s.Slug, err)
	}
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	display := s.DisplayName
	if display == "" {
		display = s.Slug
	}
	// PostgreSQL keeps microseconds.
	at := now().UTC().Truncate(time.Microsecond)
	return Tenant{
		ID: id.String(), Slug: s.Slug, DisplayName: display, Schema: schema, Status: Active,
		Version: o.Template.Version, Settings: json.RawMessage("{}"), CreatedAt: at, UpdatedAt: at,
	}, nil
}

func create(ctx context.Context, conn *pgx.Conn, t Tenant, o CreateOptions) error {
	var p db.Pipeline
	p.Begin(db.Locals{Schema: t.Schema, Lock: true, LockTimeout: o.LockTimeout})
	p.Exec(`insert into public.tenants (id, slug, display_name, schema_name, status, schema_version, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $7)`,
		t.ID, t.Slug, t.DisplayName, t.Schema.String(), string(t.Status), t.Version, t.CreatedAt)
	p.Exec("create schema " + t.Schema.Quoted())
	p.Script(o.Template.Script)
	if err := QueueEvent(&p, Event{
		TenantID: t.ID, Slug: t.Slug, Action: ActionCreate, Actor: o.Actor,
		Detail: map[string]any{"schema": t.Schema.String(), "version": t.Version},
	}); err != nil {
		return err
	}
	p.CheckSchema(t.Schema)
	err := p.Run(ctx, conn)
	if err == nil {
		err = db.Commit(ctx, conn)
	}
	if err != nil {
		err = errors.Join(err, db.Rollback(ctx, conn))
		return createError(ctx, conn, t, err)
	}
	return nil
}

// createError explains what the server refused.
func createError(ctx context.Context, conn *pgx.Conn, t Tenant, err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	taken := pgErr.Code == db.CodeUniqueViolation && pgErr.TableName == "tenants"
	switch {
	case pgErr.Code == db.CodeUndefinedTable && pgErr.TableName == "" && missingRegistry(ctx, conn):
		return ErrNoRegistry
	case taken, pgErr.Code == db.CodeDuplicateSchema:
		exists := &ExistsError{Slug: t.Slug, Schema: t.Schema}
		if other, getErr := Get(ctx, conn, t.Slug); getErr == nil {
			exists.Status = other.Status
		}
		return exists
	}
	return err
}

func missingRegistry(ctx context.Context, conn *pgx.Conn) bool {
	_, err := List(ctx, conn, Filter{Slugs: []string{"-"}})
	return errors.Is(err, ErrNoRegistry)
}

// CreateMany makes tenants over several connections. A result belongs to the
// spec at the same index; Created is filled where the result is Done.
//
// ifNotExists turns a tenant that is there already, and not deleted, into a
// result that is Done with Existed set.
func CreateMany(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), specs []Spec, o CreateOptions,
	ifNotExists bool, run fleet.Options,
) ([]Created, []fleet.Result, error) {
	created := make([]Created, len(specs))
	for i, s := range specs {
		t, err := newTenant(s, o)
		if err != nil {
			return nil, nil, err
		}
		created[i].Tenant = t
	}
	results, _ := fleet.Run(ctx, connect, len(specs), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		c := &created[i]
		err := create(ctx, conn, c.Tenant, o)
		var exists *ExistsError
		if !errors.As(err, &exists) || exists.Status == "" {
			return err
		}
		other, getErr := Get(ctx, conn, c.Tenant.Slug)
		if getErr != nil {
			return err
		}
		// The answer to an earlier attempt's commit was lost: it is ours.
		if other.ID == c.Tenant.ID {
			return nil
		}
		if ifNotExists && other.Status != Deleted {
			*c = Created{Tenant: other, Existed: true}
			return nil
		}
		return err
	})
	return created, results, nil
}
