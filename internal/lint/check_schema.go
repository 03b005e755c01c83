package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// judged reports what a run refuses, by the judge that the run itself asks.
func (c *checker) judged(s *statement) {
	needs := sqltext.Judge(s.sql, !c.src.noTransaction)
	s.needs, s.refused = &needs, needs.Refusal != nil
	if r := s.needs.Refusal; r != nil && !(s.needs.OfDatabase && s.down) {
		c.at(s, s.start, string(r.Rule), r.Reason, "")
	}
}

// anywhere looks at what matters in Up and in Down.
func (c *checker) anywhere(s *statement) {
	if s.needs.Refusal == nil {
		if guard := sqltext.GuardOfSchema(s.sql); guard != nil && guard.Absent {
			c.at(s, s.start, ruleSchemaGuard, guard.Reason, "")
		}
		c.schemas(s)
	}
	c.session(s)
	if what := needsNoTransaction(s.tree); what != "" && !c.src.noTransaction && s.needs.Refusal == nil {
		c.on(s, s.tree, ruleNeedsNoTx, what+" cannot run in a transaction", "")
	}
	c.owners(s)
}

// ofAll reports whether a schema serves every tenant: the server's own, the one that
// extensions are made in, those of the session, and the shared ones.
func (c *checker) ofAll(schema string) bool {
	return slices.Contains(c.opts.Shared, schema) && schema != "public" || schema == "pg_catalog" ||
		schema == "information_schema" || schema == "extensions" || strings.HasPrefix(schema, "pg_temp")
}

// schemas finds names with a schema that a run takes. What is read of public is meant to
// be there for all tenants, unless they have a table of that name too.
func (c *checker) schemas(s *statement) {
	relation := func(n node, schema, name string) {
		switch {
		case schema == "" || c.ofAll(schema):
		case schema != "public":
			c.on(s, n, ruleSchemaName, fmt.Sprintf("%s.%s is one table for all tenants", schema, name), "")
		case c.history.tables[name] != nil || c.created[name]:
			c.on(s, n, ruleSchemaName, fmt.Sprintf("public.%s is one table for all tenants, and the tenants have a %s of "+
				"their own", name, name), "")
		}
	}
	shared := func(n node, words []string, what string) {
		if len(words) > 1 && !c.ofAll(words[0]) && words[0] != "public" {
			c.on(s, n, ruleSharedObject, fmt.Sprintf("the %s %s is of the schema %s", what, strings.Join(words, "."),
				words[0]), "")
		}
	}
	place := node{}
	s.tree.walk(func(n node) {
		if _, ok := n.number("location"); ok {
			place = n
		}
		switch n.kind {
		case "RangeVar", "relation", "rel", "view", "pktable", "sequence", "typevar":
			relation(n, n.text("schemaname"), n.text("relname"))
		case "TypeName", "typeName", "returnType", "argType":
			shared(n, n.words("names"), "type")
		case "FuncCall", "func", "CreateTrigStmt":
			shared(n, n.words("funcname"), "function")
			if name := n.function(); name == "nextval" || name == "currval" {
				c.sharedSequence(s, n)
			}
		case "IndexElem":
			shared(place, n.words("opclass"), "operator class")
		case "CollateClause", "collClause":
			shared(n, n.words("collname"), "collation")
		case "A_Expr":
			shared(n, n.words("name"), "operator")
		}
	})
}

// sharedSequence looks at nextval('public.x_id_seq'), which pg_dump writes.
func (c *checker) sharedSequence(s *statement, call node) {
	args := call.list("args")
	if len(args) == 0 {
		return
	}
	arg := args[0]
	if arg.kind == "TypeCast" {
		arg = arg.child("arg")
	}
	text, ok := arg.literal()
	if schema, name, qualified := strings.Cut(text, "."); ok && qualified && !c.ofAll(schema) {
		c.on(s, arg, ruleSchemaName, fmt.Sprintf("%s.%s is one sequence for all tenants", schema, name), "")
	}
}

// session warns of what ends with the file, and of what a session would keep.
func (c *checker) session(s *statement) {
	needs := s.needs
	switch n := s.tree; {
	case needs.Refusal != nil:
	case n.kind == "CallStmt" && c.src.noTransaction:
		c.on(s, n, ruleCall, "a procedure may commit on its way", "")
	case needs.Session && n.kind != "CallStmt" && n.kind != "VariableSetStmt" && !s.setsOnly() && !s.mayOnly():
		c.on(s, n, ruleTemporary, "it may leave something in the session", "")
	}
}

// setsOnly reports whether a statement is asked for a session of its own because of
// set_config alone.
func (s *statement) setsOnly() bool {
	if s.tree.kind != "SelectStmt" {
		return false
	}
	for t := range s.eachToken() {
		if t.is("set_config") {
			return true
		}
	}
	return false
}

// mayOnly reports whether a block is asked for a session of its own because nobody can
// tell what it runs, and not because it says so.
func (s *statement) mayOnly() bool {
	if s.tree.kind != "DoStmt" {
		return false
	}
	return !slices.ContainsFunc(sqltext.Names(s.sql), func(name string) bool {
		return slices.Contains([]string{"temp", "temporary", "pg_temp", "prepare", "listen", "pg_advisory_lock",
			"pg_try_advisory_lock"}, name)
	})
}

// needsNoTransaction returns what PostgreSQL refuses in a transaction.
func needsNoTransaction(n node) string {
	concurrently := n.flag("concurrent")
	switch n.kind {
	case "IndexStmt":
		if concurrently {
			return "CREATE INDEX CONCURRENTLY"
		}
	case "DropStmt":
		if concurrently {
			return "DROP INDEX CONCURRENTLY"
		}
	case "ReindexStmt":
		for _, param := range n.list("params") {
			if param.text("defname") == "concurrently" {
				return "REINDEX CONCURRENTLY"
			}
		}
	case "AlterTableStmt":
		for _, cmd := range n.list("cmds") {
			if cmd.text("subtype") == "AT_DetachPartition" && cmd.child("def").flag("concurrent") {
				return "DETACH PARTITION CONCURRENTLY"
			}
		}
	case "VacuumStmt":
		if n.flag("is_vacuumcmd") {
			return "VACUUM"
		}
	}
	return ""
}

// owners finds what gives the tenant's objects away.
func (c *checker) owners(s *statement) {
	n := s.tree
	switch n.kind {
	case "AlterOwnerStmt", "ReassignOwnedStmt":
		c.on(s, n, ruleOwner, "the owner changes to "+n.child("newowner").text("rolename")+
			n.child("newrole").text("rolename"), "")
	case "AlterTableStmt":
		for _, cmd := range n.list("cmds") {
			if cmd.text("subtype") == "AT_ChangeOwner" {
				c.on(s, n, ruleOwner, "the owner changes to "+cmd.child("newowner").text("rolename"), "")
			}
		}
	}
}
