package lint

import (
	"fmt"
	"slices"
	"strings"
)

// anywhere looks at what matters in Up and in Down.
func (c *checker) anywhere(s *statement) {
	c.schemas(s)
	c.settings(s)
	c.transactions(s)
	c.owners(s)
}

// isSystem tells whether a schema is the server's own.
func isSystem(schema string) bool {
	return schema == "pg_catalog" || schema == "information_schema" || strings.HasPrefix(schema, "pg_temp")
}

// schemas finds names with a schema.
func (c *checker) schemas(s *statement) {
	fixed := func(n node, schema, name string) {
		if schema != "" && !isSystem(schema) {
			c.on(s, n, ruleSchemaName, fmt.Sprintf("%s.%s names a schema, and every tenant has its own", schema, name), "")
		}
	}
	shared := func(n node, words []string, what string) {
		if len(words) > 1 && !isSystem(words[0]) {
			c.on(s, n, ruleSharedObject, fmt.Sprintf("the %s %s is of the schema %s", what, strings.Join(words, "."), words[0]), "")
		}
	}
	place := node{}
	s.tree.walk(func(n node) {
		if _, ok := n.number("location"); ok {
			place = n
		}
		switch n.kind {
		case "RangeVar", "relation", "rel", "view", "pktable", "sequence", "typevar":
			fixed(n, n.text("schemaname"), n.text("relname"))
		case "TypeName", "typeName", "returnType", "argType":
			shared(n, n.words("names"), "type")
		case "FuncCall", "func", "CreateTrigStmt":
			shared(n, n.words("funcname"), "function")
			if name := n.function(); name == "nextval" || name == "currval" || name == "setval" || name == "to_regclass" {
				for _, arg := range n.list("args")[:min(1, len(n.list("args")))] {
					c.qualifiedText(s, arg)
				}
			}
		case "TypeCast":
			if words := n.child("typeName").words("names"); len(words) > 0 && strings.HasPrefix(words[len(words)-1], "reg") {
				c.qualifiedText(s, n.child("arg"))
			}
		case "IndexElem":
			shared(place, n.words("opclass"), "operator class")
		case "CollateClause", "collClause":
			shared(n, n.words("collname"), "collation")
		case "A_Expr":
			shared(n, n.words("name"), "operator")
		case "ColumnRef":
			if words := n.words("fields"); len(words) > 2 {
				fixed(n, words[len(words)-3], strings.Join(words[len(words)-2:], "."))
			}
		case "ObjectWithArgs":
			if words := n.words("objname"); len(words) > 1 {
				fixed(n, words[0], words[1])
			}
		}
	})
	c.schemaOfObject(s, fixed)
}

// qualifiedText looks at a name within quotes: nextval('public.x_id_seq').
func (c *checker) qualifiedText(s *statement, arg node) {
	if arg.kind == "TypeCast" {
		arg = arg.child("arg")
	}
	text, ok := arg.literal()
	if schema, name, qualified := strings.Cut(text, "."); ok && qualified && !isSystem(schema) {
		c.on(s, arg, ruleSchemaName, fmt.Sprintf("%s.%s names a schema, and every tenant has its own", schema, name), "")
	}
}

// schemaOfObject looks at what a statement makes, changes or drops.
func (c *checker) schemaOfObject(s *statement, fixed func(n node, schema, name string)) {
	n := s.tree
	for _, field := range []string{"funcname", "typeName", "domainname", "defnames", "object", "objname"} {
		if words := n.words(field); len(words) > 1 && n.kind != "CreateTrigStmt" {
			fixed(n, words[0], words[1])
		}
	}
	switch n.kind {
	case "DropStmt":
		for _, object := range n.list("objects") {
			if words := object.words("items"); len(words) > 1 {
				fixed(n, words[0], words[1])
			}
			if words := object.words("names"); len(words) > 1 {
				fixed(n, words[0], words[1])
			}
		}
	case "CommentStmt":
		object := n.child("object")
		if words := object.words("items"); len(words) > minQualified(n.text("objtype")) {
			fixed(n, words[0], words[1])
		}
	case "GrantStmt":
		if n.text("objtype") == "OBJECT_SCHEMA" || n.text("targtype") == "ACL_TARGET_ALL_IN_SCHEMA" {
			for _, name := range n.words("objects") {
				fixed(n, name, "*")
			}
		}
	case "CreateSchemaStmt":
		fixed(n, n.text("schemaname"), "*")
	case "CreateExtensionStmt":
		c.on(s, n, ruleExtension, fmt.Sprintf("the extension %s would be made in a tenant's schema", n.text("extname")), "")
	case "AlterObjectSchemaStmt":
		c.on(s, n, ruleSearchPath, fmt.Sprintf("SET SCHEMA moves it to %s", n.text("newschema")), "")
	}
}

