package lint

import (
	"fmt"
	"regexp"
	"strings"
)

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
		if len(n.list("inhRelations")) > 0 && !n.child("partbound").there() {
			c.on(s, n.list("inhRelations")[0], ruleCitusInherits, fmt.Sprintf("%s inherits from another table",
				n.child("relation").text("relname")), "")
		}
		for _, element := range n.list("tableElts") {
			c.citusForeign(s, element)
			for _, con := range element.list("constraints") {
				c.citusForeign(s, con)
			}
		}
	case "AlterTableStmt":
		c.citusAlter(s)
	case "RenameStmt":
		if n.text("renameType") == "OBJECT_TABCONSTRAINT" {
			c.on(s, n.child("relation"), ruleCitusRename, fmt.Sprintf("RENAME CONSTRAINT %s", n.text("subname")), "")
		}
	case "AlterSeqStmt":
		c.on(s, n.child("sequence"), ruleCitusSequence, fmt.Sprintf("ALTER SEQUENCE %s",
			n.child("sequence").text("relname")), "")
	case "VariableSetStmt":
		if n.text("name") == "role" && n.text("kind") == "VAR_SET_VALUE" {
			c.on(s, n, ruleCitusRole, "SET ROLE", "")
		}
	case "DoStmt":
		c.citusDo(s)
	case "MergeStmt":
		c.citusMerge(s)
	case "InsertStmt":
		c.citusInsert(s)
		c.citusQuery(s)
	case "UpdateStmt":
		for _, target := range n.list("targetList") {
			if f := c.volatileCall(target); f != "" {
				c.on(s, target, ruleCitusUpdate, fmt.Sprintf("UPDATE calls %s()", f), "")
			}
		}
		c.citusQuery(s)
	case "SelectStmt", "DeleteStmt", "CreateTableAsStmt":
		c.citusQuery(s)
	}
}

// makesTable is CREATE TABLE in the text of a DO block, beside comments and in EXECUTE too.
var makesTable = regexp.MustCompile(`(?is)\bcreate\s+(unlogged\s+)?table\b`)

func (c *checker) citusDo(s *statement) {
	for _, arg := range s.tree.list("args") {
		if arg.text("defname") == "as" && makesTable.MatchString(arg.child("arg").text("sval")) {
			c.on(s, arg, ruleCitusDo, "a DO block makes a table", "")
		}
	}
}

// mutable returns the first function of an expression that is not immutable: a volatile one,
// or one that tells the time or the session.
func (c *checker) mutable(expr node) string {
	if f := c.volatileCall(expr); f != "" {
		return f
	}
	found := ""
	expr.walk(func(n node) {
		switch name := n.function(); {
		case found != "":
		case n.kind == "SQLValueFunction":
			found = strings.ToLower(strings.TrimPrefix(n.text("op"), "SVFOP_"))
		case name == "now", name == "statement_timestamp", name == "transaction_timestamp", name == "current_setting",
			name == "age":
			found = name
		}
	})
	return found
}

func (c *checker) citusInsert(s *statement) {
	n := s.tree
	for _, target := range n.child("onConflictClause").list("targetList") {
		if f := c.mutable(target); f != "" {
			c.on(s, target, ruleCitusUpsert, fmt.Sprintf("DO UPDATE calls %s", f), "")
		}
	}
	source := n.child("selectStmt")
	if len(source.list("fromClause")) == 0 || materialized(source) || materialized(n) {
		return
	}
	into := n.child("relation").text("relname")
	listed := n.list("cols")
	if t := c.history.tables[into]; len(listed) > 0 && (t == nil || len(listed) < len(t.columns)) {
		c.on(s, n.child("relation"), ruleCitusSelect, fmt.Sprintf("%s gets %d columns from a query, and others by default",
			into, len(listed)), "")
	}
}

// materialized reports whether a statement reads what WITH ... AS MATERIALIZED has made.
func materialized(n node) bool {
	for _, cte := range n.child("withClause").list("ctes") {
		if cte.text("ctematerialized") == "CTEMaterializeAlways" {
			return true
		}
	}
	return false
}

// tables is what a query names.
type tables struct {
	tenant, local string // one of each, "" for none
}

// tablesOf looks for the tables below a node.
func (c *checker) tablesOf(n node) tables {
	with := map[string]bool{}
	n.walk(func(n node) {
		if n.kind == "CommonTableExpr" {
			with[n.text("ctename")] = true
		}
	})
	var out tables
	n.walk(func(n node) {
		name, schema := n.text("relname"), n.text("schemaname")
		switch {
		case name == "" || schema == "" && with[name], schema == "pg_catalog", schema == "information_schema":
		case schema != "" || c.history.temporary[name]:
			out.local = name
		default:
			out.tenant = name
		}
	})
	return out
}

// citusQuery looks at a statement that reads and writes rows.
func (c *checker) citusQuery(s *statement) {
	all := c.tablesOf(s.tree)
	said := map[string]bool{}
	say := func(n node, rule, message string) {
		if !said[rule] {
			said[rule] = true
			c.on(s, n, rule, message, "")
		}
	}
	s.tree.walk(func(n node) {
		switch name := n.function(); {
		case name == "setval":
			say(n, ruleCitusSequence, "setval()")
		case name == "set_config":
			say(n, ruleCitusSetting, "set_config()")
		case all.tenant != "" && (name == "current_schema" || name == "current_schemas" ||
			n.text("op") == "SVFOP_CURRENT_SCHEMA"):
			say(n, ruleCitusPath, fmt.Sprintf("current_schema() beside %s", all.tenant))
		case n.kind == "SubLink":
			if sub := c.tablesOf(n); all.tenant != "" && all.local != "" && (sub.tenant != "" || sub.local != "") &&
				!materialized(s.tree) {
				say(n, ruleCitusJoin, fmt.Sprintf("%s in a subquery with %s", all.local, all.tenant))
			}
		case n.kind == "JoinExpr" && n.text("jointype") != "JOIN_INNER":
			if both := c.tablesOf(n); both.tenant != "" && both.local != "" {
				say(n, ruleCitusJoin, fmt.Sprintf("an outer join of %s and %s", both.tenant, both.local))
			}
		}
	})
}

func (c *checker) citusAlter(s *statement) {
	for _, cmd := range s.tree.list("cmds") {
		def := cmd.child("def")
		switch cmd.text("subtype") {
		case "AT_AddInherit":
			c.on(s, s.tree.child("relation"), ruleCitusInherits, "INHERIT", "")
		case "AT_AddConstraint":
			if len(s.tree.list("cmds")) > 1 {
				c.on(s, def, ruleCitusDropAdd, "one ALTER TABLE adds a constraint and does something else", "")
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
