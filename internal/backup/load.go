package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

// Event is what the audit is told: the tenant, what was done, and more of it.
type Event struct {
	TenantID string
	Slug     string
	After    map[string]any // the registry's fields of a tenant that was made
	Detail   map[string]any
}

// Roles makes the role of a tenant, within the transaction that makes the tenant.
type Roles interface {
	// Queue adds what makes the role for the tenant with the given id, before the
	// statements that make the tables.
	Queue(p *db.Pipeline, id string, schema db.Schema, role string)
	// QueueLimits adds what takes away what the role must not have, after them.
	QueueLimits(p *db.Pipeline, schema db.Schema, role string, active bool)
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

	// Build returns the script that makes an empty schema one with the given
	// migrations, version table included. It refuses versions that it has no file
	// for.
	Build func(versions []int64) ([]db.Statement, error)
	// Judge refuses a tenant whose name, display name or settings a user may not give
	// one; nil refuses none.
	Judge func(t Tenant) error
	// Audit adds a row of the audit to a pipeline.
	Audit func(p *db.Pipeline, e Event) error
	// Role says whether the tenant gets a role, and Roles makes it. Roles may be nil
	// with RoleNever only.
	Role  RoleChoice
	Roles Roles
	// Progress is told how many bytes of COPY text were loaded; may be nil.
	Progress func(n int64)
	// SetAside, if not nil, makes room where a deleted tenant has the name.
	SetAside SetAside
}

