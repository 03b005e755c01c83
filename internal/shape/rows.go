package shape

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
)

const (
	// Rows that migrations insert are few: kinds, roles, settings. What is larger
	// than this is data, and costs its own time however it comes.
	maxRows  = 5000
	maxBytes = 2 << 20
	// A statement of so many rows is read in one go without being long.
	rowsAStatement = 500
)

// result is what a script has made.
type result struct {
	schema    db.Schema
	shape     *catalog.Shape
	rows      tables
	sequences sequences
	outside   string   // what it did outside its schema, as a reason
	lines     []string // of detailsSQL
	tooMuch   string   // of rows, as a reason
	fixed     string   // why the schema cannot be renamed
}

func (r *result) fingerprint() string {
	f := r.shape.Fingerprint()
	return hex.EncodeToString(f[:])
}

// named says where the schema's own name stands in the rows.
func (r *result) named() string {
	for _, t := range r.rows {
		for _, row := range t.rows {
			if strings.Contains(row, r.schema.String()) {
				return "rows of " + t.name + " hold the name of the schema"
			}
		}
	}
	return ""
}

// table is the rows of a table, partition or materialized view, each as the list of
// its values in parentheses, in the order in which they lie there.
type table struct {
	name    string
	columns []string // identifiers of those that can be inserted
	view    bool     // a materialized view, which is refreshed instead
	code    string   // of its defaults and triggers
	rows    []string
}

// tables come before materialized views, and these in the order in which they were
// made, so that each comes after those it is made of.
type tables []table

// firstDifference returns the first table whose rows are not the same in both.
func (a tables) firstDifference(b tables) string {
	rows := map[string][]string{}
	for _, t := range b {
		rows[t.name] = t.rows
	}
	for _, t := range b {
		if !slices.ContainsFunc(a, func(other table) bool { return other.name == t.name }) {
			return t.name
		}
	}
	for _, t := range a {
		if !slices.Equal(slices.Sorted(slices.Values(t.rows)), slices.Sorted(slices.Values(rows[t.name]))) {
			return t.name
		}
	}
	return ""
}

// sequence is where a sequence stands.
type sequence struct {
	Name   string
	Last   int64
	Called bool
	Fresh  bool // nobody has asked it for a number yet
}

type sequences []sequence

func (a sequences) firstDifference(b sequences) string {
	if len(a) < len(b) {
		return b.firstDifference(a)
	}
	for _, s := range a {
		if !slices.Contains(b, s) {
			return s.Name
		}
	}
	return ""
}

// dialect makes values look the same to whoever reads them, and is read back by
// itself. It goes into the script too.
const dialect = `select pg_catalog.set_config('datestyle', 'ISO, YMD', true), pg_catalog.set_config('intervalstyle',
	'postgres', true),
	pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('extra_float_digits', '1', true),
	pg_catalog.set_config('bytea_output', 'hex', true), pg_catalog.set_config('xmloption', 'content', true)`

// inserts returns the statements that put the rows into tables without foreign
// keys, triggers and policies, and bring materialized views up to date.
func (r *result) inserts() []db.Statement {
	var out []db.Statement
	for _, t := range r.rows {
		switch {
		case t.view:
			out = append(out, db.Statement{SQL: "refresh materialized view " + db.Quoted(t.name)})
			continue
		case len(t.columns) == 0:
			continue // where it has rows, the comparison finds out
		}
		head := "insert into " + db.Quoted(t.name) + " (" + strings.Join(t.columns, ", ") +
			") overriding system value values\n"
		for chunk := range slices.Chunk(t.rows, rowsAStatement) {
			out = append(out, db.Statement{SQL: head + strings.Join(chunk, ",\n")})
		}
	}
	if len(out) > 0 {
		out = slices.Insert(out, 0, db.Statement{SQL: dialect})
	}
	return out
}

// advances returns the statements that put the sequences where they stand.
func (r *result) advances() []db.Statement {
	var out []db.Statement
	for _, s := range r.sequences {
		if !s.Fresh {
			out = append(out, db.Statement{SQL: fmt.Sprintf("select pg_catalog.setval(%s, %d, %t)",
				db.Literal(db.Quoted(s.Name)), s.Last, s.Called)})
		}
	}
	return out
}

