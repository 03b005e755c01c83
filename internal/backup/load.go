package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// Roles makes the role of a tenant, within the transaction that makes the tenant.
type Roles interface {
	// Queue adds what makes the role for the tenant with the given id, before the
	// statements that make the tables.
	Queue(p *db.Pipeline, id string, schema db.Schema, role string)
	// QueueLimits adds what takes away what the role must not have, after them.
	QueueLimits(p *db.Pipeline, schema db.Schema, role string, active bool)
	// QueueTables adds the rights on tables that another role made.
	QueueTables(p *db.Pipeline, schema db.Schema, role string)
	// Explain says more of an error where it is about the role.
	Explain(err error, role string) error
}

// RoleChoice says whether a tenant gets a role of its own, named after its schema.
type RoleChoice int

// A tenant gets a role where that of the data had one, always, or never.
const (
	RoleAsSource RoleChoice = iota
	RoleAlways
	RoleNever
)

// NewTenant is how a tenant is made out of data that is there.
type NewTenant struct {
	Limits

	Registry registry.Registry
	// Build returns the script that makes an empty schema one with the given
	// migrations, version table included. It refuses versions that it has no file
	// for.
	Build func(versions []int64) ([]db.Statement, error)
	// Versions returns the script that makes the version table alone, with the given
	// migrations.
	Versions func(versions []int64) ([]db.Statement, error)
	// Path follows the tenant's schema on the search_path while rows are written, as it
	// does in the migrations; nil is nothing.
	Path func() db.Path
	// Direct opens a connection past a pooler, for migrations that commit for
	// themselves; nil opens one like the others.
	Direct func(ctx context.Context) (*pgx.Conn, error)
	// TrustCode lets a file bring code that no migration makes: functions, triggers,
	// rules, and expressions that call what is not known to be harmless.
	TrustCode bool
	// Judge refuses a tenant whose name, display name or settings a user may not give
	// one; nil refuses none.
	Judge func(t Tenant) error
	// Audit adds a row of the audit to a pipeline, whose action and actor it knows.
	Audit func(p *db.Pipeline, e registry.Event) error
	// Role says whether the tenant gets a role, and Roles makes it. Roles may be nil
	// with RoleNever only.
	Role  RoleChoice
	Roles Roles
	// Owner is the role that the schema and all in it belong to, "" for the session's, which
	// must be able to take it.
	Owner string
	// Tablespace, if not nil, is the tenant's in the place of the one that the data had, ""
	// for where the database makes tables.
	Tablespace *string
	// Progress is told how many bytes of COPY text were loaded; may be nil.
	Progress func(n int64)
	// SetAside, if not nil, makes room where a deleted tenant has the name.
	SetAside SetAside
}

// target is the tenant that is being made, within the transaction that makes it.
type target struct {
	conn        *pgx.Conn
	schema      db.Schema
	row         Tenant
	there       structure       // as the migrations made it
	bare        map[string]bool // tables that COPY names without their schema
	conflicting []foreignKey
	had         bool   // the tenant of the data has a role
	ghost       bool   // the registry has the tenant, but its schema is gone
	aside       bool   // a deleted tenant has the name
	kept        string // what that one is called then

	comment  string            // on the schema
	site     *staging.Site     // where the schema was built in several transactions
	trial    bool              // it is rolled back: the registry is not told
	via      map[string]string // tables of the file whose rows go through another
	own      own
	code     []string // that no migration makes
	trusting bool     // the tables have such code
}

// tablespace returns where the tenant's tables are made. A trial needs no place of its own.
func (t *target) tablespace() string {
	if t.trial {
		return ""
	}
	return registry.TablespaceOf(t.row.Settings)
}

// choosePlace settles in which tablespace the tenant is, and makes sure that it can be made there.
func (t *target) choosePlace(ctx context.Context, o NewTenant) error {
	if t.trial {
		return nil
	}
	name := t.tablespace()
	if o.Tablespace != nil {
		name = *o.Tablespace
	}
	var err error
	if name != "" {
		usual, err := tablespace.Look(ctx, t.conn, name, "", o.Owner)
		if err != nil {
			return err
		}
		if usual {
			name = ""
		}
	}
	if name != t.tablespace() {
		t.row.Settings, err = registry.WithTablespace(t.row.Settings, name)
	}
	return err
}

