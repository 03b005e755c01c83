package sqltext

import "strings"

// Touched are the names without a schema that a command makes, changes (their rows, their
// rights and their definitions) and drops, as far as its text tells.
type Touched struct{ Makes, Changes, Drops []string }

// Touches reads one command. What it drops it changes too. Every name in a block of
// PL/pgSQL counts as made: what the block runs may be put together there.
func Touches(sql string) Touched {
	sql, _ = withoutRows(sql)
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

// keys reads the constraints that have an index, which has their name.
func (j *judge) keys() {
	for i := range j.tokens {
		if j.has(i, "constraint") && (j.has(i+2, "unique") || j.has(i+2, "primary", "key") || j.has(i+2, "exclude")) {
			j.touch(j.at(i+1).Name(), "makes")
		}
	}
}

// IsNamedAfter reports whether a name is what the server gives to an index, or to the
// sequence of a serial column, of one of the tables.
func IsNamedAfter(name string, tables map[string]bool) bool {
	if table, is := strings.CutSuffix(name, "_pkey"); is && tables[table] {
		return true
	}
	for _, suffix := range []string{"_seq", "_idx", "_key", "_excl"} {
		table, is := strings.CutSuffix(strings.TrimRight(name, "0123456789"), suffix)
		for is {
			at := strings.LastIndexByte(table, '_')
			if at < 0 {
				break
			}
			if table = table[:at]; tables[table] {
				return true
			}
		}
	}
	return false
}
