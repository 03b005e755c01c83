package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// ErrQuery is wrapped by every error about the query itself: what it is, what it
// returns, and why the server did not answer it.
var ErrQuery = errors.New("the query for the tenants cannot be used")

// queryError says what is wrong with the query.
type queryError struct {
	text string
	err  error // of the server, nil where there is none
}

func (e *queryError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *queryError) Unwrap() error { return e.err }

// Is makes errors.Is(err, ErrQuery) true.
func (e *queryError) Is(target error) bool { return target == ErrQuery }

func refuse(format string, args ...any) error {
	return &queryError{text: "the query for the tenants " + fmt.Sprintf(format, args...)}
}

// Query is a select of an application's tenants.
type Query struct{ text string }

// Parse takes the text of a query. It must be one command that reads.
func Parse(text string) (Query, error) {
	commands := sqltext.Split(text)
	if len(commands) != 1 {
		return Query{}, refuse("has %d commands, want one select", len(commands))
	}
	text = strings.TrimSpace(commands[0].Text)
	tokens := sqltext.Tokens(text)
	if n := len(tokens); tokens[n-1].Is(";") {
		text = text[:tokens[n-1].Offset]
		tokens = tokens[:n-1]
	}
	begins := []string{"select", "with", "values", "table", "("}
	if len(tokens) == 0 || !slices.ContainsFunc(begins, tokens[0].Is) {
		return Query{}, refuse("is no select")
	}
	if left := sqltext.Lasts(text); left.Again || left.Gone != "" {
		return Query{}, refuse("changes the session, or takes a lock that outlives it")
	}
	return Query{text: text}, nil
}

// Limits bound what a query may take.
type Limits struct {
	Lock      time.Duration // wait for each lock
	Statement time.Duration // time of the whole query; 0 is DefaultStatement
}

// DefaultStatement is how long a query may take unless somebody says otherwise.
const DefaultStatement = 30 * time.Second

// The columns of a query. A second name is one that is taken for the first.
const (
	colSlug = iota
	colSchema
	colDisplay
	colStatus
	columnCount
)

func columnNames() [columnCount][]string {
	return [columnCount][]string{{"slug"}, {"schema", "schema_name"}, {"display_name", "name"}, {"status"}}
}

// shape is what a query returns: the column of each kind as SQL names it, "" for none.
type shape struct {
	column [columnCount]string
	flag   bool // the status is a boolean: true for active
}

// Types of columns that need no look into the catalog.
const (
	oidBool    = 16
	oidName    = 19
	oidText    = 25
	oidBpchar  = 1042
	oidVarchar = 1043
)

// codeUndefinedFunction is the server's for a function or an operator that is not found.
const codeUndefinedFunction = "42883"

// describe asks the server what the query returns, without running it.
func (q Query) describe(ctx context.Context, conn *pgx.Conn) (shape, error) {
	var s shape
	is, err := conn.PgConn().Prepare(ctx, "", q.text, nil)
	if err != nil {
		return s, explain(err)
	}
	if len(is.ParamOIDs) > 0 {
		return s, refuse("has parameters ($1), which nobody would fill in")
	}
	names := columnNames()
	var types [columnCount]uint32
	for _, f := range is.Fields {
		kind := slices.IndexFunc(names[:], func(known []string) bool { return slices.Contains(known, f.Name) })
		switch {
		case kind < 0:
			return s, refuse("returns a column %q; want slug, schema and, if there are such, display_name and status "+
				"(name them with \"as\")", f.Name)
		case s.column[kind] != "":
			return s, refuse("returns %s twice", names[kind][0])
		}
		s.column[kind], types[kind] = "q."+db.Quoted(f.Name), f.DataTypeOID
	}
	for _, kind := range []int{colSlug, colSchema} {
		if s.column[kind] == "" {
			return s, refuse("returns no column %s; want slug, schema and, if there are such, display_name and status",
				names[kind][0])
		}
	}
	s.flag = types[colStatus] == oidBool
	return s, checkTypes(ctx, conn, s, types)
}

// checkTypes refuses columns that are no texts. An enum may be a status too.
func checkTypes(ctx context.Context, conn *pgx.Conn, s shape, types [columnCount]uint32) error {
	plain := []uint32{oidText, oidVarchar, oidName, oidBpchar}
	for kind, oid := range types {
		if s.column[kind] == "" || slices.Contains(plain, oid) || kind == colStatus && oid == oidBool {
			continue
		}
		var category, name string
		err := conn.QueryRow(ctx, `select typcategory::text, pg_catalog.format_type(oid, null) from pg_catalog.pg_type
			where oid operator(pg_catalog.=) $1`, oid).Scan(&category, &name)
		if err != nil {
			return explain(err)
		}
		if category != "S" && (kind != colStatus || category != "E") {
			what := columnNames()[kind][0]
			return refuse("returns %s as %s, want text (%s::text as %s)", what, name, what, what)
		}
	}
	return nil
}

// with returns the beginning of a statement that has the rows of the query as named:
// here, slug, schema, display_name and status. Names compare byte by byte, whatever the
// collation of the application's columns.
func (q Query) with(s shape) string {
	text := func(column string) string {
		if column == "" {
			return "null::pg_catalog.text"
		}
		return column + `::pg_catalog.text collate pg_catalog."C"`
	}
	status := text(s.column[colStatus])
	if flag := s.column[colStatus]; s.flag {
		status = "case when " + flag + " then 'active' when not " + flag + " then 'suspended' end"
	}
	return `with named as materialized (select true as here, ` + text(s.column[colSlug]) + ` as slug, ` +
		text(s.column[colSchema]) + ` as schema, ` + text(s.column[colDisplay]) + ` as display_name, ` + status + ` as status
		from (
` + q.text + `
		) q)
	`
}