// read returns what stands in a schema that the transaction has made. It leaves the
// settings of the transaction changed. While it reads the rows, row security is not
// forced upon the owner.
func read(ctx context.Context, conn *pgx.Conn, schema db.Schema, o catalog.Options) (*result, error) {
	r := &result{schema: schema}
	var err error
	if r.shape, err = catalog.Read(ctx, conn, catalog.Target{Schema: schema}, o); err != nil {
		return nil, err
	}
	if err := r.readDetails(ctx, conn); err != nil {
		return nil, err
	}
	if err := r.readTables(ctx, conn); err != nil {
		return nil, fmt.Errorf("read the rows that the migrations made: %w", err)
	}
	if err := r.readSequences(ctx, conn); err != nil {
		return nil, fmt.Errorf("read the sequences: %w", err)
	}
	return r, nil
}

func (r *result) readTables(ctx context.Context, conn *pgx.Conn) error {
	type relation struct {
		Name    string
		View    bool
		Secret  bool
		Code    string
		Columns []string
	}
	relations, err := db.Select(ctx, conn, pgx.RowToStructByName[relation], `
		select c.relname::text as name, c.relkind = 'm' as view, c.relforcerowsecurity as secret,
			pg_catalog.concat_ws(E'\n',
				(select string_agg(pg_catalog.pg_get_expr(e.adbin, e.adrelid), E'\n') from pg_attrdef e where e.adrelid = c.oid),
				(select string_agg(f.prosrc, E'\n') from pg_trigger g join pg_proc f on f.oid = g.tgfoid
				where g.tgrelid = c.oid and not g.tgisinternal)) as code,
			array(
			select pg_catalog.quote_ident(a.attname) from pg_attribute a
			where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
			order by a.attnum) as columns
		from pg_depend d
		join pg_class c on c.oid = d.objid
		where d.refclassid = 'pg_namespace'::regclass and d.refobjid = (select oid from pg_namespace where nspname = $1)
		  and d.classid = 'pg_class'::regclass and c.relkind in ('r', 'm') and c.relname <> 'goose_db_version'
		  and (c.relkind <> 'm' or c.relispopulated)
		order by case c.relkind when 'm' then c.oid end nulls first, c.relname`, r.schema.String())
	if err != nil {
		return err
	}
	var p db.Pipeline
	p.StandIn(r.schema, db.Path{}) // a value may be the name of something there
	p.Exec(dialect)
	for _, rel := range relations {
		if rel.Secret {
			p.Exec("alter table only " + r.schema.Quoted() + "." + db.Quoted(rel.Name) + " no force row level security")
		}
	}
	r.rows = make(tables, len(relations))
	for i, rel := range relations {
		t := &r.rows[i]
		t.name, t.columns, t.view, t.code = rel.Name, rel.Columns, rel.View, rel.Code
		values := make([]string, len(t.columns))
		for j, c := range t.columns {
			values[j] = "pg_catalog.format('%L', " + c + ")"
		}
		p.Query(func(rows pgx.Rows) (err error) {
			t.rows, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}, fmt.Sprintf(`select pg_catalog.concat('(', pg_catalog.array_to_string(array[%s]::pg_catalog.text[], ', '), ')')
			from only %s.%s order by ctid limit %d`,
			strings.Join(values, ", "), r.schema.Quoted(), db.Quoted(t.name), maxRows+1))
	}
	for _, rel := range relations {
		if rel.Secret {
			p.Exec("alter table only " + r.schema.Quoted() + "." + db.Quoted(rel.Name) + " force row level security")
		}
	}
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	count, bytes := 0, 0
	for _, t := range r.rows {
		count += len(t.rows)
		for _, row := range t.rows {
			bytes += len(row)
		}
	}
	if count > maxRows || bytes > maxBytes {
		r.tooMuch = fmt.Sprintf("the migrations insert more than %d rows or %d MB", maxRows, maxBytes>>20)
	}
	return nil
}

func (r *result) readSequences(ctx context.Context, conn *pgx.Conn) error {
	type start struct {
		Name  string
		Start int64
	}
	starts, err := db.Select(ctx, conn, pgx.RowToStructByName[start], `
		select c.relname::text as name, s.seqstart as start
		from pg_class c join pg_sequence s on s.seqrelid = c.oid
		where c.relnamespace = (select oid from pg_namespace where nspname = $1) order by c.relname`, r.schema.String())
	if err != nil || len(starts) == 0 {
		return err
	}
	var p db.Pipeline
	r.sequences = make(sequences, len(starts))
	for i, s := range starts {
		q := &r.sequences[i]
		q.Name = s.Name
		p.QueryRow([]any{&q.Last, &q.Called}, "select last_value, is_called from "+r.schema.Quoted()+"."+db.Quoted(s.Name))
	}
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	for i, s := range starts {
		q := &r.sequences[i]
		q.Fresh = !q.Called && q.Last == s.Start
	}
	return nil
}
