package sqltext

import (
	"slices"
	"strings"
)

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
		j.refuse(RuleOtherSchema, "IMPORT FOREIGN SCHEMA names the schema it makes tables in, and every tenant has its "+
			"own: use CREATE FOREIGN TABLE")
	case j.has(0, "comment", "on"):
		j.comment()
	case j.has(0, "do"):
		j.inBlock()
	}
	if guard := catalogGuard(j.sql); guard != "" {
		j.refuse(RuleCatalogGuard, "%s", guard)
	}
	if guard := GuardOfSchema(j.sql); guard != nil && !guard.Absent {
		j.refuse(RuleCatalogGuard, "%s", guard.Reason)
	}
}

// made reports whether the command makes an object of a kind.
func (j *judge) made(kind string) bool {
	made, _ := j.kindAt()
	return made == kind
}

// into reads what SELECT ... INTO makes.
func (j *judge) into(i int) {
	for slices.Contains([]string{"temporary", "temp", "unlogged", "local", "global", "table"},
		strings.ToLower(j.at(i).Text)) && !j.has(i+1, ".") {
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
		j.Apart = j.Apart || inner.Apart && inner.has(0, "alter") || inner.has(0, "set") || inner.has(0, "reset")
		j.Values = append(j.Values, inner.Values...)
		switch r := inner.Refusal; {
		case inner.Extension.Name != "" && j.Extension.Name == "" && len(Follow(text, "if", "not", "exists")) > 0:
			j.Extension = inner.Extension // it is there when the block asks
		case inner.Extension.Name != "":
			j.refuse(RuleExtension, "CREATE EXTENSION in a DO would make it in the tenant's schema: write it as a statement "+
				"of its own, and it is made once for the database")
		case r != nil && r.Rule != RuleTransaction && r.Rule != RuleCatalogGuard && r.Rule != RuleCopy &&
			!(r.Rule == RuleSession && inner.has(0, "reset")):
			j.refuse(r.Rule, "%s", r.Reason)
		}
	}
	if len(j.Values) == 0 && addsSomewhere(body) {
		j.Apart = true
	}
}

// addsSomewhere reports whether a value is added to an enum in a text that is executed.
func addsSomewhere(body string) bool {
	tokens := everyToken(body)
	for i := range tokens[:max(0, len(tokens)-1)] {
		if tokens[i].Is("add") && tokens[i+1].Is("value") {
			return true
		}
	}
	return false
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
	"pg_advisory_lock": true, "pg_advisory_lock_shared": true, "pg_try_advisory_lock": true,
	"pg_try_advisory_lock_shared": true,
	"lastval":                     true, "setseed": true, "set_limit": true, "dblink_connect": true,
	"dblink_connect_u": true,
	"dblink_open":      true,
}

// setval writes to the sequence that it names.
func (j *judge) setval(i int) {
	if name := Tokens(unquoted(j.at(i + 2).Text)); j.at(i+2).Kind == String && len(name) == 3 && name[1].Is(".") {
		inner := judge{tokens: name}
		inner.target(0, "writes to")
		if inner.Refusal != nil {
			j.refuse(RuleOtherSchema, "%s", inner.Refusal.Reason)
		}
	} else if j.at(i+2).Kind == String && len(name) == 1 {
		j.touch(name[0].Name(), "writes to")
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
		j.refuse(RuleSearchPath, "set_config('search_path', ...): a migration runs in the tenant's schema and must stay "+
			"there; "+leavePath)
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
		case t.Is("temp"), t.Is("temporary"), t.Is("prepare"), t.Is("deallocate"), t.Is("listen"), t.Is("unlisten"),
			t.Is("load"), t.Is("hold"):
			return true
		case t.Is("execute") && !before.Is("each") && !before.Is("row") && !before.Is("statement"):
			return true // what it runs is made at run time
		case t.Is("set") && (i == 0 || before.Is(";") || before.Is("begin") || before.Is("then") || before.Is("else") ||
			before.Is("loop")):
			return true
		}
	}
	return false
}
