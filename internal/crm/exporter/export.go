package exporter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
)

// Table is what is exported.
type Table string

// The tables.
const (
	Contacts      Table = "contacts"
	Conversations Table = "conversations"
	Messages      Table = "messages"
)

// Options say what is written, and how.
type Options struct {
	Table  Table
	Format Format
	Filter Filter
	// Raw leaves cells of CSV as they are that a spreadsheet would compute.
	Raw bool
	// Preset names the columns of CSV as a program does that imports contacts: PresetGoogle,
	// PresetOutlook, or "" for the table's own.
	Preset Preset
	// WithTenant adds a first column, tenant.
	WithTenant bool
	// Anonymize, if not nil, replaces what is personal.
	Anonymize *Anonymizer
	// OwnRole reads as the session's role, whoever owns the tables.
	OwnRole          bool
	Trusted          []string      // roles whose code may run, as in planted.Guard
	LockTimeout      time.Duration // wait for each lock
	StatementTimeout time.Duration // of each statement, 0 for none
}

// Source is a tenant to be read.
type Source struct {
	Slug   string
	Schema db.Schema
}

// ErrNoTable says that a tenant has not the table.
var ErrNoTable = errors.New("the table is not there")

// CutShortError says that the rows of a tenant are not all there, of which some are written.
type CutShortError struct {
	Slug string
	Rows int64 // that are written
	Err  error
}

func (e *CutShortError) Error() string {
	return fmt.Sprintf("tenant %q: %v, after %d rows", e.Slug, e.Err, e.Rows)
}

func (e *CutShortError) Unwrap() error { return e.Err }

// Export is a file under way. It is not safe for concurrent use.
type Export struct {
	o       Options
	columns []Column
	shapes  map[string]*shape
	roles   owner.Roles
	filter  *conditions
	out     *bufio.Writer
	enc     encoder
	begun   bool
	values  values
	total   Measure
	looks   bool // tables are not plain: it is looked for what is planted
}

// outBuffer is what is gathered before it is written.
const outBuffer = 256 << 10

