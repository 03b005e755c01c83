package sqltext

import (
	"slices"
	"strings"
)

// Lasting is what a command leaves in its session, for the commands after it, where each
// is committed by itself.
type Lasting struct {
	// Again tells that the command may run once more in another session, which then has
	// what this one had: SET, PREPARE, LISTEN.
	Again bool
	// Gone says what another session cannot be given by the command alone: "a temporary
	// object", "a setting". It is "" where there is no such thing.
	Gone string
	// Name is the temporary object's; "" = whatever comes after may need it.
	Name string
}

// Lasts tells what a command leaves in its session. A procedure is taken to leave
// nothing: what it calls is not in sight.
func Lasts(sql string) Lasting {
	j := judge{sql: sql, tokens: Tokens(sql)}
	switch {
	case len(j.tokens) == 0, j.has(0, "set", "local"), j.has(0, "set", "constraints"), j.has(0, "set", "transaction"):
		return Lasting{}
	case slices.ContainsFunc([]string{"set", "reset", "prepare", "deallocate", "listen", "unlisten", "load"}, j.at(0).Is):
		return Lasting{Again: true}
	case j.has(0, "declare") && len(Follow(sql, "with", "hold")) > 0:
		return Lasting{Gone: "a cursor", Name: j.at(1).Name()}
	case j.has(0, "do"):
		if len(settingsIn(j.body())) > 0 {
			return Lasting{Gone: "a setting"}
		}
	case j.has(0, "select"), j.has(0, "with"), j.has(0, "values"):
		return j.lastingCall()
	case j.has(0, "create"):
		return j.lastingObject()
	}
	return Lasting{}
}

// lastingCall looks at a query for the functions that change the session.
func (j *judge) lastingCall() Lasting {
	var calls, other bool
	for i, t := range j.tokens {
		switch {
		case j.has(i, "into") && (j.has(i+1, "temp") || j.has(i+1, "temporary")):
			n := i + 2
			if j.has(n, "table") {
				n++
			}
			return Lasting{Gone: "a temporary object", Name: j.at(n).Name()}
		case !j.has(i+1, "(") || t.Name() == "":
		case t.Name() == "set_config", leavingFunctions[t.Name()]:
			calls = true
		default:
			other = other || !slices.Contains([]string{"current_setting", "concat", "format", "coalesce"}, t.Name())
		}
	}
	switch {
	case !calls:
		return Lasting{}
	case other, slices.ContainsFunc(j.tokens, func(t Token) bool {
		return t.Is("from") || t.Is("insert") || t.Is("update") || t.Is("delete")
	}):
		return Lasting{Gone: "a setting"}
	}
	return Lasting{Again: true}
}

// lastingObject looks for an object that goes with its session.
func (j *judge) lastingObject() Lasting {
	_, next := j.kindAt()
	name := j.skipIf(next)
	isTemp := func(t Token) bool { return t.Is("temp") || t.Is("temporary") }
	switch {
	case j.at(name).Name() == "pg_temp" && j.has(name+1, "."):
		return Lasting{Gone: "a temporary object", Name: j.at(name + 2).Name()}
	case slices.ContainsFunc(j.tokens[:min(len(j.tokens), next)], isTemp):
		return Lasting{Gone: "a temporary object", Name: j.at(name).Name()}
	}
	return Lasting{}
}

// Settings returns the names of the settings that a command outside of transactions
// changes for its session, in lower case, as far as its text shows them.
func Settings(sql string) []string {
	j := judge{sql: sql, tokens: Tokens(sql)}
	switch {
	case j.has(0, "set"), j.has(0, "reset"):
		return settingsIn(sql)
	case j.has(0, "do"):
		return settingsIn(j.body())
	}
	return nil
}

// Default reports whether a command gives a setting back its default.
func Default(sql string) bool {
	j := judge{tokens: Tokens(sql)}
	return j.has(0, "reset") || j.has(0, "set") && j.has(len(trimmed(j.tokens))-1, "default")
}

// trimmed takes off semicolons at the end.
func trimmed(tokens []Token) []Token {
	for len(tokens) > 0 && tokens[len(tokens)-1].Is(";") {
		tokens = tokens[:len(tokens)-1]
	}
	return tokens
}

// settingsIn returns the settings that the statements of a text change for the session.
func settingsIn(text string) []string {
	var out []string
	j := judge{tokens: Tokens(text)}
	begins := func(i int) bool {
		return i == 0 || slices.ContainsFunc([]string{";", "begin", "then", "else", "loop"}, j.at(i-1).Is)
	}
	for i, t := range j.tokens {
		switch {
		case (t.Is("set") || t.Is("reset")) && begins(i):
			out = append(out, j.lastingAt(i+1))
		case t.Name() == "set_config" && j.has(i+1, "(") && j.at(i+2).Kind == String && !j.localConfig(i+2):
			out = append(out, strings.ToLower(unquoted(j.at(i+2).Text)))
		}
	}
	return slices.DeleteFunc(out, func(name string) bool { return name == "" })
}

// lastingAt reads the name behind SET; "" where it is set for less than the session, or
// is none.
func (j *judge) lastingAt(i int) string {
	switch {
	case j.has(i, "local"), j.has(i, "constraints"), j.has(i, "transaction"):
		return ""
	case j.has(i, "session") && (j.has(i+1, "authorization") || j.has(i+1, "characteristics")):
		return ""
	case j.has(i, "session"):
		i++
	}
	if j.has(i, "seed") || j.has(i, "all") {
		return ""
	}
	name, _ := j.settingAt(i)
	return name
}

// localConfig reports whether set_config, whose first argument stands at i, ends with the
// transaction.
func (j *judge) localConfig(i int) bool {
	depth := 0
	for ; i < len(j.tokens); i++ {
		switch {
		case j.has(i, "("):
			depth++
		case j.has(i, ")") && depth == 0:
			return j.has(i-1, "true")
		case j.has(i, ")"):
			depth--
		}
	}
	return false
}
