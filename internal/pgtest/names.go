package pgtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/wasilibs/go-pgquery/parser"
)

// unqualified returns the names in a statement that the server would look for along
// search_path: functions, types, relations and operators, among them those that stand
// behind IN, BETWEEN, LIKE, IS DISTINCT FROM, NULLIF, CASE x WHEN, USING and NATURAL.
// ORDER BY, GROUP BY and DISTINCT take the operators of the type itself, and
// COALESCE, GREATEST, EXTRACT and the like are PostgreSQL's own.
func unqualified(sql string) ([]string, error) {
	// The parser is made once; two at a time would be made twice.
	parserMutex.Lock()
	answer, err := parser.ParseToJSON(sql)
	parserMutex.Unlock()
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal([]byte(answer), &tree); err != nil {
		return nil, err
	}
	n := &names{ctes: map[string]bool{}, found: map[string]bool{}}
	visit(tree, "", func(kind string, fields map[string]any) {
		if kind == "CommonTableExpr" {
			n.ctes[text(fields, "ctename")] = true
		}
	})
	visit(tree, "", n.look)
	if n.block {
		if err := n.body(sql); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(n.found)), nil
}

// body looks at what stands in the body of a DO block: at its expressions and statements,
// and at the texts that it runs, in which %1$I is the name of a schema.
func (n *names) body(sql string) error {
	parserMutex.Lock()
	answer, err := parser.ParsePlPgSqlToJSON(sql)
	parserMutex.Unlock()
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal([]byte(answer), &tree); err != nil {
		return err
	}
	var inside []string
	visit(tree, "", func(kind string, fields map[string]any) {
		if kind == "PLpgSQL_expr" {
			inside = append(inside, text(fields, "query"))
		}
	})
	for len(inside) > 0 {
		piece := inside[0]
		inside = inside[1:]
		found, err := unqualified(piece)
		if err != nil {
			piece = "select " + piece
			if found, err = unqualified(piece); err != nil {
				return err
			}
		}
		for _, name := range found {
			n.found[name] = true
		}
		for _, run := range dynamic.FindAllStringSubmatch(piece, -1) {
			inside = append(inside, strings.NewReplacer("''", "'", "%1$I", "a_schema").Replace(run[1]))
		}
	}
	return nil
}

// dynamic finds the texts that a block hands to EXECUTE.
var dynamic = regexp.MustCompile(`(?is)'((?:select|insert|update|delete)\s(?:[^']|\'\')*)'`)

var parserMutex sync.Mutex //nolint:gochecknoglobals // guards the parser, of which a process has one

type names struct {
	ctes  map[string]bool
	found map[string]bool
	block bool // DO
}

func (n *names) add(what, name string) { n.found[what+" "+name] = true }

// single adds a list of names that has one item only.
func (n *names) single(what string, fields map[string]any, field string) {
	if words := list(fields, field); len(words) == 1 {
		n.add(what, words[0])
	}
}

func (n *names) look(kind string, fields map[string]any) {
	switch kind {
	case "FuncCall":
		n.single("function", fields, "funcname")
		n.constant(last(list(fields, "funcname")), fields["args"])
	case "A_Expr":
		n.single("operator", fields, "name")
	case "SubLink":
		if t := text(fields, "subLinkType"); t == "ANY_SUBLINK" || t == "ALL_SUBLINK" {
			if words := list(fields, "operName"); len(words) < 2 {
				n.add("operator", strings.Join(append(words, "of a subquery"), " "))
			}
		}
	case "CaseExpr":
		if fields["arg"] != nil {
			n.add("operator", "= of CASE x WHEN")
		}
	case "JoinExpr":
		if fields["usingClause"] != nil || fields["isNatural"] != nil {
			n.add("operator", "= of USING or NATURAL")
		}
	case "SortBy":
		n.single("operator", fields, "useOp")
	case "TypeName":
		n.single("type", fields, "names")
	case "TypeCast":
		if typeName, ok := fields["typeName"].(map[string]any); ok {
			n.constant(last(list(typeName, "names")), []any{fields["arg"]})
		}
	case "CollateClause":
		n.single("collation", fields, "collname")
	case "IndexElem":
		n.single("operator class", fields, "opclass")
		n.single("collation", fields, "collation")
	case "RangeVar", "relation", "view", "into":
		n.relation(fields)
	case "ObjectWithArgs":
		n.single("object", fields, "objname")
	case "CreateFunctionStmt", "CreateTrigStmt":
		n.single("function", fields, "funcname")
	case "DoStmt":
		n.block = true
	case "DropStmt":
		n.dropped(fields)
	}
}

func (n *names) relation(fields map[string]any) {
	name := text(fields, "relname")
	temporary := text(fields, "relpersistence") == "t"
	if name != "" && text(fields, "schemaname") == "" && !n.ctes[name] && !temporary {
		n.add("relation", name)
	}
}

func (n *names) dropped(fields map[string]any) {
	objects, _ := fields["objects"].([]any)
	for _, o := range objects {
		object, _ := o.(map[string]any)
		if inner, ok := object["List"].(map[string]any); ok {
			n.single("object", inner, "items")
		}
	}
}

// constant looks at a text that the server reads as a name: 'contacts'::regclass.
func (n *names) constant(to string, args any) {
	to = strings.TrimPrefix(to, "to_")
	if !strings.HasPrefix(to, "reg") || strings.HasPrefix(to, "regexp") || to == "regrole" || to == "regnamespace" {
		return
	}
	items, _ := args.([]any)
	for _, item := range items {
		visit(item, "", func(kind string, fields map[string]any) {
			value, _ := fields["sval"].(map[string]any)
			if name := text(value, "sval"); kind == "A_Const" && name != "" && !strings.Contains(name, ".") {
				n.add("text read as a name", name)
			}
		})
	}
}

// visit calls look for every node below v, with its kind. Where the parser leaves the
// kind out, because only one can stand there, it is the name of the field.
func visit(v any, field string, look func(kind string, fields map[string]any)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			visit(item, field, look)
		}
	case map[string]any:
		kind, fields := field, v
		if len(v) == 1 {
			for k, inner := range v {
				if m, ok := inner.(map[string]any); ok && k[0] >= 'A' && k[0] <= 'Z' {
					kind, fields = k, m
				}
			}
		}
		if kind == "typeName" || kind == "returnType" {
			kind = "TypeName"
		}
		look(kind, fields)
		for k, inner := range fields {
			// FOR UPDATE OF names what stands in FROM already.
			if k != "lockedRels" {
				visit(inner, k, look)
			}
		}
	}
}

func text(fields map[string]any, name string) string {
	s, _ := fields[name].(string)
	return s
}

// list returns a field that holds a list of names.
func list(fields map[string]any, name string) []string {
	items, _ := fields[name].([]any)
	var out []string
	for _, item := range items {
		node, _ := item.(map[string]any)
		value, ok := node["String"].(map[string]any)
		if !ok {
			return nil
		}
		out = append(out, text(value, "sval"))
	}
	return out
}

func last(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// offence says what is wrong with a statement, or returns "". One that is bare may name
// relations without their schema.
func offence(sql string, bare bool) string {
	found, err := unqualified(sql)
	if bare {
		found = slices.DeleteFunc(found, func(name string) bool { return strings.HasPrefix(name, "relation ") })
	}
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be read (%v)", err)
	case len(found) > 0:
		return strings.Join(found, ", ")
	}
	return ""
}