func (o NewTenant) path() db.Path {
	if o.Path == nil {
		return db.Path{}
	}
	return o.Path()
}

// newTarget says where a tenant goes to: under its own name, or under another.
func newTarget(conn *pgx.Conn, row Tenant, as string) (*target, error) {
	var err error
	t := &target{conn: conn, row: row}
	if as == "" || as == row.Slug {
		t.schema, err = db.RegisteredSchema(row.Schema)
	} else {
		t.row.Slug = as
		t.schema, err = db.SchemaForSlug(as)
		t.row.ID = ""
	}
	if err != nil {
		return nil, err
	}
	t.had = row.Role != ""
	t.row.Schema, t.row.Role = t.schema.String(), ""
	if t.row.Status != "suspended" {
		t.row.Status = "active"
	}
	return t, nil
}

// create begins the transaction with the registry row and the schema: as the
// migrations of the manifest make it, or with the structure that stands there.
func (t *target) create(ctx context.Context, m *Manifest, o NewTenant) error {
	t.comment = m.Comment
	script, err := o.Build(m.Applied())
	if err != nil {
		return err
	}
	if o.Judge != nil {
		if err := o.Judge(t.row); err != nil {
			return fmt.Errorf("tenant %q %w: %w", t.row.Slug, ErrRefused, err)
		}
	}
	if !t.trial {
		if err := t.identify(ctx, o.Registry, o.SetAside != nil); err != nil {
			return err
		}
		if err := t.lookAside(ctx, o); err != nil {
			return err
		}
	}
	if err := t.choosePlace(ctx, o); err != nil {
		return err
	}
	if !t.ghost && !t.trial {
		if err := t.judgePlace(ctx); err != nil {
			return err
		}
	}
	// Whatever the role of the data was called: another database of the cluster, or
	// the tenant itself, may have it.
	if !t.trial && (o.Role == RoleAlways || o.Role == RoleAsSource && t.had) {
		t.row.Role = t.schema.String()
	}
	if m.Structure != nil && m.Structure.From == FromFile {
		return t.createOwn(ctx, m, o)
	}
	several := staging.Several(script)
	if several {
		if err := t.build(ctx, script, o); err != nil {
			return err
		}
	}
	var p db.Pipeline
	if err := t.begin(ctx, &p, m.Applied(), o); err != nil {
		return err
	}
	if !several {
		p.Script(script)
	} else if t.row.Role != "" {
		o.Roles.QueueTables(&p, t.schema, t.row.Role)
	}
	if t.row.Role != "" {
		o.Roles.QueueLimits(&p, t.schema, t.row.Role, t.row.Status == "active")
	}
	p.CheckSchema(t.schema)
	p.OwnPath()
	queueDialect(&p)
	t.there.queue(&p, t.schema, nil)
	// What the tables call when rows are written may look for names there.
	p.StandIn(t.schema, o.path())
	if err := t.run(ctx, &p, o); err != nil {
		return err
	}
	t.there.members()
	return t.judgeBuilt(ctx, o)
}

// begin adds the transaction, the registry's row, the schema and its role.
func (t *target) begin(ctx context.Context, p *db.Pipeline, versions []int64, o NewTenant) error {
	version := int64(0)
	for _, v := range versions {
		version = max(version, v)
	}
	// A new tenant's name is its lock: the registry has it once.
	locals := db.Locals{Schema: t.schema, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout,
		AsConfigured: true, Follow: !t.trial, Tablespace: t.tablespace()}
	if t.ghost {
		locals.Tenant = o.Registry.Row(t.row.ID)
	}
	p.Begin(locals)
	if t.site != nil {
		t.site.Claim(p)
	}
	if !t.trial {
		if err := t.setAside(ctx, p, o); err != nil {
			return err
		}
		t.register(p, o.Registry, version)
	}
	switch {
	case t.site == nil:
		p.CreateSchema(t.schema.String())
	case t.site.Schema != t.schema:
		p.Apart("alter schema " + t.site.Schema.Quoted() + " rename to " + t.schema.Quoted())
	}
	if t.comment != "" {
		p.Apart("comment on schema " + t.schema.Quoted() + " is " + strings.TrimSpace(db.Literal(t.comment)))
	}
	if t.row.Role != "" {
		o.Roles.Queue(p, t.row.ID, t.schema, t.row.Role)
	}
	return nil
}

