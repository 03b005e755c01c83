package db

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// Path is what follows a tenant's schema on the search_path, for statements that stand in
// files or come from a user: schemas of extensions, and those that all tenants share. The
// zero Path is nothing. What is made without a schema is made in the tenant's all the
// same, and statements of this program's own never look for a name there.
type Path struct{ list string }

// NewPath returns a path of schemas, in the order in which they are searched.
func NewPath(schemas []string) Path {
	var list strings.Builder
	for _, s := range schemas {
		list.WriteString(", " + Quoted(s))
	}
	return Path{list.String()}
}

// IsZero reports whether nothing follows.
func (p Path) IsZero() bool { return p.list == "" }

// Behind returns the search_path of a schema with the path behind it, as its setting has
// it. pg_temp stands between the two: unnamed it comes first, and a temporary table left
// by somebody else would hide the tenant's.
func (p Path) Behind(s Schema) string { return s.Quoted() + ", pg_temp" + p.list }

// Statement puts the path behind whatever the search_path is, for a script that does not
// know the name of its schema; local says whether that ends with the transaction.
func (p Path) Statement(local bool) Statement {
	end := "false"
	if local {
		end = "true"
	}
	return Statement{SQL: "select pg_catalog.set_config('search_path', " +
		"pg_catalog.concat(pg_catalog.current_setting('search_path'), " +
		Literal(p.list) + "), " + end + ")"}
}

// Bare puts s behind PostgreSQL's own names on the path of the transaction, and nothing else,
// for a COPY that names a tenant's table without its schema: its text is the same for all
// tenants. Everything else in it is named in full, and Found tells whether the table is found.
func (p *Pipeline) Bare(s Schema) { p.path("pg_catalog, " + s.Quoted() + ", pg_temp") }

// Found asks which tables of s are found under their names alone, on the path and by the role
// that the transaction has, and keeps them in found. It may be others that have a name of one of
// PostgreSQL's, or that the role does not see. Of a cluster, whose nodes are sent a COPY as it
// is, it finds none.
func (p *Pipeline) Found(found map[string]bool, s Schema, tables []string) {
	p.add(step{statement: Statement{SQL: `select t.name
		from pg_catalog.unnest($2::pg_catalog.text[]) t(name)
		where pg_catalog.to_regclass(pg_catalog.quote_ident(t.name))::pg_catalog.oid operator(pg_catalog.=)
			pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident($1::pg_catalog.text), '.',
				pg_catalog.quote_ident(t.name)))::pg_catalog.oid`}, alone: true, read: func(rows pgx.Rows) error {
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, name := range names {
			found[name] = true
		}
		return err
	}}, []any{s.name, tables})
}
