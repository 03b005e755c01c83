package lint

import (
	"fmt"
	"strings"
)

// upOnly looks at what matters on the way up: Down is for an emergency, and
// takes back by dropping.
func (c *checker) upOnly(s *statement) {
	n := s.tree
	switch n.kind {
	case "AlterTableStmt":
		if n.text("objtype") == "OBJECT_TABLE" || n.text("objtype") == "" {
			c.alterTable(s)
		}
	case "CreateStmt":
		c.createTable(s)
	case "IndexStmt":
		c.index(s)
	case "LockStmt":
		c.on(s, n, ruleLockTable, "LOCK TABLE stops the tenant's work", "")
	case "UpdateStmt":
		c.updateAll(s)
	case "DropStmt", "TruncateStmt", "DeleteStmt", "RenameStmt":
		c.losses(s)
	}
	c.citus(s)
}

// isNew reports whether a table was made in this file, so that it is empty and
// nobody waits for it.
func (c *checker) isNew(name string) bool { return c.created[name] }

func (c *checker) alterTable(s *statement) {
	relation := s.tree.child("relation")
	name := relation.text("relname")
	fresh := c.isNew(name)
	c.alters = c.alters || !fresh
	for _, cmd := range s.tree.list("cmds") {
		def := cmd.child("def")
		switch cmd.text("subtype") {
		case "AT_AddColumn":
			c.addColumn(s, name, def, fresh)
		case "AT_AddConstraint":
			c.addConstraint(s, name, def, fresh)
		case "AT_ValidateConstraint":
			if chk := c.history.table(name).checks[cmd.text("name")]; chk != nil && chk.file == c.src && !fresh &&
				!c.src.noTransaction {
				c.on(s, relation, ruleValidate, fmt.Sprintf("%s was added in this file, and is validated in the same transaction",
					cmd.text("name")), "")
			}
		case "AT_SetNotNull":
			if !fresh && !c.history.table(name).knownNotNull(cmd.text("name")) {
				c.on(s, relation, ruleNotNull, fmt.Sprintf("SET NOT NULL reads all of %s, and no validated check says that %s is "+
					"not null", name, cmd.text("name")), "")
			}
		case "AT_AlterColumnType":
			if !fresh {
				c.typeChange(s, name, cmd.text("name"), def)
			}
		case "AT_DropColumn":
			if !fresh {
				c.on(s, relation, ruleDropColumn, fmt.Sprintf("%s.%s is dropped", name, cmd.text("name")), "")
			}
		}
		if cmd.text("behavior") == "DROP_CASCADE" && !fresh {
			c.on(s, relation, ruleCascade, "CASCADE drops what depends on it", "")
		}
	}
}

func (c *checker) addColumn(s *statement, table string, def node, fresh bool) {
	name := def.text("colname")
	hasDefault := false
	var notNull node
	for _, con := range def.list("constraints") {
		switch con.text("contype") {
		case "CONSTR_NOTNULL":
			notNull = con
		case "CONSTR_DEFAULT":
			hasDefault = true
			if f := c.volatileCall(con.child("raw_expr")); f != "" && !fresh {
				c.on(s, con, ruleVolatile, fmt.Sprintf("%s() is computed for every row of %s, which is written anew", f, table), "")
			}
		case "CONSTR_IDENTITY":
			hasDefault = true
			if !fresh {
				c.on(s, con, ruleVolatile, fmt.Sprintf("an identity column writes %s anew", table), "")
			}
		case "CONSTR_GENERATED":
			hasDefault = true
			if !fresh && !s.newer {
				c.on(s, con, ruleVolatile, fmt.Sprintf("a stored expression writes %s anew", table), "")
			}
		case "CONSTR_CHECK", "CONSTR_FOREIGN":
			c.unnamed(s, table, name, con)
			if !fresh {
				c.on(s, con, ruleNotValid, fmt.Sprintf("the new column's constraint reads all of %s", table),
					"Add the column alone, then the constraint NOT VALID, and VALIDATE CONSTRAINT in a later NO TRANSACTION file.")
			}
		case "CONSTR_UNIQUE", "CONSTR_PRIMARY":
			c.unnamed(s, table, name, con)
			if !fresh {
				c.on(s, con, ruleIndexBlocks, fmt.Sprintf("the new column's index is built while writes to %s wait", table), "")
			}
		}
	}
	if isSerial(typeOf(def.child("typeName"))) {
		hasDefault = true
		if !fresh {
			c.on(s, def, ruleVolatile, fmt.Sprintf("a serial column writes %s anew", table), "")
		}
	}
	if notNull.there() && !hasDefault && !fresh {
		c.on(s, notNull, ruleNotNull, fmt.Sprintf("%s is NOT NULL and has no default: it fails where %s has a row",
			name, table),
			"Give it a default that does not change from row to row, or make it nullable first.")
	}
}

func isSerial(t dataType) bool { return strings.Contains(t.name, "serial") && !t.array }

