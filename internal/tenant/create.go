package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
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
	Registry    registry.Registry
	Template    Template
	Actor       string // for the audit, "alice@host"
	Program     string // for the audit, "crmctl 1.2.3"
	LockTimeout time.Duration
	Now         func() time.Time // nil = time.Now
	// Owner is the role that the schemas and all in them belong to, "" for the session's,
	// which must be able to take it.
	Owner string
	// Pool takes schemas from the pool as long as it has some. A version chosen by
	// hand, or a registry without a pool, goes without.
	Pool bool
	// Direct opens a connection past a pooler, for migrations that commit for
	// themselves; nil opens one like the others.
	Direct func(ctx context.Context) (*pgx.Conn, error)
}

// Created is a tenant that Create made, or found where that was asked for.
type Created struct {
	Tenant registry.Tenant
	// Existed tells that the tenant was there already and nothing was done.
	Existed bool
	// Pooled tells that its schema came from the pool.
	Pooled bool
}

// Create makes one tenant: registry row, schema, the template's objects and the
// audit row in one transaction of two round trips, three where the schema is taken
// from the pool. A template of several transactions is built before, as package staging
// does. Whatever happens, the tenant is whole or absent afterwards.
//
// Where the slug or the schema is taken the error is an *ExistsError.
func Create(ctx context.Context, conn *pgx.Conn, s Spec, o CreateOptions) (registry.Tenant, error) {
	t, err := newTenant(s, o)
	if err != nil {
		return registry.Tenant{}, err
	}
	_, err = newMaker(o, 1).create(ctx, conn, t)
	return t, err
}

// maker makes tenants, on any number of connections at once.
type maker struct {
	CreateOptions

	pool atomic.Bool // it may have a schema left

	script   string               // all of the template's, where it may run as one; "" = statement by statement
	nestable atomic.Pointer[bool] // whether it runs as one; nil = nobody has been told yet
}

// How many tenants, at the least, are worth the question whether the server runs a script as
// one, and how long that script may be, in bytes.
const (
	nestedFrom = 5
	nestedMost = 1 << 18
)

// readsOtherwise finds what has backslashes in constants read in another way. A script that
// runs as one is read as a whole, before any of it has run.
var readsOtherwise = regexp.MustCompile(
	`(?i)standard_conforming_strings["']?\s*(?:=|,|\bto\b)\s*["']?(?:of|f|n|0)`)

// newMaker returns what makes so many tenants.
func newMaker(o CreateOptions, tenants int) *maker {
	m := &maker{CreateOptions: o}
	m.pool.Store(o.Pool && o.Template.Key != "")
	if tenants >= nestedFrom && !db.Traces(o.Template.Script) && !staging.Several(o.Template.Script) {
		if m.script = db.NestedText(o.Template.Script); len(m.script) > nestedMost || readsOtherwise.MatchString(m.script) {
			m.script = ""
		}
	}
	return m
}

// nested returns the template's script where it runs as one, "" where it does not.
func (m *maker) nested(ctx context.Context, conn *pgx.Conn) string {
	if m.script == "" {
		return ""
	}
	if m.nestable.Load() == nil { // workers that begin together all ask
		var ok bool
		var p db.Pipeline
		p.Nestable(&ok)
		if p.Run(ctx, conn) != nil {
			return "" // what follows meets the error too, and the next tenant asks again
		}
		m.nestable.CompareAndSwap(nil, &ok)
	}
	if !*m.nestable.Load() {
		return ""
	}
	return m.script
}

// failedNested reports whether the server has refused something in a script that ran as one.
// Statement by statement it says what.
func failedNested(err error) bool {
	s, ok := errors.AsType[*db.StatementError](err)
	return ok && s.Statement.SQL == db.NestedBlock && db.SQLState(err) != ""
}

