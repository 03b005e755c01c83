package sqltext

import "strings"

// Touched are the names without a schema that a command makes, changes (their rows, their
// rights and their definitions) and drops, as far as its text tells.
type Touched struct{ Makes, Changes, Drops []string }

// Touches reads one command. What it drops it changes too. Every name in a block of
// PL/pgSQL counts as made: what the block runs may be put together there.
func Touches(sql string) Touched {
	j := judge{sql: sql, tokens: Tokens(sql), transactional: true}
	switch {
	case len(j.tokens) == 0:
		return Touched{}
	case j.has(0, "do"):
		return Touched{Makes: Names(sql)}
	}
	j.command()
	j.anywhere()
	if at := Follow(sql, "rename", "to"); j.has(0, "alter") && len(at) > 0 {
		j.renames()
	}
	return j.touched
}

// renames reads ALTER ... RENAME TO: the old name is gone.
func (j *judge) renames() {
	for i := range j.tokens {
		if j.has(i, "rename", "to") {
			j.touch(j.at(i+2).Name(), "makes")
		}
	}
	if kind, _ := j.kindAt(); kind != "trigger" && kind != "policy" && kind != "rule" {
		j.touched.Drops = append(j.touched.Drops, j.touched.Changes...)
	}
}

func (j *judge) touch(name, what string) {
	if name == "" {
		return
	}
	switch what {
	case "makes":
		j.touched.Makes = append(j.touched.Makes, name)
		return
	case "drops":
		j.touched.Drops = append(j.touched.Drops, name)
	}
	j.touched.Changes = append(j.touched.Changes, name)
}

// IsSequenceOf reports whether a name is what the server gives to the sequence of a serial
// column of one of the tables.
func IsSequenceOf(name string, tables map[string]bool) bool {
	table, is := strings.CutSuffix(name, "_seq")
	for is {
		at := strings.LastIndexByte(table, '_')
		if at < 0 {
			return false
		}
		if table = table[:at]; tables[table] {
			return true
		}
	}
	return false
}
