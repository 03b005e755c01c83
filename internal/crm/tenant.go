package crm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/crm/phone"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
)

// Options say which tenant is opened, and how it is worked on.
type Options struct {
	Schema db.Schema // of the tenant; required
	Path   db.Path   // behind it, for what the tables call
	// Tablespace is where what has to be made is made, see db.Locals.
	Tablespace string
	// Region is the country, "DE", of telephone numbers without a country code.
	Region string

	LockTimeout      time.Duration // zero for no end
	StatementTimeout time.Duration // where something is written
	ReadTimeout      time.Duration // of a statement where nothing is
	Trusted          []string      // roles whose code may run, as in planted.Guard
	OwnRole          bool          // everything is done as the session's role
	// Ground is what Survey has found for many tenants; nil to look at this one alone. It says
	// what Trusted and OwnRole do.
	Ground *Ground
	// Private keeps the parameters of statements out of the server's log, where the session's
	// role is a superuser; no other may.
	Private bool
	// Look, if not nil, adds to each transaction that reads, before anything is read, what
	// must be so: its error keeps it from being read.
	Look func(p *db.Pipeline)
	// Hold, if not nil, begins what is written: its error keeps it from being done.
	Hold func(ctx context.Context, q db.Querier) error
	// Record, if not nil, is told of what was written, before it is committed, and as which
	// role, "" for the session's.
	Record func(ctx context.Context, q db.Querier, role string, done []Change) error
}

// Change is one thing that was written.
type Change struct {
	Table string // "contacts", "conversations", "messages"
	Did   string // "add", "edit", "remove", "open", "close", "reopen", "assign"
	ID    string
}

// Tenant is one tenant. It may be used for any number of transactions, by several goroutines
// at once that have a connection each. What Open found is as old as the Tenant; each
// transaction looks itself whether it stands in the schema, and whether code is planted there.
type Tenant struct {
	o      Options
	guard  *planted.Guard
	role   owner.Role
	tables map[string]table
	phones *phones
}

// phones reads numbers for several goroutines.
type phones struct {
	mu     sync.Mutex
	parser *phone.Parser
}

// e164 returns a number as E.164 has it.
func (p *phones) e164(text string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number, ok := p.parser.Append(nil, []byte(text))
	return string(number), ok
}

// Ground is whose schemas are, and where others could plant code. Looking costs a pass over the
// catalogs, for one schema as for all. It is safe for concurrent use.
type Ground struct {
	guard *planted.Guard
	roles owner.Roles
}

// Survey looks at the ground of schemas. Of o only Trusted and OwnRole count.
func Survey(ctx context.Context, conn *pgx.Conn, schemas []db.Schema, o Options) (*Ground, error) {
	g := &Ground{guard: &planted.Guard{Trusted: o.Trusted}}
	if err := g.guard.Prepare(ctx, conn, schemas); err != nil || o.OwnRole {
		return g, err
	}
	var err error
	g.roles, err = owner.Read(ctx, conn, schemas)
	return g, err
}

// Open looks once at what every transaction needs to know: whose the schema is, whether
// others could plant code there, and which columns its tables have.
func Open(ctx context.Context, conn *pgx.Conn, o Options) (*Tenant, error) {
	ground := o.Ground
	if ground == nil {
		var err error
		if ground, err = Survey(ctx, conn, []db.Schema{o.Schema}, o); err != nil {
			return nil, err
		}
	}
	tables, err := readTables(ctx, conn, o.Schema)
	if err != nil {
		return nil, err
	}
	return &Tenant{o: o, guard: ground.guard, role: ground.roles.Of(o.Schema), tables: tables,
		phones: &phones{parser: phone.NewParser(o.Region)}}, nil
}

// Recording returns the same tenant with another Options.Record.
func (t *Tenant) Recording(record func(ctx context.Context, q db.Querier, role string, done []Change) error) *Tenant {
	other := *t
	other.o.Record = record
	return &other
}

// Read runs fn in a transaction that only reads, and sees one moment.
func (t *Tenant) Read(ctx context.Context, conn *pgx.Conn, fn func(ctx context.Context, r *Reader) error) error {
	locals := db.Locals{Schema: t.o.Schema, Path: t.o.Path, EveryRow: true, Snapshot: true,
		StatementTimeout: t.o.ReadTimeout}
	return t.guarded(ctx, conn, locals, t.role.Reads(), func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		if t.o.Look != nil {
			t.o.Look(&p)
		}
		p.Become(t.role.Reads())
		p.OwnPath()
		if err := p.Run(ctx, q); err != nil {
			return db.Plain(err)
		}
		return fn(ctx, &Reader{t: t, q: q})
	})
}

// Write runs fn in a transaction, and commits what it has written.
func (t *Tenant) Write(ctx context.Context, conn *pgx.Conn, fn func(ctx context.Context, w *Writer) error) error {
	locals := db.Locals{Schema: t.o.Schema, Path: t.o.Path, EveryRow: true, Follow: true,
		Tablespace: t.o.Tablespace, StatementTimeout: t.o.StatementTimeout}
	return t.guarded(ctx, conn, locals, t.role.Work, func(ctx context.Context, q db.Querier) error {
		if t.o.Hold != nil {
			if err := t.o.Hold(ctx, q); err != nil {
				return err
			}
		}
		w := &Writer{Reader: Reader{t: t, q: q}}
		var begin, end db.Pipeline
		begin.Become(t.role.Work)
		if err := begin.Run(ctx, q); err != nil {
			return db.Plain(err)
		}
		if err := fn(ctx, w); err != nil {
			return err
		}
		if t.role.Work != "" {
			end.Return()
		}
		if err := end.Run(ctx, q); err != nil {
			return db.Plain(err)
		}
		if t.o.Record != nil && len(w.done) > 0 {
			return t.o.Record(ctx, q, t.role.Work, w.done)
		}
		return nil
	})
}

