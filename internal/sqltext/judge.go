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
	// Leaves tells that the command makes a routine whose body may leave something in
	// the session of whoever calls it, through a trigger too.
	Leaves bool
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
		j.refuse(RuleTransaction, "%s: every statement of a NO TRANSACTION file ends by itself; take it out, or put what belongs together into a file with a transaction",
			strings.ToUpper(what))
		return
	}
	j.refuse(RuleTransaction, "%s: a tenant's migrations are one transaction already; "+
		"use -- +goose NO TRANSACTION for what cannot run in one", strings.ToUpper(what))
}

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
		j.refuse(RuleSearchPath, "SET %s: a migration runs in the tenant's schema and must stay there", strings.ToUpper(name))
	case name == "role", name == "session" && j.has(i+1, "authorization"):
		j.refuse(RuleSession, "SET %s: a migration runs as the role the run was started with", strings.ToUpper(name))
	case local, name == "constraints", name == "transaction":
		j.Apart = true
	case !j.transactional:
		j.Session = true
	default:
		j.refuse(RuleSession, "SET %s changes the session for the tenants after this one; use SET LOCAL", name)
	}
}

// reset reads RESET, which takes back a SET of the same file outside of transactions.
func (j *judge) reset() {
	name := j.at(1).Name()
	switch {
	case name == "search_path":
		j.refuse(RuleSearchPath, "RESET search_path: a migration runs in the tenant's schema and must stay there")
	case !j.transactional && name != "all" && name != "role" && name != "session":
		j.Session = true
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

// clusterKinds are kinds of objects that stand in no schema.
var clusterKinds = []string{
	"database", "role", "user", "group", "tablespace", "publication", "subscription", "server",
	"language", "cast", "transform", "system", "event", "access", "foreign",
}

// kindAt returns the kind of object that a CREATE, ALTER or DROP is about, and the index
// of the token behind it.
func (j *judge) kindAt() (kind string, next int) {
	i := 1
	if j.has(i, "or", "replace") {
		i += 2
	}
	for slices.Contains([]string{
		"global", "local", "temporary", "temp", "unlogged", "unique", "materialized", "recursive", "trusted", "procedural", "constraint", "default",
	}, strings.ToLower(j.at(i).Text)) {
		i++
	}
	kind, next = strings.ToLower(j.at(i).Text), i+1
	switch {
	case kind == "text" && j.has(next, "search"): // TEXT SEARCH CONFIGURATION name
		next += 2
	case kind == "foreign" && j.has(next, "table"):
		kind, next = "foreign table", next+1
	case kind == "operator" && (j.has(next, "class") || j.has(next, "family")):
		next++
	case kind == "user" && j.has(next, "mapping"):
		kind, next = "user mapping", next+1
	}
	return kind, next
}

// skipIf passes IF EXISTS and IF NOT EXISTS, CONCURRENTLY and ONLY.
func (j *judge) skipIf(i int) int {
	for {
		switch {
		case j.has(i, "if", "not", "exists"):
			i += 3
		case j.has(i, "if", "exists"):
			i += 2
		case j.has(i, "concurrently"), j.has(i, "only"):
			i++
		default:
			return i
		}
	}
}

// cluster refuses what stands in no schema: the second tenant would meet what the first
// one made.
func (j *judge) cluster(kind string, next int) bool {
	switch {
	case kind == "schema":
		j.refuse(RuleOtherSchema, "%s SCHEMA %s: a migration belongs to the tenant's own schema; make what all tenants share once, outside of their migrations",
			strings.ToUpper(j.at(0).Text), j.at(j.skipIf(next)).Name())
	case slices.Contains(clusterKinds, kind):
		j.refuse(RuleCluster, "%s %s: it belongs to no tenant's schema, and the second tenant would meet what the first one did; do it once, outside of the tenants' migrations",
			strings.ToUpper(j.at(0).Text), strings.ToUpper(kind))
	default:
		return false
	}
	return true
}

func (j *judge) create() {
	kind, next := j.kindAt()
	if kind == "extension" {
		j.extension(j.skipIf(next))
		return
	}
	if j.cluster(kind, next) {
		return
	}
	for _, t := range j.tokens[:min(len(j.tokens), next)] {
		if t.Is("temp") || t.Is("temporary") {
			j.Session = true
			j.Apart = j.Apart || len(Follow(j.sql, "on", "commit")) > 0
		}
	}
	switch kind {
	case "function", "procedure":
		j.Leaves = leaves(j.body()) || j.foreignLanguage()
		j.target(next, "makes")
	case "index":
		j.onTarget(next)
	case "trigger", "policy", "rule":
		j.onTarget(next)
	case "table", "foreign table":
		j.Deferred = len(Follow(j.sql, "initially", "deferred")) > 0
		j.Writes = j.Writes || slices.ContainsFunc(j.tokens, func(t Token) bool { return t.Is("select") })
		j.target(j.skipIf(next), "makes")
	case "view":
		j.Writes = true
		j.target(j.skipIf(next), "makes")
	default:
		j.target(j.skipIf(next), "makes")
	}
}

// extension reads CREATE EXTENSION name [WITH] [SCHEMA s] [VERSION v] [CASCADE].
func (j *judge) extension(i int) {
	j.OfDatabase = true
	j.Extension.Name = j.at(i).Name()
	for i++; i < len(j.tokens); i++ {
		switch {
		case j.has(i, "schema"):
			j.Extension.Schema = j.at(i + 1).Name()
		case j.has(i, "version"):
			if j.Extension.Version = j.at(i + 1).Name(); j.at(i+1).Kind == String {
				j.Extension.Version = unquoted(j.at(i + 1).Text)
			}
		case j.has(i, "cascade"):
			j.Extension.Cascade = true
		}
	}
}

func (j *judge) alter() {
	kind, next := j.kindAt()
	switch {
	case kind == "extension":
		j.refuse(RuleExtension, "ALTER EXTENSION: it belongs to the whole database; change it once, outside of the tenants' migrations")
	case j.cluster(kind, next):
		return
	case kind == "type" && len(Follow(j.sql, "add", "value")) > 0:
		j.Apart = true
	case len(Follow(j.sql, "set", "schema")) > 0:
		j.refuse(RuleOtherSchema, "SET SCHEMA moves the object out of the tenant's schema")
	}
	if kind == "table" {
		j.Deferred = len(Follow(j.sql, "initially", "deferred")) > 0
	}
	switch kind {
	case "trigger", "policy", "rule":
		j.onTarget(next)
	case "privileges": // ALTER DEFAULT PRIVILEGES, within the path or IN SCHEMA
		if at := Follow(j.sql, "in", "schema"); len(at) > 0 {
			j.refuse(RuleOtherSchema, "ALTER DEFAULT PRIVILEGES IN SCHEMA names a schema, and every tenant has its own")
		}
	default:
		j.target(j.skipIf(next), "changes")
	}
}

func (j *judge) drop() {
	kind, next := j.kindAt()
	switch {
	case kind == "extension":
		j.OfDatabase = true
		j.refuse(RuleExtension, "DROP EXTENSION: every tenant uses it; drop it once, outside of the tenants' migrations")
		return
	case kind == "owned":
		j.refuse(RuleCluster, "DROP OWNED drops what belongs to other tenants too")
		return
	case j.cluster(kind, next):
		return
	case kind == "trigger", kind == "policy", kind == "rule":
		j.onTarget(next)
		return
	}
	j.targets(j.skipIf(next), "drops")
}

// targets looks at each name of a list.
func (j *judge) targets(i int, what string) {
	j.target(i, what)
	depth := 0
	for ; i < len(j.tokens); i++ {
		switch {
		case j.at(i).Is("("):
			depth++
		case j.at(i).Is(")"):
			depth--
		case depth == 0 && j.at(i).Is(","):
			j.target(j.skipIf(i+1), what)
		}
	}
}

func (j *judge) grant() {
	if len(Follow(j.sql, "in", "schema"))+len(Follow(j.sql, "on", "schema")) > 0 {
		j.refuse(RuleOtherSchema, "%s names a schema, and every tenant has its own", strings.ToUpper(j.at(0).Text))
		return
	}
	for i, t := range j.tokens {
		if !t.Is("on") {
			continue
		}
		for i++; slices.Contains(grantKinds, strings.ToLower(j.at(i).Text)) && !j.has(i+1, "."); i++ {
		}
		j.grantTargets(i)
		return
	}
}

// grantKinds are words that stand between ON and the first name of a GRANT.
var grantKinds = []string{"table", "sequence", "function", "procedure", "routine", "type", "domain", "parameter"}

// grantTargets looks at the names up to TO or FROM.
func (j *judge) grantTargets(i int) {
	depth, first := 0, true
	for ; i < len(j.tokens) && !(depth == 0 && (j.has(i, "to") || j.has(i, "from"))); i++ {
		switch t := j.at(i); {
		case first, depth == 0 && j.has(i-1, ","):
			j.target(i, "grants on")
			first = false
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		}
	}
}

// onTarget looks at the table that an index, a trigger, a policy or a rule is on.
func (j *judge) onTarget(i int) {
	for ; i < len(j.tokens); i++ {
		switch {
		case j.has(i, "on", "delete"), j.has(i, "on", "update"), j.has(i, "on", "insert"), j.has(i, "on", "select"):
		case j.has(i, "to") && slices.ContainsFunc(j.tokens[:i], func(t Token) bool { return t.Is("rule") }):
			j.target(i+1, "is on")
			return
		case j.has(i, "on"):
			j.target(j.skipIf(i+1), "is on")
			return
		}
	}
}

// target refuses a name with a schema, which is not the tenant's: no file knows that
// one. Temporary objects have a schema of their own.
func (j *judge) target(i int, what string) {
	name, object := j.at(i).Name(), j.at(i+2).Name()
	if name == "" || object == "" || !j.at(i+1).Is(".") || j.at(i).Is("(") {
		return
	}
	if j.has(i+3, ".") && j.at(i+4).Name() != "" { // database.schema.object
		name, object = object, j.at(i+4).Name()
	}
	if name == "pg_temp" {
		j.Session = true
		return
	}
	j.refuse(RuleOtherSchema, "it %s %s.%s, and every tenant has a schema of its own: leave %q out, or do it once, outside of the tenants' migrations",
		what, name, object, name+".")
}

// anywhere goes by what stands anywhere in the command. What a routine or a rule would
// write is no work of the migration's.
func (j *judge) anywhere() {
	code := j.has(0, "create") && (j.made("function") || j.made("procedure") || j.made("rule"))
	for i, t := range j.tokens {
		switch {
		case t.Name() == "pg_temp" && j.has(i+1, "."):
			j.Session = true
		case code:
		case t.Is("into") && (j.has(i-1, "insert") || j.has(i-1, "merge")),
			t.Is("from") && j.has(i-1, "delete"):
			j.Writes = true
			j.target(j.skipIf(i+1), "writes to")
		case t.Is("into") && !j.block && (j.has(0, "select") || j.has(0, "with")):
			j.into(i + 1)
		case t.Is("refresh") && j.has(i+1, "materialized"):
			j.target(j.skipIf(i+3), "changes")
		case t.Is("update") && j.updates(i):
			j.Writes = true
			j.target(j.skipIf(i+1), "writes to")
		case j.has(i+1, "(") && j.callable(i):
			j.call(i)
		}
	}
	switch {
	case j.has(0, "truncate", "table"), j.has(0, "lock", "table"):
		j.targets(j.skipIf(2), "changes")
	case j.has(0, "truncate"):
		j.targets(j.skipIf(1), "changes")
	case j.has(0, "import", "foreign", "schema"):
		j.refuse(RuleOtherSchema, "IMPORT FOREIGN SCHEMA names the schema it makes tables in, and every tenant has its own: use CREATE FOREIGN TABLE")
	case j.has(0, "comment", "on"):
		j.comment()
	case j.has(0, "do"):
		j.inBlock()
	}
	if guard := catalogGuard(j.sql); guard != "" {
		j.refuse(RuleCatalogGuard, "%s", guard)
	}
}

// made reports whether the command makes an object of a kind.
func (j *judge) made(kind string) bool {
	made, _ := j.kindAt()
	return made == kind
}

// into reads what SELECT ... INTO makes.
func (j *judge) into(i int) {
	for slices.Contains([]string{"temporary", "temp", "unlogged", "local", "global", "table"}, strings.ToLower(j.at(i).Text)) && !j.has(i+1, ".") {
		j.Session = j.Session || j.has(i, "temp") || j.has(i, "temporary")
		i++
	}
	j.target(i, "makes")
}

// inBlock judges the statements in the body of a DO, as far as they stand there as text:
// it runs once, now. What it says of the session is found elsewhere.
func (j *judge) inBlock() {
	body := j.body()
	for _, text := range blockStatements(body) {
		inner := judge{sql: text, tokens: Tokens(text), block: true}
		if len(inner.tokens) == 0 {
			continue
		}
		inner.command()
		inner.anywhere()
		j.Apart = j.Apart || inner.Apart && inner.has(0, "alter")
		switch r := inner.Refusal; {
		case inner.Extension.Name != "" && j.Extension.Name == "" && len(Follow(text, "if", "not", "exists")) > 0:
			j.Extension = inner.Extension // it is there when the block asks
		case inner.Extension.Name != "":
			j.refuse(RuleExtension, "CREATE EXTENSION in a DO would make it in the tenant's schema: write it as a statement of its own, and it is made once for the database")
		case r != nil && r.Rule != RuleTransaction && r.Rule != RuleCatalogGuard && r.Rule != RuleCopy && !(r.Rule == RuleSession && inner.has(0, "reset")):
			j.refuse(r.Rule, "%s", r.Reason)
		}
	}
}

// blockStatements cuts the body of a block of PL/pgSQL where a statement may begin.
func blockStatements(body string) []string {
	var out []string
	start, brackets := 0, 0
	for _, t := range Tokens(body) {
		switch {
		case t.Is("("):
			brackets++
		case t.Is(")"):
			brackets--
		case t.Is(";"):
			out = append(out, body[start:t.Offset])
			start, brackets = t.End(), 0
		case brackets <= 0 && (t.Is("begin") || t.Is("then") || t.Is("else") || t.Is("loop")):
			start = t.End()
		}
	}
	return append(out, body[start:])
}

// updates reports whether UPDATE is the command and not a part of another.
func (j *judge) updates(i int) bool {
	return !j.has(i-1, "for") && !j.has(i-1, "on") && !j.has(i-1, "do") && !j.has(i-1, "or") && !j.has(i-1, "key") &&
		!j.has(i-1, ",") && !j.at(0).Is("grant") && !j.at(0).Is("revoke") && !j.has(i-1, "before") && !j.has(i-1, "after")
}

func (j *judge) comment() {
	switch {
	case j.has(2, "extension"):
		j.OfDatabase = true // what pg_dump writes
	case j.has(2, "database"), j.has(2, "role"), j.has(2, "schema"):
		return // harmless, and what pg_dump writes
	case j.has(2, "column"): // [schema.]table.column
		if j.has(4, ".") && j.has(6, ".") {
			j.target(3, "changes")
		}
	case j.has(2, "trigger"), j.has(2, "policy"), j.has(2, "rule"), j.has(2, "constraint"):
		j.onTarget(4)
	case j.has(2, "materialized"), j.has(2, "foreign"):
		j.target(4, "changes")
	default:
		j.target(3, "changes")
	}
}

// callable reports whether a name with a bracket behind it may be a call.
func (j *judge) callable(i int) bool {
	return j.at(i).Name() != "" && !j.has(i-1, "into") && !j.has(i-1, "references") && !j.has(i-1, "table")
}

// call looks at the server's own functions that change the session.
func (j *judge) call(i int) {
	name := j.at(i).Name()
	switch name {
	case "set_config":
		j.setConfig(i)
	case "setval":
		j.setval(i)
	}
	j.Session = j.Session || leavingFunctions[name]
}

// leavingFunctions change the session, or read what an earlier statement left in it.
var leavingFunctions = map[string]bool{
	"pg_advisory_lock": true, "pg_advisory_lock_shared": true, "pg_try_advisory_lock": true, "pg_try_advisory_lock_shared": true,
	"lastval": true, "setseed": true, "set_limit": true, "dblink_connect": true, "dblink_connect_u": true, "dblink_open": true,
}

// setval writes to the sequence that it names.
func (j *judge) setval(i int) {
	if name := Tokens(unquoted(j.at(i + 2).Text)); j.at(i+2).Kind == String && len(name) == 3 && name[1].Is(".") {
		inner := judge{tokens: name}
		inner.target(0, "writes to")
		if inner.Refusal != nil {
			j.refuse(RuleOtherSchema, "%s", inner.Refusal.Reason)
		}
	}
}

// setConfig reads set_config(name, value, is_local).
func (j *judge) setConfig(i int) {
	name := ""
	for n := i + 2; n < len(j.tokens) && name == "" && !j.has(n, ")"); n++ { // the argument may be named
		if j.at(n).Kind == String {
			name = strings.ToLower(unquoted(j.at(n).Text))
		}
	}
	switch name {
	case "search_path":
		j.refuse(RuleSearchPath, "set_config('search_path', ...): a migration runs in the tenant's schema and must stay there")
	case "role", "session_authorization":
		j.refuse(RuleSession, "set_config('%s', ...): a migration runs as the role the run was started with", name)
	}
	j.Session, j.Apart = true, true
}

// body returns the strings of the command, in one of which the body of a routine
// stands, and the body of an SQL-standard function.
func (j *judge) body() string {
	var b strings.Builder
	for _, t := range j.tokens {
		if t.Kind == String {
			b.WriteString(unquoted(t.Text))
			b.WriteString(";\n")
		}
	}
	if at := Follow(j.sql, "begin", "atomic"); len(at) > 0 {
		b.WriteString(j.sql[at[0]:])
	}
	return b.String()
}

// unquoted takes the quotes off a string.
func unquoted(text string) string {
	if strings.HasPrefix(text, "$") {
		n := strings.IndexByte(text[1:], '$') + 2
		if len(text) >= 2*n {
			return text[n : len(text)-n]
		}
		return text[n:]
	}
	_, inner, _ := strings.Cut(text, "'")
	return strings.ReplaceAll(strings.TrimSuffix(inner, "'"), "''", "'")
}

// foreignLanguage reports whether a routine is written in what this package cannot read.
func (j *judge) foreignLanguage() bool {
	for i, t := range j.tokens {
		if t.Is("language") {
			name := strings.ToLower(strings.Trim(j.at(i+1).Text, `'"`))
			return name != "sql" && name != "plpgsql"
		}
	}
	return false
}

// leaves reports whether the body of a routine may leave something in the session. It
// would rather say so too often: a session of its own is all that it costs.
func leaves(body string) bool {
	tokens := Tokens(body)
	for i, t := range tokens {
		before := Token{}
		if i > 0 {
			before = tokens[i-1]
		}
		switch name := t.Name(); {
		case name == "set_config", leavingFunctions[name], name == "pg_temp", strings.HasPrefix(name, "dblink"):
			return true
		case t.Is("temp"), t.Is("temporary"), t.Is("prepare"), t.Is("deallocate"), t.Is("listen"), t.Is("unlisten"), t.Is("load"), t.Is("hold"):
			return true
		case t.Is("execute") && !before.Is("each") && !before.Is("row") && !before.Is("statement"):
			return true // what it runs is made at run time
		case t.Is("set") && (i == 0 || before.Is(";") || before.Is("begin") || before.Is("then") || before.Is("else") || before.Is("loop")):
			return true
		}
	}
	return false
}
