package sqltext

import (
	"slices"
	"strings"
)

// Value is what ALTER TYPE ... ADD VALUE adds to an enum. PostgreSQL takes it in a
// transaction, and lets nobody use the value before that ends.
type Value struct {
	Type  string
	Label string
}

// addedValue reads ALTER TYPE name ADD VALUE [IF NOT EXISTS] 'label'.
func (j *judge) addedValue() (Value, bool) {
	if !j.has(0, "alter", "type") {
		return Value{}, false
	}
	i := 2
	if j.has(i+1, ".") {
		i += 2
	}
	v := Value{Type: j.at(i).Name()}
	if !j.has(i+1, "add", "value") {
		return Value{}, false
	}
	label := j.at(j.skipIf(i + 3))
	if label.Kind != String || escaped(label) {
		return Value{}, false
	}
	v.Label = unquoted(label.Text)
	return v, true
}

// escaped reports whether a string may mean something else than what stands there.
func escaped(t Token) bool {
	return t.Kind == String && strings.ContainsRune("eEuU", rune(t.Text[0])) && strings.Contains(t.Text, `\`)
}

// Usage is a command that is asked for the values of enums that it may use. A value is
// used where a text becomes one, when the command is read or when it runs.
type Usage struct {
	judge

	strings []string
	rows    string // of constants, which are not taken apart
	names   map[string]bool
	unsure  bool
}

// NewUsage reads a command.
func NewUsage(sql string) *Usage {
	sql, rows := withoutRows(sql)
	u := &Usage{judge: judge{sql: sql, tokens: Tokens(sql), transactional: true}, rows: rows, names: map[string]bool{}}
	u.command()
	u.anywhere()
	for _, t := range everyToken(sql) {
		switch {
		case t.Kind == String:
			u.strings = append(u.strings, unquoted(t.Text))
			u.unsure = u.unsure || escaped(t)
		case t.Name() != "":
			u.names[t.Name()] = true
		}
	}
	return u
}

// Alias returns the name of a type that the command makes of one of the given types, or
// that it renames one of them to; "" for none.
func (u *Usage) Alias(types []string) string {
	switch {
	case !u.has(0, "create", "domain") && !u.has(0, "create", "type") && !u.has(0, "alter", "type"), !u.namesOne(types):
		return ""
	case u.has(0, "create"):
		return u.at(u.skipIf(2)).Name()
	}
	if at := Follow(u.sql, "rename", "to"); len(at) > 0 {
		return u.at(len(trimmed(u.tokens)) - 1).Name()
	}
	return ""
}

// Carries reports whether the command makes a routine that may use a value, whoever calls
// it, through a trigger too.
func (u *Usage) Carries(label string, types []string) bool {
	return u.has(0, "create") && (u.made("function") || u.made("procedure")) &&
		(u.unsure || u.names["execute"] || u.foreignLanguage() || u.namesOne(types) || u.says(label))
}

// Uses reports whether the command may use a value; where its words do not tell, it may.
// types are the names of the enum and of what is made of it. carried tells that there may
// be routines that use it.
func (u *Usage) Uses(label string, types []string, carried bool) bool {
	if _, adds := u.addedValue(); adds {
		return false
	}
	switch {
	case slices.ContainsFunc([]string{"comment", "grant", "revoke", "drop"}, u.at(0).Is):
		return false
	case slices.ContainsFunc([]string{"do", "call", "execute", "copy"}, u.at(0).Is):
		return true
	case u.unsure, u.says(label), carried && u.Writes:
		return true
	case u.makesRoutine():
		return false
	}
	return u.converts(types)
}

// makesRoutine reports whether the command makes code that runs later.
func (u *Usage) makesRoutine() bool {
	return u.has(0, "create") && slices.ContainsFunc([]string{"function", "procedure", "aggregate", "trigger", "policy",
		"rule"}, u.made)
}

// converts reports whether the command may turn a text that does not stand in it into a
// value of one of the types.
func (u *Usage) converts(types []string) bool {
	for name := range u.names {
		if slices.Contains([]string{"enum_first", "enum_last", "enum_range"}, name) ||
			strings.Contains(name, "populate_record") || strings.Contains(name, "to_record") {
			return true
		}
	}
	word := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return slices.ContainsFunc(u.tokens, func(t Token) bool { return t.Is(w) })
		})
	}
	switch {
	case !u.namesOne(types), u.has(0, "alter", "type"), u.has(0, "create", "type"), u.has(0, "create", "domain"),
		u.has(0, "alter", "function"):
		return false
	case u.has(0, "create") && (u.made("table") || u.made("view")) && !u.has(1, "materialized"):
		return u.made("table") && word("select", "values", "execute")
	case u.has(0, "alter", "table"):
		return word("using", "cast", "generated", "check", ":") || len(Follow(u.sql, "set", "data", "type")) > 0 ||
			u.altersType()
	}
	return true
}

// altersType reports whether ALTER TABLE gives a column another type.
func (u *Usage) altersType() bool {
	return slices.ContainsFunc(u.tokens[min(2, len(u.tokens)):], func(t Token) bool { return t.Is("alter") }) &&
		slices.ContainsFunc(u.tokens, func(t Token) bool { return t.Is("type") })
}

func (u *Usage) namesOne(types []string) bool {
	return slices.ContainsFunc(types, func(name string) bool { return u.names[name] })
}

// says reports whether a label stands in one of the strings, alone or as a word of it: in
// an array, a row, a routine's body.
func (u *Usage) says(label string) bool {
	if label == "" {
		return len(u.strings) > 0 || strings.Contains(u.rows, "'")
	}
	return slices.ContainsFunc(u.strings, func(text string) bool { return hasWord(text, label) }) ||
		hasWord(u.rows, strings.ReplaceAll(label, "'", "''"))
}

// hasWord reports whether a text holds a word that is no part of a longer one.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		before := start > 0 && isName(text[start-1]) && isName(word[0])
		after := end < len(text) && isName(text[end]) && isName(word[len(word)-1])
		if !before && !after {
			return true
		}
		from = start + 1
	}
}
