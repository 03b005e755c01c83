package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// leftBehind looks from file to file: what a later one uses or may expect of an earlier
// one of the same run.
func (c *checker) leftBehind(sources []*source) {
	types := valueTypes(sources)
	sources = slices.DeleteFunc(slices.Clone(sources), func(s *source) bool {
		return s.file.Context || s.named && s.version <= c.opts.Since
	})
	for i, src := range sources {
		c.src = src
		later := sources[i+1:]
		for n, s := range src.statements {
			if s.down || s.refused {
				continue
			}
			if value, typ := addedValue(s); value != "" && len(types[value]) == 1 {
				c.enumValue(src, s, n, value, typ, later)
			}
			c.fileSetting(s, later)
		}
	}
}

// valueTypes returns the enums that have a value, by the value: where several have it,
// nobody can tell from a constant which of them is meant.
func valueTypes(sources []*source) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	add := func(value, typ string) {
		if out[value] == nil {
			out[value] = map[string]bool{}
		}
		out[value][typ] = true
	}
	for _, src := range sources {
		for _, s := range src.statements {
			if value, typ := addedValue(s); value != "" {
				add(value, typ)
			}
			if words := s.tree.words("typeName"); s.tree.kind == "CreateEnumStmt" && len(words) > 0 {
				for _, value := range s.tree.words("vals") {
					add(value, words[len(words)-1])
				}
			}
		}
	}
	return out
}

// addedValue returns the value that ALTER TYPE ... ADD VALUE adds, and the type.
func addedValue(s *statement) (value, typ string) {
	if s.tree.kind != "AlterEnumStmt" || s.tree.text("oldVal") != "" {
		return "", ""
	}
	words := s.tree.words("typeName")
	if len(words) == 0 {
		return "", ""
	}
	return s.tree.text("newVal"), words[len(words)-1]
}

// enumValue reports the first statement that uses a value: in the rest of its file, or in
// a later one.
func (c *checker) enumValue(src *source, added *statement, n int, value, typ string, later []*source) {
	for _, s := range src.statements[n+1:] {
		if !s.down && !src.noTransaction && uses(s, value) {
			c.report(src, s, s.start, ruleEnumValue, fmt.Sprintf("%q was added to %s in this file, and cannot be used before "+
				"its transaction ends", value, typ),
				"Move it to a later file.")
			return
		}
	}
	for _, other := range later {
		for _, s := range other.statements {
			if !s.down && uses(s, value) {
				line, _ := src.position(added.start)
				c.report(other, s, s.start, ruleEnumValue, fmt.Sprintf("%q is added to %s in %s:%d: the run commits in between",
					value, typ, src.base(), line), "")
				return
			}
		}
	}
}

// uses reports whether a statement has a string constant, in a body of DO too. What makes
// a function uses nothing yet.
func uses(s *statement, value string) bool {
	if s.tree.kind == "CreateFunctionStmt" || s.tree.kind == "AlterEnumStmt" || s.tree.kind == "CreateEnumStmt" ||
		s.tree.kind == "CommentStmt" {
		return false
	}
	if !strings.Contains(s.sql, strings.ReplaceAll(value, "'", "''")) && !strings.Contains(s.sql, value) {
		return false // most statements, of a large file too
	}
	return slices.Contains(sqltext.Strings(s.sql), value)
}

// quietSettings change how long a statement may take and what it tells, not what it does.
var quietSettings = []string{
	"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "work_mem",
	"maintenance_work_mem",
	"client_min_messages", "log_statement", "log_min_messages", "synchronous_commit", "max_parallel_maintenance_workers",
	"max_parallel_workers_per_gather",
}

// fileSetting warns of a setting that a later file may expect.
func (c *checker) fileSetting(s *statement, later []*source) {
	n := s.tree
	if n.kind != "VariableSetStmt" || !slices.ContainsFunc(later, func(o *source) bool { return o.hasUp }) {
		return
	}
	name, kind := strings.ToLower(n.text("name")), n.text("kind")
	if kind != "VAR_SET_VALUE" && kind != "VAR_SET_DEFAULT" || slices.Contains(quietSettings, name) {
		return
	}
	word := "SET"
	if n.flag("is_local") {
		word = "SET LOCAL"
	}
	c.report(c.src, s, s.start, ruleSetLocal, fmt.Sprintf("%s %s ends with this file", word, name), "")
}