func (t *target) run(ctx context.Context, p *db.Pipeline, o NewTenant) error {
	err := p.Run(ctx, t.conn)
	if err != nil {
		err = t.explain(o.Registry, err)
		if t.row.Role != "" {
			err = o.Roles.Explain(err, t.row.Role)
		}
	}
	return err
}

// register adds the registry's row, or fills in that of a tenant whose schema is gone.
func (t *target) register(p *db.Pipeline, reg registry.Registry, version int64) {
	row := registry.Tenant{
		ID: t.row.ID, Slug: t.row.Slug, DisplayName: t.row.DisplayName, Schema: t.schema,
		Status: registry.Status(t.row.Status),
		Role:   t.row.Role, Version: version, Settings: t.row.Settings,
	}
	if t.ghost {
		reg.QueueRevive(p, row)
		return
	}
	reg.QueueInsert(p, row)
}

// findGhost finds out whether the registry has the very tenant without its schema: a
// registry that was restored first, or a schema that was dropped by hand. What the
// registry says of the tenant holds then; deleted says that it may be deleted, too.
func (t *target) findGhost(ctx context.Context, reg registry.Registry, deleted bool) error {
	row, found, err := reg.Ghost(ctx, t.conn, t.row.ID, t.row.Slug, t.schema, deleted)
	if err != nil || !found {
		return err
	}
	t.ghost = true
	t.row.DisplayName, t.row.Status, t.row.Settings = row.DisplayName, row.Status, []byte(row.Settings)
	return nil
}

// identify keeps the id of a tenant that comes back under its own name, so that
// its audit goes on, unless somebody else has it now. deleted is as findGhost has it.
func (t *target) identify(ctx context.Context, reg registry.Registry, deleted bool) error {
	if _, err := uuid.Parse(t.row.ID); err == nil {
		if err := t.findGhost(ctx, reg, deleted); err != nil || t.ghost {
			return err
		}
		taken, err := reg.OtherHas(ctx, t.conn, t.row.ID, t.row.Slug)
		if err != nil || !taken {
			return err
		}
	}
	return t.newID()
}

func (t *target) newID() error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id for tenant %q: %w", t.row.Slug, err)
	}
	t.row.ID = id.String()
	return nil
}

// explain turns what the server refused while the tenant was made into an
// *registry.ExistsError where that is the reason.
func (t *target) explain(reg registry.Registry, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, pgx.ErrNoRows), // a ghost's row has changed meanwhile
		reg.Taken(err):
		return &registry.ExistsError{Slug: t.row.Slug, Schema: t.schema, Registered: true}
	case ok && pgErr.Code == db.CodeDuplicateSchema:
		return &registry.ExistsError{Slug: t.row.Slug, Schema: t.schema}
	}
	return db.Plain(err)
}

// commit writes the audit and ends the transaction.
func (t *target) commit(ctx context.Context, o NewTenant, detail map[string]any) error {
	var p db.Pipeline
	if err := o.Audit(&p, registry.Event{TenantID: t.row.ID, Slug: t.row.Slug, After: t.fields(),
		Detail: detail}); err != nil {
		return err
	}
	owner.QueueGive(&p, t.schema, o.Owner)
	if err := p.Run(ctx, t.conn); err != nil {
		return db.Plain(err)
	}
	if t.site == nil {
		return db.Commit(ctx, t.conn)
	}
	if err := t.site.Finish(ctx); err != nil {
		return err
	}
	return errors.Join(db.Commit(ctx, t.conn), t.site.Clear(ctx))
}

// fields returns what the audit keeps of a tenant that begins.
func (t *target) fields() map[string]any {
	return registry.InitialFields(registry.Tenant{
		Slug: t.row.Slug, DisplayName: t.row.DisplayName, Schema: t.schema, Status: registry.Status(t.row.Status),
		Role: t.row.Role, Settings: t.row.Settings,
	})
}