func (c *checker) addConstraint(s *statement, table string, con node, fresh bool) {
	c.unnamed(s, table, firstKey(con), con)
	if fresh {
		return
	}
	valid := !con.flag("skip_validation")
	switch contype := con.text("contype"); {
	case contype == "CONSTR_CHECK" && s.newer && valid && notNullColumn(s, con) != "":
		c.on(s, con, ruleNotNull, fmt.Sprintf("NOT NULL reads all of %s", table),
			"Add it NOT VALID, and VALIDATE CONSTRAINT in a later NO TRANSACTION file.")
	case (contype == "CONSTR_CHECK" || contype == "CONSTR_FOREIGN") && valid:
		what := map[string]string{"CONSTR_CHECK": "the check", "CONSTR_FOREIGN": "the foreign key"}[contype]
		c.on(s, con, ruleNotValid, fmt.Sprintf("%s reads all of %s while writes wait", what, table), "")
	case (contype == "CONSTR_UNIQUE" || contype == "CONSTR_PRIMARY" || contype == "CONSTR_EXCLUSION") &&
		con.text("indexname") == "":
		c.on(s, con, ruleIndexBlocks, fmt.Sprintf("the constraint's index is built while writes to %s wait", table), "")
	}
}

// firstKey returns the column that a constraint's made-up name would have in it.
func firstKey(con node) string {
	for _, field := range []string{"keys", "fk_attrs"} {
		if words := con.words(field); len(words) > 0 {
			return strings.Join(words, "_")
		}
	}
	return ""
}

// unnamed finds constraints whose name PostgreSQL makes up. That of a primary key
// is the same everywhere.
func (c *checker) unnamed(s *statement, table, columns string, con node) {
	kind, suffix := "", ""
	switch con.text("contype") {
	case "CONSTR_CHECK":
		kind, suffix = "CHECK", "check"
	case "CONSTR_FOREIGN":
		kind, suffix = "FOREIGN KEY", "fkey"
	case "CONSTR_UNIQUE":
		kind, suffix = "UNIQUE", "key"
	case "CONSTR_EXCLUSION":
		kind, suffix = "EXCLUDE", "excl"
	case "CONSTR_PRIMARY":
		suffix, columns = "pkey", ""
	default:
		return
	}
	if con.text("conname") != "" || con.text("indexname") != "" {
		return
	}
	if kind != "" {
		c.on(s, con, ruleUnnamed, "a "+kind+" without a name", "")
	}
	c.derived(s, con, table, columns, suffix)
}

func (c *checker) derived(s *statement, n node, parts ...string) {
	name := strings.Join(strings.FieldsFunc(strings.Join(parts, "\x00"), func(r rune) bool { return r == 0 }), "_")
	if len(name) > maxName {
		c.on(s, n, ruleDerivedName, fmt.Sprintf("PostgreSQL would call it %s, which has %d bytes, and shortens that", name,
			len(name)), "")
	}
}

func (c *checker) createTable(s *statement) {
	table := s.tree.child("relation").text("relname")
	for _, element := range s.tree.list("tableElts") {
		switch element.kind {
		case "ColumnDef":
			for _, con := range element.list("constraints") {
				c.unnamed(s, table, element.text("colname"), con)
			}
		case "Constraint":
			c.unnamed(s, table, firstKey(element), element)
		}
	}
}

func (c *checker) index(s *statement) {
	n := s.tree
	table := n.child("relation").text("relname")
	if n.text("idxname") == "" {
		parts := []string{table}
		for _, param := range n.list("indexParams") {
			name := param.text("name")
			if name == "" {
				name = "expr"
			}
			parts = append(parts, name)
		}
		c.derived(s, n.child("relation"), append(parts, "idx")...)
	}
	switch {
	case n.flag("concurrent") && n.flag("if_not_exists"):
		c.on(s, n, ruleIndexIfMissing, "IF NOT EXISTS takes an invalid index for a good one", "")
	case !n.flag("concurrent") && !c.isNew(table):
		c.on(s, n.child("relation"), ruleIndexBlocks, fmt.Sprintf("writes to %s wait while the index is built", table), "")
	}
}

// typeChange judges ALTER COLUMN … TYPE by the type the column had.
func (c *checker) typeChange(s *statement, table, name string, def node) {
	to := typeOf(def.child("typeName"))
	col := c.history.table(table).columns[name]
	using := def.child("raw_default")
	plain := !using.there() || using.kind == "ColumnRef" ||
		using.kind == "TypeCast" && using.child("arg").column() == name &&
			typeOf(using.child("typeName")).String() == to.String()
	switch {
	case col == nil:
		c.on(s, def, ruleTypeChange, fmt.Sprintf("%s.%s becomes %s, and these files do not say what it was", table, name, to),
			"Where it keeps the rows (varchar grows, varchar becomes text), allow it and say so.")
	case !plain || def.child("collClause").there() || !keepsRows(col.typ, to):
		c.on(s, def, ruleTypeChange, fmt.Sprintf("%s.%s becomes %s from %s, and %s is written anew", table, name, to,
			col.typ, table), "")
	}
}

// update is an UPDATE of every row of a table that is there.
type update struct {
	statement *statement
	relation  node
}

func (c *checker) updateAll(s *statement) {
	relation := s.tree.child("relation")
	if !s.tree.child("whereClause").there() && !c.isNew(relation.text("relname")) {
		c.updates = append(c.updates, update{s, relation})
	}
}

// updatesWhileLocked reports the updates of a file that changes a table that is there,
// before or after them.
func (c *checker) updatesWhileLocked() {
	if !c.alters {
		return
	}
	for _, u := range c.updates {
		c.on(u.statement, u.relation, ruleUpdateAll,
			fmt.Sprintf("every row of %s is written while the file's locks are held", u.relation.text("relname")), "")
	}
}
