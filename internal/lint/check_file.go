package lint

import "fmt"

// wholeFile looks at what only the file as a whole shows. broken tells that a part of it
// could not be read.
func (c *checker) wholeFile(src *source, broken bool) {
	up, down := 0, 0
	for _, s := range src.statements {
		if s.down {
			down++
		} else {
			up++
		}
	}
	c.oneStatement(src)
	switch {
	case !src.hasUp || up == 0 && broken: // something else is wrong with it
	case up == 0:
		c.at(nil, 0, ruleEmptyFile, "there is no statement in it yet", "")
	case down == 0 && !(src.hasDown && len(src.statements) == 0):
		c.at(nil, 0, ruleMissingDown, fmt.Sprintf("nothing takes %s back", src.base()), "")
	}
}

// oneStatement looks for a second statement that does lasting work in a file without a
// transaction. Settings, and what may be done again, are none.
func (c *checker) oneStatement(src *source) {
	if !src.noTransaction {
		return
	}
	work := map[bool]int{}
	for _, s := range src.statements {
		if s.tree.kind == "VariableSetStmt" || s.tree.kind == "VacuumStmt" || s.tree.kind == "ReindexStmt" || s.validates {
			continue
		}
		if work[s.down]++; work[s.down] == 2 {
			c.at(s, s.start, ruleOneStatement, "a second statement in a file without a transaction", "")
		}
	}
}

// validates reports whether a statement does nothing but VALIDATE CONSTRAINT.
func validates(s *statement) bool {
	for _, cmd := range s.tree.list("cmds") {
		if cmd.text("subtype") != "AT_ValidateConstraint" {
			return false
		}
	}
	return s.tree.kind == "AlterTableStmt"
}

// maxName is how many bytes of a name PostgreSQL keeps.
const maxName = 63

// names looks at the names as they are written: the parser has already cut them.
func (c *checker) names(s *statement) {
	for t := range s.eachToken() {
		if name, ok := t.name(); ok && len(name) > maxName {
			c.at(s, t.start, ruleNameLength, fmt.Sprintf("%q has %d bytes, and PostgreSQL keeps %d", name, len(name),
				maxName), "")
		}
	}
}
