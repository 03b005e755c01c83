package lint

import "strings"

// olderSyntax writes what PostgreSQL 18 added to tables in the words of 17, at
// the same length, so that positions stay true. The rules lose nothing by it: a
// constraint that is not enforced blocks as little as one that is not valid,
// and a virtual column is read like a stored one.
func olderSyntax(s *statement) (string, bool) {
	text := []byte(s.sql)
	put := func(from, to token, word string) {
		a, b := from.start-s.start, to.end-s.start
		if len(word) <= b-a {
			copy(text[a:b], word+strings.Repeat(" ", b-a-len(word)))
		}
	}
	changed := false
	t := s.tokens()
	at := func(i int) token {
		if i < 0 || i >= len(t) {
			return token{}
		}
		return t[i]
	}
	for i := range t {
		before := changed
		changed = true
		switch {
		case t[i].is("virtual") && at(i-1).text == ")":
			put(t[i], t[i], "stored")
		case t[i].is("not") && at(i+1).is("enforced") && s.begins("alter"):
			put(t[i], at(i+1), "not valid")
		case t[i].is("not") && at(i+1).is("enforced"):
			put(t[i], at(i+1), "")
		case t[i].is("enforced") && !at(i-1).is("not"):
			put(t[i], t[i], "")
		case t[i].is("without") && at(i+1).is("overlaps"):
			put(t[i], at(i+1), "")
		case t[i].is("period") && (at(i-1).text == "," || at(i-1).text == "("):
			put(t[i], t[i], "")
		case t[i].is("not") && at(i+1).is("null") && s.begins("alter") && (at(i-1).is("add") || at(i-2).is("constraint")):
			put(t[i], at(i+2), "check ("+at(i+2).text+")")
		default:
			changed = before
		}
	}
	return string(text), changed
}