func newTenant(s Spec, o CreateOptions) (registry.Tenant, error) {
	schema, err := db.SchemaForSlug(s.Slug)
	if err != nil {
		return registry.Tenant{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return registry.Tenant{}, fmt.Errorf("make an id for tenant %q: %w", s.Slug, err)
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
	t := registry.Tenant{
		ID: id.String(), Slug: s.Slug, DisplayName: display, Schema: schema, Status: registry.Active,
		Version: o.Template.Version, Settings: s.Settings, CreatedAt: at, UpdatedAt: at,
	}
	if len(t.Settings) == 0 {
		t.Settings = json.RawMessage("{}")
	}
	t.Tablespace = registry.TablespaceOf(t.Settings)
	if s.Role {
		t.Role = schema.String()
	}
	return t, nil
}

func (m *maker) create(ctx context.Context, conn *pgx.Conn, t registry.Tenant) (pooled bool, err error) {
	several := staging.Several(m.Template.Script)
	if several && !m.pooled(t) {
		return false, m.createStaged(ctx, conn, t)
	}
	pooled, err = m.make(ctx, conn, t, m.nested(ctx, conn))
	if failedNested(err) {
		if !db.Retryable(err) {
			m.nestable.Store(new(bool))
		}
		if err = db.Rollback(ctx, conn); err == nil {
			pooled, err = m.make(ctx, conn, t, "")
		}
	}
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
	if db.SQLState(err) == db.CodeDuplicateSchema {
		// A killed run may have left it, whose migrations needed several transactions.
		cleared, clearErr := staging.Clear(ctx, conn, m.Registry, t.Schema, m.LockTimeout)
		switch {
		case cleared && clearErr == nil:
			return m.create(ctx, conn, t)
		case errors.Is(clearErr, staging.ErrBuilding):
			return false, clearErr
		}
	}
	if m.pooled(t) && m.noPool(err) {
		m.pool.Store(false)
		return m.create(ctx, conn, t)
	}
	return false, m.explain(ctx, conn, t, err)
}

// pooled reports whether a tenant may have a schema of the pool: those stand where the
// database makes them.
func (m *maker) pooled(t registry.Tenant) bool { return m.pool.Load() && t.Tablespace == "" }

// noPool reports whether the server refused something about the pool, which a tenant
// can do without.
func (m *maker) noPool(err error) bool {
	pgErr, ok := pgError(err)
	return m.Registry.RefusesPool(err) || ok && (pgErr.Code == db.CodeInvalidSchemaName &&
		strings.Contains(pgErr.Message, db.PoolPrefix))
}

// make does everything but the commit. nested is the template's script, if it is to run as
// one.
func (m *maker) make(ctx context.Context, conn *pgx.Conn, t registry.Tenant, nested string) (pooled bool, err error) {
	var p db.Pipeline
	p.Begin(m.locals(t))
	m.Registry.QueueInsert(&p, t)
	built := ""
	if m.Template.Shape {
		built = "shape"
	}
	var ready string
	if m.pooled(t) {
		m.Registry.QueueTakePooled(&p, m.Template.Key, &ready)
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
		p.Apart("alter schema " + db.Quoted(ready) + " rename to " + t.Schema.Quoted())
		if t.Role != "" {
			queueRole(&p, t)
			queueRoleTables(&p, t)
		}
	} else {
		p.CreateSchema(t.Schema.String())
		if t.Role != "" {
			queueRole(&p, t)
		}
		if nested != "" {
			p.Exec("set local max_parallel_maintenance_workers = 0") // no index is built over many rows
			p.Nested(nil, nested)
		} else {
			m.Template.queue(&p)
		}
	}
	if t.Role != "" {
		queueRoleLimits(&p, t)
	}
	if err := m.Registry.QueueEvent(&p, createEvent(t, built, m.CreateOptions)); err != nil {
		return false, err
	}
	p.CheckSchema(t.Schema)
	owner.QueueGive(&p, t.Schema, m.Owner)
	m.Template.queueEnd(&p)
	return ready != "", p.Run(ctx, conn)
}

func (m *maker) locals(t registry.Tenant) db.Locals {
	return db.Locals{Schema: t.Schema, LockTimeout: m.LockTimeout, AsConfigured: true, Follow: true,
		Tablespace: t.Tablespace}
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
func createEvent(t registry.Tenant, built string, o CreateOptions) registry.Event {
	detail := map[string]any{"schema": t.Schema.String(), "version": t.Version}
	if built != "" {
		detail["built_from"] = built
	}
	return registry.Event{
		TenantID: t.ID, Slug: t.Slug, Action: registry.ActionCreate, Actor: o.Actor, Program: o.Program,
		After: registry.InitialFields(t), Detail: detail,
	}
}

// explain says what the server refused.
func (m *maker) explain(ctx context.Context, conn *pgx.Conn, t registry.Tenant, err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	taken := m.Registry.Taken(err)
	switch {
	case pgErr.Code == db.CodeUndefinedTable, pgErr.Code == db.CodeUndefinedColumn:
		if reason := m.Registry.Lacking(ctx, conn); reason != nil {
			return reason
		}
	case taken, pgErr.Code == db.CodeDuplicateSchema:
		exists := &registry.ExistsError{Slug: t.Slug, Schema: t.Schema}
		other, getErr := m.Registry.Get(ctx, conn, t.Slug)
		switch {
		case getErr == nil:
			exists.Registered, exists.Status = true, other.State()
		case errors.Is(getErr, registry.ErrInvalidRow):
			return getErr
		}
		return exists
	}
	return roleError(err, t.Role)
}

// CreateMany makes tenants over several connections. A result belongs to the
// spec at the same index; Created is filled where the result is Done.
//
// ifNotExists turns a tenant that is there already, and not deleted, into a
// result that is Done with Existed set.
//
// Without results the error is that of a spec which no tenant can have. With them it says why
// the run ended before its tenants did, as fleet.Run returns it.
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
	m := newMaker(o, len(specs))
	results, stopped := fleet.Run(ctx, connect, len(specs), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		c := &created[i]
		if db.Traces(o.Template.Script) {
			defer db.Retire(ctx, conn)
		}
		pooled, err := m.create(ctx, conn, c.Tenant)
		c.Pooled = pooled
		var exists *registry.ExistsError
		if !errors.As(err, &exists) || exists.Status == "" {
			return err
		}
		other, getErr := m.Registry.Get(ctx, conn, c.Tenant.Slug)
		if getErr != nil {
			return err
		}
		// The answer to an earlier attempt's commit was lost: it is ours.
		if other.ID == c.Tenant.ID {
			return nil
		}
		if ifNotExists && other.Status != registry.Deleted {
			*c = Created{Tenant: other, Existed: true}
			return nil
		}
		return err
	})
	return created, results, stopped
}
