package db

import "strings"

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
