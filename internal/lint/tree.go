package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wasilibs/go-pgquery/parser"
)

// node is a node of PostgreSQL's parse tree: its kind, "AlterTableStmt", and its
// fields under the names of parsenodes.h.
type node struct {
	kind   string
	fields map[string]any
}

// parseStatement reads one statement, of which text may leave out rows. What the parser's
// PostgreSQL does not know yet is tried again as newer.go understands it.
func parseStatement(s *statement, text string) (node, error) {
	tree, err := parseText(text)
	if err == nil || !s.begins("create") && !s.begins("alter") {
		return tree, err
	}
	text, changed := olderSyntax(s)
	if !changed {
		return node{}, err
	}
	if tree, again := parseText(text); again == nil {
		s.newer = true
		return tree, nil
	}
	return node{}, err
}

func parseText(text string) (node, error) {
	answer, err := ask(text, parser.ParseToJSON)
	if err != nil {
		return node{}, err
	}
	var result struct {
		Stmts []struct {
			Stmt map[string]any `json:"stmt"`
		} `json:"stmts"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(answer)))
	dec.UseNumber()
	if err := dec.Decode(&result); err != nil {
		return node{}, fmt.Errorf("read the parse tree: %w", err)
	}
	if len(result.Stmts) == 0 {
		return node{}, nil
	}
	return wrapped(result.Stmts[0].Stmt), nil
}

// wrapped takes the kind off {"AlterTableStmt": {…}}. The parser leaves it out
// where only one kind can stand.
func wrapped(v any) node {
	m, _ := v.(map[string]any)
	if len(m) == 1 {
		for kind, inner := range m {
			if fields, ok := inner.(map[string]any); ok && kind[0] >= 'A' && kind[0] <= 'Z' {
				return node{kind, fields}
			}
		}
	}
	return node{fields: m}
}

func (n node) there() bool { return n.fields != nil }

// child returns a field that holds a node; the zero node where there is none.
func (n node) child(name string) node { return wrapped(n.fields[name]) }

// list returns a field that holds a list of nodes.
func (n node) list(name string) []node {
	items, _ := n.fields[name].([]any)
	out := make([]node, 0, len(items))
	for _, item := range items {
		out = append(out, wrapped(item))
	}
	return out
}

func (n node) text(name string) string {
	s, _ := n.fields[name].(string)
	return s
}

func (n node) flag(name string) bool {
	b, _ := n.fields[name].(bool)
	return b
}

func (n node) number(name string) (int, bool) {
	v, ok := n.fields[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := v.Int64()
	return int(i), err == nil
}

// words returns a field that holds a list of names: ["public", "contacts"].
func (n node) words(name string) []string {
	var out []string
	for _, item := range n.list(name) {
		switch item.kind {
		case "String":
			out = append(out, item.text("sval"))
		case "List":
			out = append(out, item.words("items")...)
		case "TypeName":
			out = append(out, item.words("names")...)
		}
	}
	return out
}

// walk visits a node and everything below it, in the order of the fields' names.
// Nodes without a kind get that of the field they stand in, "relation".
func (n node) walk(visit func(node)) {
	visit(n)
	for _, name := range slices.Sorted(maps.Keys(n.fields)) {
		walkValue(n.fields[name], name, visit)
	}
}

func walkValue(v any, field string, visit func(node)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			walkValue(item, field, visit)
		}
	case map[string]any:
		n := wrapped(v)
		if n.kind == "" {
			n.kind = field
		}
		n.walk(visit)
	}
}

// literal returns the text of a string constant.
func (n node) literal() (string, bool) {
	if n.kind != "A_Const" {
		return "", false
	}
	v, ok := n.fields["sval"].(map[string]any)
	if !ok {
		return "", false
	}
	s, _ := v["sval"].(string)
	return s, true
}

// function returns the name of a called function without its schema.
func (n node) function() string {
	if words := n.words("funcname"); n.kind == "FuncCall" && len(words) > 0 {
		return words[len(words)-1]
	}
	return ""
}

// column returns the name that a plain reference to a column has.
func (n node) column() string {
	if words := n.words("fields"); n.kind == "ColumnRef" && len(words) > 0 {
		return words[len(words)-1]
	}
	return ""
}

// typeOf returns a type as it is written: "varchar(10)", "int4[]".
func typeOf(n node) dataType {
	words := n.words("names")
	if len(words) == 0 {
		return dataType{}
	}
	t := dataType{name: words[len(words)-1], array: len(n.list("arrayBounds")) > 0}
	for _, mod := range n.list("typmods") {
		ival, _ := mod.fields["ival"].(map[string]any)
		value, _ := node{fields: ival}.number("ival")
		t.mods = append(t.mods, value)
	}
	return t
}

// dataType is a column's type.
type dataType struct {
	name  string // PostgreSQL's inner name: "int4", "varchar"
	mods  []int
	array bool
}

func (t dataType) String() string {
	text := t.name
	if len(t.mods) > 0 {
		text += strings.ReplaceAll(strings.Trim(fmt.Sprint(t.mods), "[]"), " ", ",")
		text = t.name + "(" + text[len(t.name):] + ")"
	}
	if t.array {
		text += "[]"
	}
	return text
}
