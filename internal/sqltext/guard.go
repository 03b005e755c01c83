package sqltext

import (
	"fmt"
	"slices"
	"strings"
)

// guardRelations are catalogs and views in which the objects of every tenant stand side
// by side, with the right way to ask for one in the current schema.
var guardRelations = map[string]string{
	"pg_indexes": "schemaname = current_schema()", "pg_tables": "schemaname = current_schema()",
	"pg_views":    "schemaname = current_schema()",
	"pg_matviews": "schemaname = current_schema()", "pg_sequences": "schemaname = current_schema()",
	"pg_policies":         "schemaname = current_schema()",
	"pg_rules":            "schemaname = current_schema()",
	"pg_stat_user_tables": "schemaname = current_schema()", "pg_stat_user_indexes": "schemaname = current_schema()",
	"pg_class":      "relnamespace = current_schema()::regnamespace",
	"pg_type":       "typnamespace = current_schema()::regnamespace",
	"pg_proc":       "pronamespace = current_schema()::regnamespace",
	"pg_constraint": "connamespace = current_schema()::regnamespace",
	"pg_trigger":    "tgrelid = 'the_table'::regclass", "pg_policy": "polrelid = 'the_table'::regclass",
	"pg_attribute": "attrelid = 'the_table'::regclass",
	"pg_index":     "indexrelid = to_regclass('the_index')", "pg_enum": "enumtypid = 'the_type'::regtype",
	"pg_rewrite": "ev_class = 'the_table'::regclass",
}

// scoped are words that tie a look at the catalogs to one schema or one object.
var scoped = []string{
	"current_schema", "current_schemas", "schemaname", "table_schema", "constraint_schema", "trigger_schema",
	"event_object_schema", "specific_schema",
	"routine_schema", "sequence_schema", "udt_schema", "domain_schema", "schema_name", "object_schema",
	"nspname", "relnamespace", "typnamespace", "connamespace", "pronamespace", "collnamespace", "regclass", "regtype",
	"regprocedure", "regproc", "regnamespace",
	"to_regclass", "to_regtype", "to_regproc", "to_regprocedure", "to_regnamespace",
	"pg_table_is_visible", "pg_type_is_visible", "pg_function_is_visible", "tg_relid", "tg_table_schema",
}

// catalogGuard says what is wrong with a command that looks for an object by its bare
// name where the objects of all tenants stand, "" where nothing is. The first tenant
// gets what such a guard protects; the others find the first one's and do without.
func catalogGuard(sql string) string {
	tokens := everyToken(sql)
	if !decides(tokens) {
		return ""
	}
	for _, t := range tokens {
		if slices.Contains(scoped, t.Name()) {
			return ""
		}
	}
	for i, t := range tokens {
		if !readsFrom(tokens, i) {
			continue
		}
		name := t.Name()
		if right, known := guardRelations[name]; known {
			return fmt.Sprintf("it looks in %s, where the objects of every tenant stand: add %s", name, right)
		}
		if name == "information_schema" && i+2 < len(tokens) && tokens[i+1].Is(".") && tokens[i+2].Name() != "schemata" {
			return fmt.Sprintf("it looks in information_schema.%s, where the objects of every tenant stand: add table_schema "+
				"= current_schema()", tokens[i+2].Name())
		}
	}
	return ""
}

// decides reports whether something may depend on what a command finds: a block, a
// routine that has a statement of DDL or makes one, a query that asks whether there is a
// row. A view of the catalogs, or a report, only tells of them.
func decides(tokens []Token) bool {
	j := judge{tokens: tokens}
	word := func(names ...string) bool {
		return slices.ContainsFunc(tokens[1:], func(t Token) bool { return slices.ContainsFunc(names, t.Is) })
	}
	switch {
	case len(tokens) == 0:
		return false
	case j.has(0, "do"):
		return true
	case j.has(0, "create") && (j.made("function") || j.made("procedure")):
		i := slices.IndexFunc(tokens, func(t Token) bool { return t.Kind == String })
		return i > 0 && slices.ContainsFunc(tokens[i:], func(t Token) bool {
			return t.Is("create") || t.Is("alter") || t.Is("drop")
		})
	case j.has(0, "create"):
		return false
	}
	return word("exists")
}

// readsFrom reports whether a name stands where a query names what it reads: behind
// FROM, JOIN or a comma, with or without pg_catalog before it.
func readsFrom(tokens []Token, i int) bool {
	if i >= 2 && tokens[i-1].Is(".") && tokens[i-2].Name() == "pg_catalog" {
		i -= 2
	}
	return i > 0 && (tokens[i-1].Is("from") || tokens[i-1].Is("join") || tokens[i-1].Is(","))
}

// everyToken returns the tokens of a command and of the code in its strings: bodies of
// DO, and what EXECUTE runs. The loop goes over the command's own.
func everyToken(sql string) []Token {
	out := Tokens(sql)
	for _, t := range out {
		if t.Kind == String && strings.ContainsAny(t.Text, " \n\t") {
			out = append(out, everyToken(unquoted(t.Text))...)
		}
	}
	return out
}
