package lint

import "fmt"

// losses finds what destroys data or breaks the code that runs.
func (c *checker) losses(s *statement) {
	n := s.tree
	switch n.kind {
	case "DropStmt":
		c.drop(s)
	case "TruncateStmt":
		for _, r := range n.list("relations") {
			if !c.isNew(r.text("relname")) {
				c.on(s, r, ruleTruncate, fmt.Sprintf("every row of %s goes", r.text("relname")), "")
			}
		}
	case "DeleteStmt":
		r := n.child("relation")
		if !n.child("whereClause").there() && len(n.list("usingClause")) == 0 && !c.isNew(r.text("relname")) {
			c.on(s, r, ruleDeleteAll, fmt.Sprintf("every row of %s goes", r.text("relname")), "")
		}
	case "RenameStmt":
		r := n.child("relation")
		if c.isNew(r.text("relname")) {
			return
		}
		switch n.text("renameType") {
		case "OBJECT_TABLE", "OBJECT_VIEW":
			c.on(s, r, ruleRename, fmt.Sprintf("%s becomes %s", r.text("relname"), n.text("newname")), "")
		case "OBJECT_COLUMN":
			c.on(s, r, ruleRename, fmt.Sprintf("%s.%s becomes %s", r.text("relname"), n.text("subname"), n.text("newname")), "")
		}
	}
}

func (c *checker) drop(s *statement) {
	n := s.tree
	fresh := false
	if n.text("removeType") == "OBJECT_TABLE" {
		fresh = true
		for _, name := range droppedNames(n) {
			if !c.isNew(name) {
				fresh = false
				c.on(s, n, ruleDropTable, fmt.Sprintf("%s and its rows go", name), "")
			}
		}
	}
	if n.text("behavior") == "DROP_CASCADE" && !fresh && s.needs.Refusal == nil {
		c.on(s, n, ruleCascade, "CASCADE drops what depends on it", "")
	}
}