// New looks at the tables of all sources. Nothing is written until the first row, or End.
func New(ctx context.Context, conn *pgx.Conn, w io.Writer, sources []Source, o Options) (*Export, error) {
	e := &Export{o: o, out: bufio.NewWriterSize(w, outBuffer),
		filter: newConditions(o.Table, o.Filter, db.EngineOf(conn).Distributed())}
	schemas := make([]db.Schema, len(sources))
	for i, s := range sources {
		schemas[i] = s.Schema
	}
	var err error
	if e.columns, e.shapes, err = readShapes(ctx, conn, o.Table, schemas); err != nil {
		return nil, err
	}
	if !o.OwnRole {
		if e.roles, err = owner.Read(ctx, conn, schemas); err != nil {
			return nil, err
		}
	}
	if o.Anonymize != nil {
		if err := o.Anonymize.use(o.Table, e.columns); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Columns returns the columns of the file.
func (e *Export) Columns() []Column {
	if e.o.WithTenant {
		return append([]Column{{Name: contactfile.Tenant, Kind: Text}}, e.columns...)
	}
	return slices.Clone(e.columns)
}

// Anonymized says what is done to the columns, nil where nothing is.
func (e *Export) Anonymized() *Anonymized {
	if e.o.Anonymize == nil {
		return nil
	}
	return e.o.Anonymize.told(e.columns)
}

// Tenant writes the rows of a tenant and returns their number. After a *CutShortError the
// file is of no use; after any other nothing of the tenant is in it.
func (e *Export) Tenant(ctx context.Context, conn *pgx.Conn, s Source) (int64, error) {
	n := int64(0)
	err := e.read(ctx, conn, s, e.columns, func(shape *shape, named names) string {
		return shape.statement(named, e.o.Table, e.columns, e.filter)
	}, func(fields [][]byte) error {
		if err := e.begin(); err != nil {
			return err
		}
		n++
		return e.row(s.Slug, fields)
	})
	if err != nil && n > 0 {
		return n, &CutShortError{s.Slug, n, err}
	}
	return n, err
}

// read reads one result of a tenant, in a transaction that is only for that. The statement
// itself is the moment that is read: it begins when the table is locked, so that nobody can
// rewrite it before.
func (e *Export) read(ctx context.Context, conn *pgx.Conn, s Source, columns []Column,
	statement func(*shape, names) string, take func([][]byte) error) (err error) {
	shape := e.shapes[s.Schema.String()]
	if shape == nil {
		return fmt.Errorf("%s.%s: %w", s.Schema, e.o.Table, ErrNoTable)
	}
	if err := e.filter.check(s.Schema, e.o.Table, shape); err != nil {
		return err
	}
	tables := []planted.Table{{Schema: s.Schema.String(), Name: string(e.o.Table), Columns: shape.Names}}
	for _, name := range e.filter.tables {
		tables = append(tables, planted.Table{Schema: s.Schema.String(), Name: name})
	}
	defer func() { err = errors.Join(err, db.Rollback(ctx, conn)) }()
	bare, err := e.enter(ctx, conn, s, tables)
	if errors.Is(err, planted.ErrNotPlain) && !e.looks {
		e.looks = true
		if err = db.Rollback(ctx, conn); err == nil {
			bare, err = e.enter(ctx, conn, s, tables)
		}
	}
	if err != nil {
		return gone(err)
	}
	named := func(table string) string {
		if bare[table] {
			return db.Quoted(table)
		}
		return inSchema(s.Schema, table)
	}
	out := &rows{columns: len(columns), take: take}
	if _, err := db.CopyTo(ctx, conn, out, statement(shape, named)); err != nil {
		return gone(err)
	}
	if !out.ended {
		return errCopy
	}
	return nil
}

// enter begins a transaction in which the tables can be read, and nothing of others runs. It
// returns those that are found without their schema.
func (e *Export) enter(ctx context.Context, conn *pgx.Conn, s Source, tables []planted.Table) (map[string]bool,
	error) {
	role := e.roles.Of(s.Schema).Reads()
	var objects []planted.Object
	var p db.Pipeline
	p.Begin(db.Locals{LockTimeout: e.o.LockTimeout, StatementTimeout: e.o.StatementTimeout})
	p.Exec("set transaction read only")
	if e.looks {
		planted.QueueReadLooked(&p, s.Schema, tables, role, append([]string{}, e.o.Trusted...), &objects)
	} else {
		planted.QueueReadAs(&p, tables, role)
	}
	p.Become(role)
	e.filter.queue(&p)
	bare := map[string]bool{}
	p.Bare(s.Schema)
	p.Found(bare, s.Schema, append([]string{string(e.o.Table)}, e.filter.tables...))
	if err := p.Run(ctx, conn); err != nil {
		return nil, db.Plain(err)
	}
	return bare, planted.Refuse(s.Schema, objects)
}

// gone names what it means that the table is not there any more.
func gone(err error) error {
	switch db.SQLState(err) {
	case db.CodeUndefinedTable, codeNoSchema:
		return fmt.Errorf("%w any more: %w", ErrNoTable, err)
	}
	return err
}

const codeNoSchema = "3F000"

// begin writes what stands before the first row.
func (e *Export) begin() error {
	if e.begun {
		return nil
	}
	e.begun = true
	var err error
	if e.enc, err = newEncoder(e.out, e.o, e.total); err != nil {
		return err
	}
	return e.enc.begin(e.Columns())
}

// row writes a row.
func (e *Export) row(slug string, fields [][]byte) error {
	texts, err := e.values.texts(slug, e.columns, fields, e.o)
	if err != nil {
		return err
	}
	return e.enc.row(texts)
}

// End writes what stands behind the last row.
func (e *Export) End() error {
	if err := e.begin(); err != nil {
		return err
	}
	if err := e.enc.end(); err != nil {
		return err
	}
	return e.out.Flush()
}
