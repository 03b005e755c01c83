package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/staging"
)

// Spec describes a tenant to be created.
type Spec struct {
	Slug        string // as Slug returns it
	DisplayName string // "" = the slug
	// Settings is a JSON object; nil = {}.
	Settings json.RawMessage
	// Role makes a role of the tenant's own, named after the schema, that may not
	// log in, reads and writes the tenant's tables, those of later migrations
	// too, and nothing else. The session must be allowed to create roles.
	Role bool
}

// Template is what every new tenant's schema is made of.
type Template struct {
	// Script builds the schema's objects in the current schema, version table
	// and version rows included.
	Script []db.Statement
	// Version is the one the script leaves the schema at.
	Version int64
	// Key stands for what the script was made from and for: a schema of the pool
	// fits that was made for the same key. "" where there is no pool.
	Key string
	// Shape tells that the script makes the end of the history and does not go
	// through it.
	Shape bool
}

// CreateOptions are common to all tenants of one call.
type CreateOptions struct {
	Template    Template
	Actor       string // for the audit, "alice@host"
	Program     string // for the audit, "crmctl 1.2.3"
	LockTimeout time.Duration
	Now         func() time.Time // nil = time.Now
	// Pool takes schemas from the pool as long as it has some. A version chosen by
	// hand, or a registry without a pool, goes without.
	Pool bool
	// Direct opens a connection past a pooler, for migrations that commit for
	// themselves; nil opens one like the others.
	Direct func(ctx context.Context) (*pgx.Conn, error)
}

// Created is a tenant that Create made, or found where that was asked for.
type Created struct {
	Tenant Tenant
	// Existed tells that the tenant was there already and nothing was done.
	Existed bool
	// Pooled tells that its schema came from the pool.
	Pooled bool
}

// ExistsError says what stands in the way of a new tenant.
type ExistsError struct {
	Slug   string
	Schema db.Schema
	// Status is the state of the tenant in the way, "" when there is none but a
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
	case Purging:
		return fmt.Sprintf("tenant %q exists and is being purged: let the purge end first", e.Slug)
	}
	return fmt.Sprintf("tenant %q exists already", e.Slug)
}

// Is makes errors.Is(err, ErrExists) true.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// Create makes one tenant: registry row, schema, the template's objects and the
// audit row in one transaction of two round trips, three where the schema is taken
// from the pool. A template of several transactions is built before, as package staging
// does. Whatever happens, the tenant is whole or absent afterwards.
//
// Where the slug or the schema is taken the error is an *ExistsError.
func Create(ctx context.Context, conn *pgx.Conn, s Spec, o CreateOptions) (Tenant, error) {
	t, err := newTenant(s, o)
	if err != nil {
		return Tenant{}, err
	}
	_, err = newMaker(o).create(ctx, conn, t)
	return t, err
}

// maker makes tenants, on any number of connections at once.
type maker struct {
	CreateOptions

	pool atomic.Bool // it may have a schema left
}

func newMaker(o CreateOptions) *maker {
	m := &maker{CreateOptions: o}
	m.pool.Store(o.Pool && o.Template.Key != "")
	return m
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
	t := Tenant{
		ID: id.String(), Slug: s.Slug, DisplayName: display, Schema: schema, Status: Active,
		Version: o.Template.Version, Settings: s.Settings, CreatedAt: at, UpdatedAt: at,
	}
	if len(t.Settings) == 0 {
		t.Settings = json.RawMessage("{}")
	}
	if s.Role {
		t.Role = schema.String()
	}
	return t, nil
}

func (m *maker) create(ctx context.Context, conn *pgx.Conn, t Tenant) (pooled bool, err error) {
	several := staging.Several(m.Template.Script)
	if several && !m.pool.Load() {
		return false, m.createStaged(ctx, conn, t)
	}
	pooled, err = m.make(ctx, conn, t)
	if err == nil {
		err = db.Commit(ctx, conn)
	}
	if err == nil {
		return pooled, nil
	}
	err = errors.Join(err, m.Template.undo(ctx, conn))
	if errors.Is(err, errPoolEmpty) {
		return false, m.createStaged(ctx, conn, t)
	}
	if m.pool.Load() && noPool(err) {
		m.pool.Store(false)
		return m.create(ctx, conn, t)
	}
	return false, createError(ctx, conn, t, err)
}

// noPool tells whether the server refused something about the pool, which a tenant
// can do without.
func noPool(err error) bool {
	pgErr, ok := pgError(err)
	return ok && (pgErr.Code == db.CodeInsufficientPrivilege && strings.Contains(pgErr.Message, "tenant_pool") ||
		db.MissingRegistry(err) && strings.Contains(pgErr.Message, "tenant_pool") ||
		pgErr.Code == db.CodeInvalidSchemaName && strings.Contains(pgErr.Message, db.PoolPrefix))
}