// target is the tenant that is being made, within the transaction that makes it.
type target struct {
	conn   *pgx.Conn
	schema db.Schema
	row    Tenant
	there  structure // as the migrations made it
	tight  []foreignKey
	had    bool   // the tenant of the data has a role
	ghost  bool   // the registry has the tenant, but its schema is gone
	aside  bool   // a deleted tenant has the name
	kept   string // what that one is called then
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

// create begins the transaction with the registry row and the schema, as the
// migrations with the given versions make it.
func (t *target) create(ctx context.Context, versions []int64, o NewTenant) error {
	script, err := o.Build(versions)
	if err != nil {
		return err
	}
	if o.Judge != nil {
		if err := o.Judge(t.row); err != nil {
			return fmt.Errorf("tenant %q %w: %w", t.row.Slug, ErrRefused, err)
		}
	}
	if err := t.identify(ctx, o.SetAside != nil); err != nil {
		return err
	}
	if err := t.lookAside(ctx, o); err != nil {
		return err
	}
	if !t.ghost {
		if err := t.judgePlace(ctx); err != nil {
			return err
		}
	}
	// Whatever the role of the data was called: another database of the cluster, or
	// the tenant itself, may have it.
	if o.Role == RoleAlways || o.Role == RoleAsSource && t.had {
		t.row.Role = t.schema.String()
	}
	version := int64(0)
	for _, v := range versions {
		version = max(version, v)
	}
	var p db.Pipeline
	// A new tenant's name is its lock: the registry has it once.
	locals := db.Locals{Schema: t.schema, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, AsConfigured: true}
	if t.ghost {
		locals.Tenant = t.row.ID
	}
	p.Begin(locals)
	if err := t.setAside(ctx, &p, o); err != nil {
		return err
	}
	t.register(&p, version)
	p.Exec("create schema " + t.schema.Quoted())
	if t.row.Role != "" {
		o.Roles.Queue(&p, t.row.ID, t.schema, t.row.Role)
	}
	p.Script(script)
	if t.row.Role != "" {
		o.Roles.QueueLimits(&p, t.schema, t.row.Role, t.row.Status == "active")
	}
	queueDialect(&p)
	t.there.queue(&p, t.schema, nil)
	p.CheckSchema(t.schema)
	if err := p.Run(ctx, t.conn); err != nil {
		err = t.explain(err)
		if t.row.Role != "" {
			err = o.Roles.Explain(err, t.row.Role)
		}
		return err
	}
	return nil
}

// register adds the registry's row, or fills in that of a tenant whose schema is gone.
func (t *target) register(p *db.Pipeline, version int64) {
	if t.ghost {
		var id string
		p.QueryRow([]any{&id}, `update public.tenants set role_name = nullif($2, ''), schema_version = $3, updated_at = pg_catalog.now()
			where id = $1 and slug = $4 and schema_name = $5 and status = $6 returning id::text`,
			t.row.ID, t.row.Role, version, t.row.Slug, t.row.Schema, t.row.Status)
		return
	}
	p.Claim(`insert into public.tenants (id, slug, display_name, schema_name, status, role_name, schema_version, settings)
		values ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8::pg_catalog.jsonb)`,
		t.row.ID, t.row.Slug, t.row.DisplayName, t.row.Schema, t.row.Status, t.row.Role, version, string(t.row.Settings))
}

// haunted looks whether the registry has the very tenant without its schema: a
// registry that was restored first, or a schema that was dropped by hand. What the
// registry says of the tenant holds then; deleted says that it may be deleted, too.
func (t *target) haunted(ctx context.Context, deleted bool) error {
	type row struct{ DisplayName, Status, Settings string }
	found, err := db.Select(ctx, t.conn, pgx.RowToStructByPos[row], `select display_name, status, settings::text from public.tenants
		where id = $1 and slug = $2 and schema_name = $3 and (status <> 'deleted' or $4 and purge_started_at is null)
		  and not exists (select from pg_namespace where nspname = $3::text::name)`,
		t.row.ID, t.row.Slug, t.row.Schema, deleted)
	if err != nil || len(found) == 0 {
		return err
	}
	t.ghost = true
	t.row.DisplayName, t.row.Status, t.row.Settings = found[0].DisplayName, found[0].Status, []byte(found[0].Settings)
	return nil
}

// identify keeps the id of a tenant that comes back under its own name, so that
// its audit goes on, unless somebody else has it now. deleted is as haunted has it.
func (t *target) identify(ctx context.Context, deleted bool) error {
	if _, err := uuid.Parse(t.row.ID); err == nil {
		if err := t.haunted(ctx, deleted); err != nil || t.ghost {
			return err
		}
		taken, err := db.Select(ctx, t.conn, pgx.RowTo[bool], `select exists (select from public.tenants where id = $1 and slug <> $2)`, t.row.ID, t.row.Slug)
		if err != nil || !taken[0] {
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
// *ExistsError where that is the reason.
func (t *target) explain(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, pgx.ErrNoRows), // a ghost's row has changed meanwhile
		ok && pgErr.Code == db.CodeUniqueViolation && pgErr.TableName == "tenants":
		return &ExistsError{Slug: t.row.Slug, Schema: t.row.Schema, Registered: true}
	case ok && pgErr.Code == db.CodeDuplicateSchema:
		return &ExistsError{Slug: t.row.Slug, Schema: t.row.Schema}
	}
	return plain(err)
}

// prepare makes the tables ready for rows as they were: empty, with no trigger
// that would change them, and with the keys checked when all is there.
func (t *target) prepare(ctx context.Context, m *Manifest) error {
	if err := t.compare(m); err != nil {
		return err
	}
	var p db.Pipeline
	if err := t.empty(ctx, &p, m.Tables); err != nil {
		return err
	}
	for _, g := range t.there.triggers {
		p.Exec("alter table " + qualified(t.schema, g.Table) + " disable trigger " + pgx.Identifier{g.Name}.Sanitize())
	}
	order := make([]string, len(m.Tables))
	for i := range m.Tables {
		order[i] = m.Tables[i].Name
	}
	t.tight = t.there.tight(order)
	for _, k := range t.tight {
		p.Exec("alter table " + t.keyed(k) + " deferrable initially deferred")
	}
	p.Exec("set constraints all deferred")
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("prepare schema %s for its rows: %w", t.schema, plain(err))
	}
	return nil
}

func (t *target) keyed(k foreignKey) string {
	return qualified(t.schema, t.there.name(k.From)) + " alter constraint " + pgx.Identifier{k.Name}.Sanitize()
}

// compare makes sure that the migrations made what the rows need: the tables of
// the manifest with their columns, and no other. The version table is what its
// tool made it.
func (t *target) compare(m *Manifest) error {
	var wrong []string
	known := make(map[string]bool, len(m.Tables))
	for i := range m.Tables {
		want := &m.Tables[i]
		known[want.Name] = true
		got, ok := t.there.table(want.Name)
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("no table %q", want.Name))
		case want.Name != versionTable:
			wrong = append(wrong, compareColumns(want, got)...)
		}
	}
	for _, r := range t.there.of("r") {
		if !known[r.Name] {
			wrong = append(wrong, fmt.Sprintf("table %q is too much", r.Name))
		}
	}
	for _, s := range m.Sequences {
		if !slices.ContainsFunc(t.there.of("S"), func(r relation) bool { return r.Name == s.Name }) && !strings.HasPrefix(s.Name, versionTable) {
			wrong = append(wrong, fmt.Sprintf("no sequence %q", s.Name))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	const shown = 5
	more := ""
	if len(wrong) > shown {
		more = fmt.Sprintf(", and %d more", len(wrong)-shown)
		wrong = wrong[:shown]
	}
	return fmt.Errorf("%w at version %d: %s%s", ErrMismatch, m.SchemaVersion, strings.Join(wrong, ", "), more)
}

func compareColumns(want *Table, got relation) (wrong []string) {
	for _, c := range want.Columns {
		switch at := slices.Index(got.Columns, c.Name); {
		case at < 0:
			wrong = append(wrong, fmt.Sprintf("no column %q in table %q", c.Name, want.Name))
		case got.Types[at] != c.Type:
			wrong = append(wrong, fmt.Sprintf("column %q of table %q has type %q, not %q", c.Name, want.Name, got.Types[at], c.Type))
		}
	}
	for _, name := range got.Columns {
		if !slices.ContainsFunc(want.Columns, func(c Column) bool { return c.Name == name }) {
			wrong = append(wrong, fmt.Sprintf("column %q in table %q is too much", name, want.Name))
		}
	}
	return wrong
}

// empty takes out the rows that the migrations put in: the data has them too,
// as they were in the end.
func (t *target) empty(ctx context.Context, p *db.Pipeline, tables []Table) error {
	var look db.Pipeline
	filled := make([]bool, len(tables))
	for i, table := range tables {
		if table.Name != versionTable {
			look.QueryRow([]any{&filled[i]}, "select exists (select from "+qualified(t.schema, table.Name)+")")
		}
	}
	if err := look.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("look at schema %s: %w", t.schema, plain(err))
	}
	p.Exec("delete from " + qualified(t.schema, versionTable))
	if !slices.Contains(filled, true) {
		return nil
	}
	var all []string
	for _, kind := range []string{"r", "p"} {
		for _, r := range t.there.of(kind) {
			all = append(all, qualified(t.schema, r.Name))
		}
	}
	p.Exec("truncate " + strings.Join(all, ", "))
	return nil
}

