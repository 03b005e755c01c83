package anonymize

import "strings"

// Rule returns the replacement of a value.
type Rule func(d *Values, value []byte) []byte

// knownColumns says what stands in the columns of a CRM.
func knownColumns() map[string]Rule {
	return map[string]Rule{
		"contacts.email":        (*Values).Email,
		"contacts.phone":        (*Values).Phone,
		"contacts.name":         (*Values).Name,
		"contacts.company":      (*Values).Company,
		"conversations.channel": (*Values).Label,
		"conversations.status":  (*Values).Label,
		"conversations.subject": (*Values).Words,
		"messages.direction":    (*Values).Label,
		"messages.sender":       (*Values).Guess,
		"messages.content":      (*Values).Words,
	}
}

// RuleOf says what becomes of a column, nil where it stays; typ is its type as the server
// writes it, class the category of that. What is not known by name goes by its type: what
// cannot tell anything about a person stays, text and JSON of a CRM's own tables is
// replaced, and of everything else nobody knows: ok is false.
func RuleOf(table, column, typ, class string) (rule Rule, ok bool) {
	if rule, ok := knownColumns()[table+"."+column]; ok {
		return rule, true
	}
	own := table == "contacts" || table == "conversations" || table == "messages"
	switch {
	case class == "B", class == "E", typ == "uuid", typ == "smallint", typ == "integer", typ == "bigint",
		strings.HasPrefix(typ, "timestamp"):
		return nil, true
	case own && class == "S":
		return (*Values).Guess, true
	case own && (typ == "jsonb" || typ == "json"):
		return (*Values).Emptied, true
	}
	return nil, false
}