// mostWaiting is how many rows differsSQL returns at the most.
const mostWaiting = 100

// differsSQL returns rows in which the registry may have something to change, those first
// that do not only wait for their schema. It may return some where it has not, since names
// are written more freely there than here; never the other way.
func differsSQL(reg registry.Registry, s shape) string {
	status := "t.status = 'gone'" // which comes back
	if s.column[colStatus] != "" {
		status = "w.word <> t.status"
	}
	return `select coalesce(t.id is null and not exists (select from pg_namespace n where n.nspname = w.schema::name),
			false) as waits, w.slug, w.schema, w.display_name, w.status
		from (select n.*, case when lower(btrim(n.status)) = any ($2::text[]) then 'gone'
			when lower(btrim(n.status)) = any ($1::text[]) then 'suspended' else 'active' end as word from named n) w
		full join ` + reg.Tenants() + ` t on t.schema_name = w.schema
		where t.id is null and (w.schema is null or w.word <> 'gone')
		or w.here is null and t.status not in ('gone', 'deleted')
		or t.id is not null and w.here and case
			when t.status = 'deleted' then w.word <> 'gone'
			else w.word = 'gone' and t.status <> 'gone'
				or w.slug is null or lower(replace(w.slug, '_', '-')) is distinct from t.slug
				or nullif(btrim(w.display_name), '') <> t.display_name or ` + status + ` end
		order by 1 limit ` + strconv.Itoa(mostWaiting)
}

// Rows is what a query returned, as far as it matters.
type Rows struct {
	All       []Row
	HasStatus bool
}

// Row is a tenant as the application names it. Nil is null.
type Row struct{ Slug, Schema, DisplayName, Status *string }

// Difference is in what the registry and the application may differ.
type Difference struct {
	// Any reports whether there is anything at all.
	Any bool
	// Waiting are the rows, if it is nothing but tenants that the registry does not know and
	// whose schemas are not there yet, and not many: OnlyWaiting looks closer.
	Waiting Rows
}

// Differs asks the server whether the registry has to change anything to follow the
// application: one statement compares both there. Where it does not, nothing else has to
// be read.
func (q Query) Differs(ctx context.Context, conn *pgx.Conn, reg registry.Registry, l Limits) (d Difference, err error) {
	err = q.in(ctx, conn, l, func(ctx context.Context, s shape) error {
		rows, err := conn.Query(ctx, q.with(s)+differsSQL(reg, s), suspendedWords(), goneWords())
		if err != nil {
			return err
		}
		type row struct {
			Waits bool
			Row
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
		d.Any, d.Waiting.HasStatus = len(found) > 0, s.column[colStatus] != ""
		if len(found) < mostWaiting && d.Any && found[0].Waits { // the others come first
			for _, r := range found {
				d.Waiting.All = append(d.Waiting.All, r.Row)
			}
		}
		return err
	})
	if reg.Missing(err) {
		return d, registry.ErrNoRegistry
	}
	return d, err
}

// Read returns what the application names. A registry that it is compared with must have
// been read before: a tenant that another run takes in meanwhile is in neither then.
func (q Query) Read(ctx context.Context, conn *pgx.Conn, l Limits) (Rows, error) {
	var out Rows
	err := q.in(ctx, conn, l, func(ctx context.Context, s shape) error {
		out.HasStatus = s.column[colStatus] != ""
		rows, err := conn.Query(ctx, q.with(s)+`select slug, schema, display_name, status from named`)
		if err == nil {
			out.All, err = pgx.CollectRows(rows, pgx.RowToStructByName[Row])
		}
		return err
	})
	return out, err
}

// in runs fn in a transaction that is read only, when the query was found to be usable.
func (q Query) in(ctx context.Context, conn *pgx.Conn, l Limits, fn func(context.Context, shape) error) error {
	if l.Statement == 0 {
		l.Statement = DefaultStatement
	}
	err := db.InTx(ctx, conn, db.Locals{Snapshot: true, LockTimeout: l.Lock, StatementTimeout: l.Statement},
		func(ctx context.Context, _ db.Querier) error {
			s, err := q.describe(ctx, conn)
			if err != nil {
				return err
			}
			return fn(ctx, s)
		})
	if _, busy := errors.AsType[*db.BusyError](err); busy || err == nil || errors.Is(err, ErrQuery) {
		return err
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && !db.ConnectionLost(err) {
		return explainIn(err, pgErr, l)
	}
	return err
}

// explain wraps an error of the server about the query.
func explain(err error) error {
	if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
		return err
	}
	return explainIn(err, nil, Limits{})
}

func explainIn(err error, pgErr *pgconn.PgError, l Limits) error {
	if pgErr == nil {
		pgErr, _ = errors.AsType[*pgconn.PgError](err)
	}
	const failed = "the query for the tenants failed"
	switch pgErr.Code {
	case db.CodeUndefinedTable, codeUndefinedFunction:
		return &queryError{failed + " (every name needs its schema)", err}
	case db.CodeQueryCanceled:
		if l.Statement > 0 {
			return &queryError{fmt.Sprintf("the query for the tenants took longer than %s", l.Statement), err}
		}
	case db.CodeReadOnlyTransaction:
		return &queryError{"the query for the tenants may only read", err}
	case db.CodeInsufficientPrivilege:
		return &queryError{failed + " (the role may not read that, or a row policy would hide rows from it)", err}
	}
	return &queryError{failed, err}
}
