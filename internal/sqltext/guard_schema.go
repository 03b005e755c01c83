package sqltext

import (
	"fmt"
	"slices"
	"strings"
)

// schemaColumns are the columns of catalogs and views in which the name of a schema
// stands.
var schemaColumns = []string{
	"schemaname", "table_schema", "constraint_schema", "trigger_schema", "event_object_schema", "specific_schema",
	"routine_schema",
	"sequence_schema", "udt_schema", "domain_schema", "object_schema", "nspname",
}

// SchemaGuard is a look at the catalogs for something in schema public, where a file that
// was written for a single tenant expects its own. It is never the tenant's.
type SchemaGuard struct {
	Reason string
	// Absent tells that what it protects happens where the schema has no such thing:
	// that is so for every tenant, unless an object of that name stands there.
	Absent bool
}

// GuardOfSchema returns a guard of a command that names public, nil for none.
func GuardOfSchema(sql string) *SchemaGuard {
	tokens := everyToken(sql)
	if !decides(tokens) || !looksInside(tokens) || slices.ContainsFunc(tokens, func(t Token) bool {
		return t.Name() == "current_schema" || t.Name() == "current_schemas"
	}) {
		return nil
	}
	var found *SchemaGuard
	for i, t := range tokens {
		if t.Kind != String {
			continue
		}
		schema, right := namedSchema(tokens, i)
		if schema != "public" {
			continue
		}
		g := &SchemaGuard{
			Reason: "it looks in schema public, and every tenant has a schema of its own: write " + right,
			Absent: absent(tokens, i),
		}
		if found == nil || found.Absent && !g.Absent {
			found = g
		}
	}
	return found
}

// looksInside reports whether a command looks at what stands in schemas, and not only at
// which schemas there are.
func looksInside(tokens []Token) bool {
	for i, t := range tokens {
		_, known := guardRelations[t.Name()]
		if known || t.Name() == "information_schema" && i+2 < len(tokens) && tokens[i+2].Name() != "schemata" ||
			strings.HasPrefix(t.Name(), "to_reg") {
			return true
		}
	}
	return false
}

// namedSchema returns the schema that the string at i names in a look at the catalogs,
// and the right form of that; "" where it does not.
func namedSchema(tokens []Token, i int) (schema, right string) {
	j := judge{tokens: tokens}
	text := unquoted(tokens[i].Text)
	before, _, qualified := strings.Cut(text, ".")
	before = strings.Trim(before, `"`)
	column := func(n int) bool { return slices.Contains(schemaColumns, j.at(n).Name()) }
	cast := ""
	if j.has(i+1, ":", ":") {
		cast = j.at(i + 3).Name()
	}
	call := ""
	if j.has(i-1, "(") {
		call = j.at(i - 2).Name()
	}
	switch {
	case j.has(i-1, "=") && column(i-2):
		return text, j.at(i-2).Name() + " = current_schema()"
	case j.has(i+1, "=") && column(i+2):
		return text, j.at(i+2).Name() + " = current_schema()"
	case j.has(i-2, "in", "(") && column(i-3):
		return text, j.at(i-3).Name() + " = current_schema()"
	case cast == "regnamespace":
		return text, "current_schema()::regnamespace"
	case qualified && (cast == "regclass" || cast == "regtype"):
		return before, fmt.Sprintf("'%s'::%s", text[strings.IndexByte(text, '.')+1:], cast)
	case qualified && (call == "to_regclass" || call == "to_regtype"):
		return before, fmt.Sprintf("%s('%s')", call, text[strings.IndexByte(text, '.')+1:])
	}
	return "", ""
}

// absent reports whether the question in which the string at i stands is whether there is
// no such thing: NOT EXISTS (...), to_regclass(...) IS NULL.
func absent(tokens []Token, i int) bool {
	j := judge{tokens: tokens}
	if j.has(i+1, ")", "is", "null") {
		return true
	}
	for n := i; n >= 0 && !j.at(n).Is(";"); n-- {
		if j.at(n).Is("exists") {
			return j.at(n - 1).Is("not")
		}
	}
	return false
}
