package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// prepare makes the tables ready for rows as they were: empty, with no trigger
// that would change them, and with the keys checked when all is there.
func (t *target) prepare(ctx context.Context, m *Manifest) error {
	if err := t.compare(m); err != nil {
		return err
	}
	var p db.Pipeline
	t.openUndo(&p, m)
	if err := t.empty(ctx, &p, m.Tables); err != nil {
		return err
	}
	for _, g := range t.there.triggers {
		p.Apart("alter table " + qualified(t.schema, g.Table) + " disable trigger " + pgx.Identifier{g.Name}.Sanitize())
	}
	order := make([]string, len(m.Tables))
	for i := range m.Tables {
		order[i] = m.Tables[i].Name
	}
	loose := map[string]bool{}
	for _, root := range t.via {
		loose[root] = true
	}
	t.conflicting = t.there.conflicting(order, loose)
	for _, k := range t.conflicting {
		p.Apart("alter table " + t.keyed(k) + " deferrable initially deferred")
	}
	p.Exec("set constraints all deferred")
	t.bare = map[string]bool{}
	names := make([]string, len(m.Tables))
	for i := range m.Tables {
		names[i] = t.into(&m.Tables[i])
	}
	p.Found(t.bare, t.schema, names)
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("prepare schema %s for its rows: %w", t.schema, db.Plain(err))
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
	t.via = map[string]string{}
	known := make(map[string]bool, len(m.Tables))
	for i := range m.Tables {
		want := &m.Tables[i]
		known[want.Name] = true
		got, ok := t.there.table(want.Name)
		root, through := t.through(want, m)
		switch {
		case isUndo(*want): // no migration makes it
		case through:
			t.via[want.Name] = root.Name
			wrong = append(wrong, compareColumns(want, root)...)
		case !ok:
			wrong = append(wrong, fmt.Sprintf("no table %q", want.Name))
		case want.Name != versionTable:
			wrong = append(wrong, compareColumns(want, got)...)
		}
	}
	for _, r := range t.there.of("r") {
		if root, _ := t.there.root(r.OID); !known[r.Name] && root == "" { // a partition may stay empty
			wrong = append(wrong, fmt.Sprintf("table %q is too much", r.Name))
		}
	}
	for _, s := range m.Sequences {
		if !slices.ContainsFunc(t.there.of("S"), func(r relation) bool { return r.Name == s.Name }) &&
			!strings.HasPrefix(s.Name, versionTable) {
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

// through returns the partitioned table that the rows of a table go through. Where its
// partitions are those of the file each is filled itself. But partitions come and go at
// run time: where one is not there, or is one more, or takes other rows, the rows of all
// find their place from the top, those of a default partition too.
func (t *target) through(want *Table, m *Manifest) (relation, bool) {
	at := slices.IndexFunc(t.there.relations, func(r relation) bool { return r.Kind == "p" && r.Name == want.Root })
	if want.Root == "" || at < 0 {
		return relation{}, false
	}
	here := map[string]string{}
	for _, r := range t.there.of("r") {
		if root, bound := t.there.root(r.OID); root == want.Root {
			here[r.Name] = bound
		}
	}
	saved := map[string]string{}
	for i := range m.Tables {
		if m.Tables[i].Root == want.Root {
			saved[m.Tables[i].Name] = m.Tables[i].Bound
		}
	}
	return t.there.relations[at], !maps.Equal(here, saved)
}

// into returns the name of the table that the rows of a table of the file go into.
func (t *target) into(table *Table) string {
	if root, ok := t.via[table.Name]; ok {
		return root
	}
	return table.Name
}

func compareColumns(want *Table, got relation) (wrong []string) {
	for _, c := range want.Columns {
		switch at := slices.Index(got.Columns, c.Name); {
		case at < 0:
			wrong = append(wrong, fmt.Sprintf("no column %q in table %q", c.Name, want.Name))
		case got.Types[at] != c.Type:
			wrong = append(wrong, fmt.Sprintf("column %q of table %q has type %q, not %q", c.Name, want.Name,
				got.Types[at], c.Type))
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
	var look []string
	for i := range tables {
		if tables[i].Name != versionTable && !isUndo(tables[i]) {
			look = append(look, "exists (select from "+qualified(t.schema, t.into(&tables[i]))+")")
		}
	}
	filled := false
	if len(look) > 0 {
		var check db.Pipeline
		check.Ask(func(rows pgx.Rows) (err error) {
			filled, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
			return err
		}, "select "+strings.Join(look, " or "))
		if err := check.Run(ctx, t.conn); err != nil {
			return fmt.Errorf("look at schema %s: %w", t.schema, db.Plain(err))
		}
	}
	p.Apart("delete from " + qualified(t.schema, versionTable))
	if !filled {
		return nil
	}
	var all []string
	for _, kind := range []string{"r", "p"} {
		for _, r := range t.there.of(kind) {
			all = append(all, qualified(t.schema, r.Name))
		}
	}
	p.Apart("truncate " + strings.Join(all, ", "))
	return nil
}

// fill loads the rows of one table and returns how many they were.
func (t *target) fill(ctx context.Context, table *Table, data io.Reader) (int64, error) {
	// The server only repeats the text of an error that comes from our side.
	from := &rememberingReader{in: data}
	into := *table
	into.Name = t.into(table)
	// Trusted code runs with no more rights than it needs.
	restricted := t.trusting && table.Name != versionTable && !isUndo(*table)
	bare := t.bare
	if restricted {
		// A name that the role does not see would be looked for behind the schema.
		bare = nil
		if err := t.setRole(ctx, t.own.sandbox.role); err != nil {
			return 0, err
		}
	}
	tag, err := db.CopyFrom(ctx, t.conn, from, "copy "+copyTarget(t.schema, &into, bare)+" from stdin")
	if restricted && err == nil {
		err = t.setRole(ctx, t.own.sandbox.self)
	}
	if from.err != nil && db.SQLState(err) == db.CodeQueryCanceled {
		err = from.err
	}
	if err != nil {
		return 0, fmt.Errorf("fill table %s.%s: %w", t.schema, table.Name, err)
	}
	return tag.RowsAffected(), nil
}

func (t *target) setRole(ctx context.Context, role string) error {
	var p db.Pipeline
	t.own.sandbox.setRole(&p, role)
	return db.Plain(p.Run(ctx, t.conn))
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
func (t *target) complete(ctx context.Context, m *Manifest, o NewTenant) error {
	var p db.Pipeline
	for _, s := range m.Sequences {
		if slices.ContainsFunc(t.there.of("S"), func(r relation) bool { return r.Name == s.Name }) {
			p.Exec("select pg_catalog.setval($1::pg_catalog.text::pg_catalog.regclass, $2, $3)", qualified(t.schema, s.Name),
				s.LastValue, s.IsCalled)
		}
	}
	if t.own.sandbox == nil {
		t.queueComplete(&p, m)
	}
	p.CheckSchema(t.schema)
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("complete schema %s: %w", t.schema, db.Plain(err))
	}
	if t.own.sandbox != nil {
		return t.completeOwn(ctx, m, o)
	}
	return nil
}

func (t *target) queueComplete(p *db.Pipeline, m *Manifest) {
	p.Exec("set constraints all immediate")
	for _, k := range t.conflicting {
		p.Apart("alter table " + t.keyed(k) + " not deferrable")
	}
	for _, g := range t.there.triggers {
		state := map[string]string{"O": "enable", "R": "enable replica", "A": "enable always"}[g.State]
		p.Apart("alter table " + qualified(t.schema, g.Table) + " " + state + " trigger " + pgx.Identifier{g.Name}.Sanitize())
	}
	for _, sql := range t.views(m) {
		p.Apart(sql)
	}
}

// views returns the statements that fill the materialized views, each after those that
// it may read, and empty those that were not filled when the file was made.
func (t *target) views(m *Manifest) []string {
	views := t.there.of("m")
	slices.SortFunc(views, func(a, b relation) int { return int(min(max(a.OID-b.OID, -1), 1)) })
	var out []string
	for _, v := range views {
		switch unfilled := slices.Contains(m.Unfilled, v.Name); {
		case unfilled && v.Populated:
			out = append(out, "refresh materialized view "+qualified(t.schema, v.Name)+" with no data")
		case !unfilled && v.Populated:
			out = append(out, "refresh materialized view "+qualified(t.schema, v.Name))
		}
	}
	return out
}