// make does everything but the commit.
func (m *maker) make(ctx context.Context, conn *pgx.Conn, t Tenant) (pooled bool, err error) {
	var p db.Pipeline
	p.Begin(m.locals(t))
	queueTenant(&p, t)
	built := ""
	if m.Template.Shape {
		built = "shape"
	}
	var ready string
	if m.pool.Load() {
		takePooled(&p, m.Template.Key, &ready)
		if err := p.Run(ctx, conn); err != nil {
			return false, err
		}
		p = db.Pipeline{}
		if ready == "" {
			m.pool.Store(false)
			if staging.Several(m.Template.Script) {
				return false, errPoolEmpty
			}
		}
	}
	if ready != "" {
		built = "pool"
		p.Exec("alter schema " + quoted(ready) + " rename to " + t.Schema.Quoted())
		if t.Role != "" {
			queueRole(&p, t)
			queueRoleTables(&p, t)
		}
	} else {
		p.Exec("create schema " + t.Schema.Quoted())
		if t.Role != "" {
			queueRole(&p, t)
		}
		m.Template.queue(&p)
	}
	if t.Role != "" {
		queueRoleLimits(&p, t)
	}
	if err := QueueEvent(&p, createEvent(t, built, m.CreateOptions)); err != nil {
		return false, err
	}
	p.CheckSchema(t.Schema)
	m.Template.queueEnd(&p)
	return ready != "", p.Run(ctx, conn)
}

// queueTenant adds the registry's row.
func queueTenant(p *db.Pipeline, t Tenant) {
	p.Claim(`insert into public.tenants (id, slug, display_name, schema_name, status, role_name, schema_version, settings, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8::pg_catalog.jsonb, $9, $9)`,
		t.ID, t.Slug, t.DisplayName, t.Schema.String(), string(t.Status), orNull(t.Role), t.Version, string(t.Settings), t.CreatedAt)
}

func (m *maker) locals(t Tenant) db.Locals {
	return db.Locals{Schema: t.Schema, LockTimeout: m.LockTimeout, AsConfigured: true}
}

// queue adds what makes the schema's objects.
func (t Template) queue(p *db.Pipeline) {
	if db.Traces(t.Script) {
		p.Mark()
	}
	p.Script(t.Script)
}

// queueEnd adds what keeps the script's traces in the session from the next tenant.
func (t Template) queueEnd(p *db.Pipeline) {
	if db.Traces(t.Script) {
		p.Cleanse()
	}
}

// undo ends a transaction in which the script may have failed.
func (t Template) undo(ctx context.Context, conn *pgx.Conn) error {
	if db.Traces(t.Script) {
		return db.Undo(ctx, conn)
	}
	return db.Rollback(ctx, conn)
}

// createEvent tells of a new tenant, and what its schema was built from where that
// was not the migrations.
func createEvent(t Tenant, built string, o CreateOptions) Event {
	after := map[string]any{
		"slug": t.Slug, "display_name": t.DisplayName, "schema": t.Schema.String(), "status": string(t.Status),
	}
	if t.Role != "" {
		after["role"] = t.Role
	}
	if string(t.Settings) != "{}" {
		after["settings"] = asJSON("settings", canonical(t.Settings))
	}
	detail := map[string]any{"schema": t.Schema.String(), "version": t.Version}
	if built != "" {
		detail["built_from"] = built
	}
	return Event{
		TenantID: t.ID, Slug: t.Slug, Action: ActionCreate, Actor: o.Actor, Program: o.Program, After: after, Detail: detail,
	}
}

// createError explains what the server refused.
func createError(ctx context.Context, conn *pgx.Conn, t Tenant, err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	taken := pgErr.Code == db.CodeUniqueViolation && pgErr.TableName == "tenants"
	switch {
	case pgErr.Code == db.CodeUndefinedTable, pgErr.Code == db.CodeUndefinedColumn:
		if reason := lacksRegistry(ctx, conn); reason != nil {
			return reason
		}
	case taken, pgErr.Code == db.CodeDuplicateSchema:
		exists := &ExistsError{Slug: t.Slug, Schema: t.Schema}
		other, getErr := Get(ctx, conn, t.Slug)
		switch {
		case getErr == nil:
			exists.Status = other.State()
		case errors.Is(getErr, ErrInvalidRow):
			return getErr
		}
		return exists
	}
	return roleError(err, t.Role)
}

// lacksRegistry returns ErrNoRegistry, ErrOldRegistry or nil.
func lacksRegistry(ctx context.Context, conn *pgx.Conn) error {
	_, err := List(ctx, conn, Filter{Slugs: []string{"-"}})
	switch {
	case errors.Is(err, ErrNoRegistry):
		return ErrNoRegistry
	case errors.Is(err, ErrOldRegistry):
		return ErrOldRegistry
	}
	return nil
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
	m := newMaker(o)
	results, _ := fleet.Run(ctx, connect, len(specs), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		c := &created[i]
		if db.Traces(o.Template.Script) {
			defer db.Retire(ctx, conn)
		}
		pooled, err := m.create(ctx, conn, c.Tenant)
		c.Pooled = pooled
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
