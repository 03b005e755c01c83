package sqltext

import (
	"slices"
	"strings"
)

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
		"global", "local", "temporary", "temp", "unlogged", "unique", "materialized", "recursive", "trusted", "procedural",
		"constraint", "default",
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
		j.refuse(RuleOtherSchema, "%s SCHEMA %s: a migration belongs to the tenant's own schema; make what all tenants "+
			"share once, outside of their migrations",
			strings.ToUpper(j.at(0).Text), j.at(j.skipIf(next)).Name())
	case slices.Contains(clusterKinds, kind):
		j.refuse(RuleCluster, "%s %s: it belongs to no tenant's schema, and the second tenant would meet what the first "+
			"one did; do it once, outside of the tenants' migrations",
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
		if i := j.skipIf(next); !j.has(i, "on") {
			j.touch(j.at(i).Name(), "makes")
		}
		j.onTarget(next)
	case "trigger", "policy", "rule":
		j.onTarget(next)
	case "table", "foreign table":
		j.Deferred = len(Follow(j.sql, "initially", "deferred")) > 0
		j.Writes = j.Writes || slices.ContainsFunc(j.tokens, func(t Token) bool { return t.Is("select") })
		j.target(j.skipIf(next), "makes")
		j.keys()
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
		j.refuse(RuleExtension, "ALTER EXTENSION: it belongs to the whole database; change it once, outside of the "+
			"tenants' migrations")
	case j.cluster(kind, next):
		return
	case kind == "type" && len(Follow(j.sql, "add", "value")) > 0:
		if v, ok := j.addedValue(); ok {
			j.Values = append(j.Values, v)
		} else {
			j.Apart = true
		}
	case len(Follow(j.sql, "set", "schema")) > 0:
		j.refuse(RuleOtherSchema, "SET SCHEMA moves the object out of the tenant's schema")
	}
	if kind == "table" {
		j.Deferred = len(Follow(j.sql, "initially", "deferred")) > 0
		j.keys()
	}
	switch kind {
	case "trigger", "policy", "rule":
		j.onTarget(next)
	case "privileges": // ALTER DEFAULT PRIVILEGES, within the path or IN SCHEMA
		if at := Follow(j.sql, "in", "schema"); len(at) > 0 {
			j.refuse(RuleOtherSchema, "ALTER DEFAULT PRIVILEGES IN SCHEMA %s", ownSchema)
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

// ownSchema says what to do about a command that wants the name of a schema.
const ownSchema = "names a schema, and every tenant has its own: in a DO block, EXECUTE format('... schema %I ...', " +
	"current_schema()) takes the tenant's"

func (j *judge) grant() {
	if len(Follow(j.sql, "in", "schema"))+len(Follow(j.sql, "on", "schema")) > 0 {
		way := ownSchema
		if len(Follow(j.sql, "in", "schema")) > 0 {
			way += "; or name each table"
		}
		j.refuse(RuleOtherSchema, "%s %s", strings.ToUpper(j.at(0).Text), way)
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
		j.touch(name, what)
		return
	}
	if j.has(i+3, ".") && j.at(i+4).Name() != "" { // database.schema.object
		name, object = object, j.at(i+4).Name()
	}
	if name == "pg_temp" {
		j.Session = true
		return
	}
	j.refuse(RuleOtherSchema, "it %s %s.%s, and every tenant has a schema of its own: leave %q out, or do it once, "+
		"outside of the tenants' migrations",
		what, name, object, name+".")
}