// minQualified returns how many names COMMENT ON gives without a schema: a
// column has two.
func minQualified(objtype string) int {
	switch objtype {
	case "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE":
		return 2
	}
	return 1
}

// dumpSettings are those of pg_dump's preamble.
var dumpSettings = []string{
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "client_encoding",
	"standard_conforming_strings", "check_function_bodies", "xmloption", "client_min_messages", "row_security",
	"default_tablespace", "default_table_access_method", "default_with_oids",
}

// settings finds what changes the session or the schema.
func (c *checker) settings(s *statement) {
	n := s.tree
	switch n.kind {
	case "VariableSetStmt":
		c.variableSet(s, n)
	case "DiscardStmt":
		c.on(s, n, ruleSession, "DISCARD throws away what crmctl has set for the run", "")
	case "CopyStmt":
		if n.flag("is_from") && n.text("filename") == "" && !n.flag("is_program") {
			c.on(s, n, rulePgDump, "COPY FROM stdin: its data cannot stand in a migration", "Use INSERT.")
		}
	}
	n.walk(func(call node) {
		if call.function() != "set_config" {
			return
		}
		args := call.list("args")
		if len(args) != 3 {
			return
		}
		name, _ := args[0].literal()
		value, _ := args[2].fields["boolval"].(map[string]any)
		local := node{fields: value}.flag("boolval")
		switch {
		case strings.EqualFold(name, "search_path"):
			c.on(s, call, ruleSearchPath, "set_config('search_path', …) leaves the tenant's schema", "")
		case !local:
			c.on(s, call, ruleSession, fmt.Sprintf("set_config(%q, …) outlives the tenant's transaction", name), "Give true as the third argument.")
		}
	})
}

func (c *checker) variableSet(s *statement, n node) {
	name := strings.ToLower(n.text("name"))
	reset := strings.HasPrefix(n.text("kind"), "VAR_RESET")
	switch {
	case name == "search_path":
		c.on(s, n, ruleSearchPath, "SET search_path leaves the tenant's schema", "")
	case name == "role" || name == "session_authorization":
		c.on(s, n, ruleSession, "SET ROLE: a migration runs as the role the run was started with", "Take it out.")
	case reset && n.text("kind") == "VAR_RESET_ALL":
		c.on(s, n, ruleSession, "RESET ALL takes back what crmctl has set for the run", "")
	case n.flag("is_local") || n.text("kind") == "VAR_SET_MULTI":
	case reset:
		c.on(s, n, ruleSession, "RESET "+name+" changes the session for the tenants after this one", "")
	case slices.Contains(dumpSettings, name):
		c.on(s, n, rulePgDump, "SET "+name+" stands in pg_dump's preamble, and outlives the tenant", "Take it out; SET LOCAL where it is really wanted.")
	default:
		c.on(s, n, ruleSession, "SET "+name+" changes the session for the tenants after this one", "")
	}
}

// transactions finds what cannot stand in a transaction, or ends it.
func (c *checker) transactions(s *statement) {
	n := s.tree
	if n.kind == "TransactionStmt" {
		switch kind := n.text("kind"); kind {
		case "TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO":
		default:
			word := strings.ReplaceAll(strings.TrimPrefix(kind, "TRANS_STMT_"), "_", " ")
			c.on(s, n, ruleTransaction, word+" ends or begins a transaction of its own", "")
		}
	}
	if what := needsNoTransaction(n); what != "" && !c.src.noTransaction {
		c.on(s, n, ruleNeedsNoTx, what+" cannot run in a transaction", "")
	}
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
	case "CreatedbStmt":
		return "CREATE DATABASE"
	case "DropdbStmt":
		return "DROP DATABASE"
	case "AlterSystemStmt":
		return "ALTER SYSTEM"
	case "CreateTableSpaceStmt":
		return "CREATE TABLESPACE"
	}
	return ""
}

// owners finds what gives the tenant's objects away.
func (c *checker) owners(s *statement) {
	n := s.tree
	switch n.kind {
	case "AlterOwnerStmt", "ReassignOwnedStmt":
		c.on(s, n, ruleOwner, "the owner changes to "+n.child("newowner").text("rolename")+n.child("newrole").text("rolename"), "")
	case "AlterTableStmt":
		for _, cmd := range n.list("cmds") {
			if cmd.text("subtype") == "AT_ChangeOwner" {
				c.on(s, n, ruleOwner, "the owner changes to "+cmd.child("newowner").text("rolename"), "")
			}
		}
	}
}