// guarded is a transaction that begins with the guard against planted code.
func (t *Tenant) guarded(ctx context.Context, conn *pgx.Conn, l db.Locals, role string,
	fn func(ctx context.Context, q db.Querier) error) error {
	if err := t.guard.Refuse(t.o.Schema); err != nil {
		return err
	}
	l.LockTimeout = t.o.LockTimeout
	l.Enter = func(p *db.Pipeline) {
		t.guard.Queue(p, t.o.Schema, "")
		if t.o.Private {
			p.Exec(`select pg_catalog.set_config('log_parameter_max_length', '0', true)
				where pg_catalog.current_setting('is_superuser') operator(pg_catalog.=) 'on'`)
		}
		p.Become(role)
	}
	err := db.InTx(ctx, conn, l, fn)
	if !planted.Suspect(err) {
		return err
	}
	if err := t.guard.Clear(ctx, conn, t.o.Schema); err != nil {
		return err
	}
	return db.InTx(ctx, conn, l, fn)
}

// Reader reads a tenant, within a transaction of it.
type Reader struct {
	t *Tenant
	q db.Querier
}

// Writer reads and writes a tenant, within a transaction of it.
type Writer struct {
	Reader

	done []Change
}

func (w *Writer) did(table, what, id string) {
	w.done = append(w.done, Change{Table: table, Did: what, ID: id})
}

// table is what is known of one of a tenant's tables.
type table struct {
	name    string // in full, quoted
	bare    string
	schema  string
	columns map[string]column
}

type column struct {
	Type    string // in full where it is PostgreSQL's own, else ""
	NotNull bool
	// Generated tells that the server fills it in, always.
	Generated bool
}

// readTables reads which columns the tenant's tables have.
func readTables(ctx context.Context, q db.Querier, schema db.Schema) (map[string]table, error) {
	type row struct {
		Table, Column, Type string
		NotNull, Generated  bool
	}
	names := []string{"contacts", "conversations", "messages"}
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[row], `
select c.relname::text, a.attname::text,
       case when t.typnamespace = 'pg_catalog'::regnamespace then 'pg_catalog.' || quote_ident(t.typname) else '' end,
       a.attnotnull, a.attgenerated <> '' or a.attidentity = 'a'
from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where n.nspname = $1::text::name and c.relname = any ($2::text[]::name[])`, schema.String(), names)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	out := map[string]table{}
	for _, name := range names {
		out[name] = table{name: db.Quoted(schema.String(), name), bare: name, schema: schema.String(),
			columns: map[string]column{}}
	}
	for _, r := range rows {
		out[r.Table].columns[r.Column] = column{Type: r.Type, NotNull: r.NotNull, Generated: r.Generated}
	}
	return out, nil
}

// need returns a table that has all of the columns.
func (r *Reader) need(name string, columns ...string) (table, error) {
	t := r.t.tables[name]
	problem := &importer.TableError{Schema: t.schema, Table: name}
	if len(t.columns) == 0 {
		problem.Problems = []string{"is not there"}
		return t, problem
	}
	for _, c := range columns {
		if !t.has(c) {
			problem.Missing = append(problem.Missing, c)
		}
	}
	if len(problem.Missing) > 0 {
		slices.Sort(problem.Missing)
		return t, problem
	}
	return t, nil
}

// has reports whether a table has a column.
func (t table) has(name string) bool {
	_, ok := t.columns[name]
	return ok
}

// sortedQuoted returns names as identifiers, in order.
func sortedQuoted(names []string) []string {
	slices.Sort(names)
	for i, name := range names {
		names[i] = db.Quoted(name)
	}
	return names
}

// text returns a column of the alias as text, "" where the table lacks it or it is null.
func (t table) text(alias, name string) string {
	if !t.has(name) {
		return "''"
	}
	return "coalesce(" + alias + "." + db.Quoted(name) + "::pg_catalog.text, '')"
}

// raw returns a column of the alias, null of the type where the table lacks it.
func (t table) raw(alias, name, kind string) string {
	if !t.has(name) {
		return "null::" + kind
	}
	return alias + "." + db.Quoted(name) + "::" + kind
}

// is returns the condition that a column of the alias stands to a parameter, which is a
// text, as the operator says. An index serves it where the type is PostgreSQL's own.
func (t table) is(alias, name, operator, parameter string) string {
	c, kind := t.typed(alias, name)
	return c + " operator(pg_catalog." + operator + ") " + parameter + "::pg_catalog.text::" + kind
}

// isAny returns the condition that a column of the alias is one of a parameter's texts.
func (t table) isAny(alias, name, parameter string) string {
	c, kind := t.typed(alias, name)
	return c + " operator(pg_catalog.=) any (" + parameter + "::pg_catalog.text[]::" + kind + "[])"
}

// typed returns a column of the alias and its type, text where the type is not PostgreSQL's
// own.
func (t table) typed(alias, name string) (expression, kind string) {
	expression, kind = alias+"."+db.Quoted(name), t.columns[name].Type
	if kind == "" {
		return expression + "::pg_catalog.text", "pg_catalog.text"
	}
	return expression, kind
}
