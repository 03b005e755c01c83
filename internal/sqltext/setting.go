package sqltext

import (
	"slices"
	"strings"
)

// settingAt returns the name of the setting that stands at the i-th token of a SET or
// RESET, as the server lists it, and the index of the token behind it.
func (j *judge) settingAt(i int) (name string, next int) {
	switch {
	case j.has(i, "time", "zone"):
		return "timezone", i + 2
	case j.has(i, "xml", "option"):
		return "xmloption", i + 2
	case j.has(i, "names"):
		return "client_encoding", i + 1
	}
	name, next = strings.ToLower(j.at(i).Name()), i+1
	for j.at(next).Is(".") { // app.tenant
		name += "." + strings.ToLower(j.at(next+1).Name())
		next += 2
	}
	return name, next
}

// plainSet reads SET and SET SESSION of a file that is a transaction. What they set is
// local to the file (see LocalSetting), unless the file counts on more, or less.
func (j *judge) plainSet(i int) {
	name, next := j.settingAt(i)
	if j.has(next, "to") || j.has(next, "=") {
		next++
	}
	value := j.at(next).Name()
	if j.at(next).Kind == String {
		value = unquoted(j.at(next).Text)
	}
	switch encoding := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(value)); {
	case name == "session": // SESSION CHARACTERISTICS
		j.refuse(RuleSession, "SET SESSION CHARACTERISTICS is about the transactions after this one, which are other "+
			"tenants'; use SET TRANSACTION")
	case strings.HasPrefix(name, "transaction_") && name != "transaction_timeout":
		j.refuse(RuleSession, "SET %s: use SET TRANSACTION", name)
	case name == "client_encoding" && encoding != "utf8" && encoding != "unicode" && encoding != "default":
		j.refuse(RuleSession, "SET client_encoding: the file is sent as it stands, and it is in UTF-8; take it out, or "+
			"write UTF8")
	case name == "track_counts", strings.HasPrefix(name, "crmctl."):
		j.refuse(RuleSession, "SET %s: what watches over the migrations relies on it", name)
	case name == "seed":
		j.Session = true // cannot be read, so nobody can put it back
	default:
		j.Setting = name
	}
}

// LocalSetting returns a SET or RESET for which Judge gives a Setting in the form that
// ends with the transaction.
func LocalSetting(sql string) string {
	j := judge{sql: sql, tokens: Tokens(sql)}
	if len(j.tokens) < 2 {
		return sql
	}
	first := j.at(0)
	if j.has(0, "reset") {
		name, next := j.settingAt(1)
		written := sql[j.at(1).Offset:j.at(next-1).End()]
		if name == "timezone" {
			written = name
		}
		return sql[:first.Offset] + "SET LOCAL " + written + " TO DEFAULT" + sql[j.at(next-1).End():]
	}
	rest := first.End()
	if j.has(1, "session") {
		rest = j.at(1).End()
	}
	return sql[:first.End()] + " LOCAL" + sql[rest:]
}

// resettable reports whether RESET of a setting can be part of a migration. All would be
// the path and the role too.
func resettable(name string) bool {
	return name != "" && !slices.Contains([]string{"all", "role", "session", "track_counts"}, name) &&
		!strings.HasPrefix(name, "transaction_") &&
		!strings.HasPrefix(name, "crmctl.")
}