// fill loads the rows of one table and returns how many they were.
func (t *target) fill(ctx context.Context, table *Table, data io.Reader) (int64, error) {
	// The server only repeats the text of an error that comes from our side.
	from := &rememberingReader{in: data}
	tag, err := db.CopyFrom(ctx, t.conn, from, "copy "+copyTarget(t.schema, table)+" from stdin")
	if from.err != nil && db.SQLState(err) == db.CodeQueryCanceled {
		err = from.err
	}
	if err != nil {
		return 0, fmt.Errorf("fill table %s.%s: %w", t.schema, table.Name, err)
	}
	return tag.RowsAffected(), nil
}

// rememberingReader keeps the error of what it reads.
type rememberingReader struct {
	in  io.Reader
	err error
}

// Read implements io.Reader.
func (r *rememberingReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// complete sets the sequences, takes back what prepare has done, checks all keys,
// and fills the materialized views.
func (t *target) complete(ctx context.Context, m *Manifest) error {
	var p db.Pipeline
	for _, s := range m.Sequences {
		if slices.ContainsFunc(t.there.of("S"), func(r relation) bool { return r.Name == s.Name }) {
			p.Exec("select pg_catalog.setval($1::text::regclass, $2, $3)", qualified(t.schema, s.Name), s.LastValue, s.IsCalled)
		}
	}
	p.Exec("set constraints all immediate")
	for _, k := range t.tight {
		p.Exec("alter table " + t.keyed(k) + " not deferrable")
	}
	for _, g := range t.there.triggers {
		state := map[string]string{"O": "enable", "R": "enable replica", "A": "enable always"}[g.State]
		p.Exec("alter table " + qualified(t.schema, g.Table) + " " + state + " trigger " + pgx.Identifier{g.Name}.Sanitize())
	}
	views := t.there.of("m")
	slices.SortFunc(views, func(a, b relation) int { return int(min(max(a.OID-b.OID, -1), 1)) })
	for _, v := range views {
		if v.Populated {
			p.Exec("refresh materialized view " + qualified(t.schema, v.Name))
		}
	}
	p.CheckSchema(t.schema)
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("complete schema %s: %w", t.schema, plain(err))
	}
	return nil
}

// commit writes the audit and ends the transaction.
func (t *target) commit(ctx context.Context, o NewTenant, detail map[string]any) error {
	var p db.Pipeline
	if err := o.Audit(&p, Event{TenantID: t.row.ID, Slug: t.row.Slug, After: t.fields(), Detail: detail}); err != nil {
		return err
	}
	if err := p.Run(ctx, t.conn); err != nil {
		return plain(err)
	}
	return db.Commit(ctx, t.conn)
}

// fields returns what the audit keeps of a tenant that begins.
func (t *target) fields() map[string]any {
	after := map[string]any{"slug": t.row.Slug, "display_name": t.row.DisplayName, "schema": t.row.Schema, "status": t.row.Status}
	if t.row.Role != "" {
		after["role"] = t.row.Role
	}
	if len(t.row.Settings) > 0 && string(t.row.Settings) != "{}" {
		after["settings"] = t.row.Settings
	}
	return after
}
