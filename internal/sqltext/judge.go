package sqltext

import (
	"fmt"
	"slices"
	"strings"
)

// Rule names why a command cannot be part of a tenant's migration.
type Rule string

// The rules that Judge goes by. A comment "-- crmctl:allow RULE reason" may lift
// RuleCatalogGuard alone: what the others refuse would break the run.
const (
	RuleTransaction  Rule = "transaction"     // it begins or ends a transaction
	RuleSearchPath   Rule = "search-path"     // it leaves the schema for what follows
	RuleSession      Rule = "session-setting" // it changes the session
	RuleCopy         Rule = "pg-dump"         // COPY from or to the client
	RuleOtherSchema  Rule = "other-schema"    // it makes, changes or writes something elsewhere
	RuleCluster      Rule = "cluster-object"  // it makes what belongs to no schema
	RuleExtension    Rule = "extension"       // it changes or drops an extension
	RuleCatalogGuard Rule = "catalog-guard"   // it looks a name up in every tenant's catalog rows
)

// Refusal says why a command cannot be part of a tenant's migration, and what to do.
type Refusal struct {
	Rule   Rule
	Reason string
}

// Error returns the reason.
func (r *Refusal) Error() string { return r.Reason }

// Needs is what a command asks of the transaction and the session it runs in, as far as
// its text tells.
type Needs struct {
	// Refusal is not nil where the command cannot be part of a tenant's migration.
	Refusal *Refusal
	// Apart tells that the command's file must be a transaction of its own: what it does
	// ends with the transaction, or may only be used after it.
	Apart bool
	// Session tells that the command may leave something in the session: a temporary
	// object, a prepared statement, a setting, a lock.
	Session bool
	// Extension is what CREATE EXTENSION makes, in a DO too. Its name is "" for another
	// command.
	Extension Extension
	// OfDatabase tells that the command is about an extension and belongs to the database,
	// not to a tenant: it is made once for all of them.
	OfDatabase bool
	// Deferred tells that the command makes a constraint that is checked at the end of a
	// transaction, Writes that it may change rows, which then wait for the check.
	Deferred, Writes bool
	// Values are what the command adds to enums: whoever uses one needs another
	// transaction.
	Values []Value
	// Leaves tells that the command makes a routine whose body may leave something in
	// the session of whoever calls it, through a trigger too.
	Leaves bool
	// Setting is what a plain SET or RESET changes in a transaction, "" for another
	// command: it is to end with its file, in the form that LocalSetting gives.
	Setting string
}

// Extension is an extension as CREATE EXTENSION asks for it.
type Extension struct {
	Name    string
	Schema  string // "" where the command leaves it open
	Version string // "" = the newest
	Cascade bool   // those it needs too
}

// Judge reads one command. transactional is false for a command that runs outside of
// transactions on a session of its own, where settings may be made.
func Judge(sql string, transactional bool) Needs {
	sql, _ = withoutRows(sql)
	j := judge{sql: sql, tokens: Tokens(sql), transactional: transactional}
	if len(j.tokens) == 0 {
		return Needs{}
	}
	j.command()
	j.anywhere()
	return j.Needs
}

type judge struct {
	Needs

	sql           string
	tokens        []Token
	transactional bool
	block         bool // a statement within a block of PL/pgSQL
	touched       Touched
}

func (j *judge) refuse(rule Rule, format string, args ...any) {
	if j.Refusal == nil {
		j.Refusal = &Refusal{rule, fmt.Sprintf(format, args...)}
	}
}

// at returns the i-th token, or one that is nothing.
func (j *judge) at(i int) Token {
	if i < 0 || i >= len(j.tokens) {
		return Token{}
	}
	return j.tokens[i]
}

// has reports whether the words stand at the i-th token.
func (j *judge) has(i int, words ...string) bool {
	for n, w := range words {
		if !j.at(i + n).Is(w) {
			return false
		}
	}
	return true
}

// command goes by what the command begins with.
func (j *judge) command() {
	switch first := strings.ToLower(j.at(0).Text); first {
	case "begin", "start", "commit", "end", "abort":
		j.transaction(first)
	case "rollback":
		if !slices.ContainsFunc(j.tokens, func(t Token) bool { return t.Is("to") }) {
			j.transaction(first)
		}
	case "prepare":
		if j.has(1, "transaction") {
			j.transaction("prepare transaction")
		}
		j.Session = true
	case "execute", "deallocate", "listen", "unlisten", "load":
		j.Session, j.Writes = true, true
	case "declare":
		j.Session = j.Session || len(Follow(j.sql, "with", "hold")) > 0
	case "reset":
		j.reset()
	case "discard":
		j.refuse(RuleSession, "DISCARD changes the session for the tenants after this one")
	case "set":
		j.set()
	case "copy":
		j.copy()
	case "do", "call":
		j.Writes = true
		j.Session = j.Session || first == "call" || leaves(j.body())
	case "create":
		j.create()
	case "alter":
		j.alter()
	case "drop":
		j.drop()
	case "grant", "revoke":
		j.grant()
	case "insert", "update", "delete", "merge", "truncate", "select", "with", "values", "refresh", "table":
		j.Writes = true
	}
}

func (j *judge) transaction(what string) {
	if !j.transactional {
		j.refuse(RuleTransaction, "%s: every statement of a NO TRANSACTION file ends by itself; take it out, or put what "+
			"belongs together into a file with a transaction",
			strings.ToUpper(what))
		return
	}
	j.refuse(RuleTransaction, "%s: a tenant's migrations are one transaction already; "+
		"use -- +goose NO TRANSACTION for what cannot run in one", strings.ToUpper(what))
}

// leavePath says what to do with what pg_dump writes, "set_config('search_path', ...)".
const leavePath = "take it out, and the schema in front of the names that are the tenant's too"

// set reads SET, SET LOCAL, SET SESSION, SET CONSTRAINTS and SET TRANSACTION.
func (j *judge) set() {
	i, local := 1, false
	switch {
	case j.has(1, "local"):
		i, local = 2, true
	case j.has(1, "session") && !j.has(2, "authorization") && !j.has(2, "characteristics"):
		i = 2
	}
	switch name := j.at(i).Name(); {
	case name == "search_path", name == "schema":
		j.refuse(RuleSearchPath, "SET %s: a migration runs in the tenant's schema and must stay there; "+leavePath,
			strings.ToUpper(name))
	case name == "role", name == "session" && j.has(i+1, "authorization"):
		j.refuse(RuleSession, "SET %s: a migration runs as the role the run was started with", strings.ToUpper(name))
	case local, name == "constraints", name == "transaction":
		j.Apart = true
	case !j.transactional:
		j.Session = true
	default:
		j.plainSet(i)
	}
}

// reset reads RESET, which takes back a SET of the same file.
func (j *judge) reset() {
	name, _ := j.settingAt(1)
	switch {
	case name == "search_path":
		j.refuse(RuleSearchPath, "RESET search_path: a migration runs in the tenant's schema and must stay there")
	case resettable(name) && !j.transactional:
		j.Session = true
	case resettable(name):
		j.Setting = name
	default:
		j.refuse(RuleSession, "RESET %s changes the session for the tenants after this one", name)
	}
}

func (j *judge) copy() {
	j.Writes = true
	if len(Follow(j.sql, "from", "stdin"))+len(Follow(j.sql, "to", "stdout")) > 0 {
		j.refuse(RuleCopy, "COPY FROM stdin: its data cannot stand in a migration; use INSERT")
	}
	if j.at(1).Name() != "" {
		j.target(1, "writes to")
	}
}
