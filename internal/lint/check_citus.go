package lint

import "fmt"

// citus finds what schema-based sharding refuses. report leaves these out where
// the target is another.
func (c *checker) citus(s *statement) {
	n := s.tree
	switch n.kind {
	case "CreateTrigStmt":
		c.on(s, n.child("relation"), ruleCitusTrigger, fmt.Sprintf("the trigger %s", n.text("trigname")), "")
	case "CreateSchemaStmt":
		if len(n.list("schemaElts")) > 0 {
			c.on(s, n, ruleCitusSchema, "CREATE SCHEMA with objects in it", "")
		}
	case "CreateStmt":
		for _, element := range n.list("tableElts") {
			c.citusForeign(s, element)
			for _, con := range element.list("constraints") {
				c.citusForeign(s, con)
			}
		}
	case "AlterTableStmt":
		c.citusAlter(s)
	case "MergeStmt":
		c.citusMerge(s)
	}
}

func (c *checker) citusAlter(s *statement) {
	dropped := false
	for _, cmd := range s.tree.list("cmds") {
		def := cmd.child("def")
		switch cmd.text("subtype") {
		case "AT_DropConstraint":
			dropped = true
		case "AT_AddConstraint":
			if dropped {
				c.on(s, def, ruleCitusDropAdd, "one ALTER TABLE drops a constraint and adds another", "")
			}
			c.citusForeign(s, def)
		case "AT_AddColumn":
			if isSerial(typeOf(def.child("typeName"))) {
				c.on(s, def, ruleCitusIdentity, fmt.Sprintf("the column %s is serial", def.text("colname")), "")
			}
			for _, con := range def.list("constraints") {
				switch con.text("contype") {
				case "CONSTR_IDENTITY":
					c.on(s, con, ruleCitusIdentity, fmt.Sprintf("the column %s is an identity", def.text("colname")), "")
				case "CONSTR_CHECK":
					if con.text("conname") == "" {
						c.on(s, con, ruleCitusCheck, fmt.Sprintf("the check of %s has no name", def.text("colname")), "")
					}
				}
				c.citusForeign(s, con)
			}
		}
	}
}

func (c *checker) citusForeign(s *statement, con node) {
	if to := con.child("pktable"); con.text("contype") == "CONSTR_FOREIGN" && to.text("schemaname") != "" {
		c.on(s, to, ruleCitusForeign, fmt.Sprintf("it refers to %s.%s", to.text("schemaname"), to.text("relname")), "")
	}
}

// citusMerge takes a table it does not know for one with a volatile default.
func (c *checker) citusMerge(s *statement) {
	n := s.tree
	inserts := false
	for _, when := range n.list("mergeWhenClauses") {
		inserts = inserts || when.text("commandType") == "CMD_INSERT"
	}
	name := n.child("relation").text("relname")
	t := c.history.tables[name]
	volatile := t == nil || len(t.columns) == 0
	if t != nil {
		for _, col := range t.columns {
			volatile = volatile || col.volatile
		}
	}
	if inserts && volatile {
		c.on(s, n.child("relation"), ruleCitusMerge, fmt.Sprintf("MERGE inserts into %s", name), "")
	}
}
