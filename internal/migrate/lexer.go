package migrate

import (
	"fmt"
	"strings"
)

// command is one SQL command within a longer text.
type command struct {
	text   string
	offset int // bytes from the start of the text
}

// splitCommands cuts a text at its top-level semicolons, following PostgreSQL's
// lexical rules for strings, quoted identifiers, dollar quotes and comments. The
// semicolon stays with its command. A text with the body of an SQL-standard
// function (BEGIN ATOMIC … END) is not cut: the semicolons in it are part of it.
func splitCommands(text string) []command {
	if len(words(text, "begin", "atomic")) > 0 {
		return []command{{text: strings.TrimSpace(text), offset: len(text) - len(strings.TrimLeft(text, " \t\r\n"))}}
	}
	var out []command
	start := 0
	emit := func(end int) {
		from := skipBlank(text, start, end)
		if from < end && strings.Trim(text[from:end], "; \t\r\n") != "" {
			out = append(out, command{text: strings.TrimSpace(text[from:end]), offset: from})
		}
		start = end
	}
	for i := 0; i < len(text); {
		if n := quoted(text[i:]); n > 0 {
			i += n
			continue
		}
		i++
		if text[i-1] == ';' {
			emit(i)
		}
	}
	emit(len(text))
	return out
}

// skipBlank returns the position after white space and comments.
func skipBlank(text string, i, end int) int {
	for i < end {
		switch {
		case strings.ContainsRune(" \t\r\n\f", rune(text[i])):
			i++
		case strings.HasPrefix(text[i:], "--"), strings.HasPrefix(text[i:], "/*"):
			i += quoted(text[i:])
		default:
			return i
		}
	}
	return end
}

// quoted returns the length of the string, quoted identifier, dollar quote or
// comment that s starts with, or 0. One that is not closed runs to the end.
func quoted(s string) int {
	switch {
	case strings.HasPrefix(s, "--"):
		return until(s, 2, "\n")
	case strings.HasPrefix(s, "/*"):
		return blockComment(s)
	case s[0] == '\'', s[0] == '"':
		return until(s, 1, s[:1])
	case (s[0] == 'e' || s[0] == 'E') && len(s) > 1 && s[1] == '\'':
		return escapeString(s)
	case s[0] == '$':
		return dollarQuote(s)
	case isWordByte(s[0]):
		// A whole word at once, so that neither the e of an identifier nor the
		// $ in one starts anything.
		n := 1
		for n < len(s) && (isWordByte(s[n]) || s[n] == '$') {
			n++
		}
		return n
	}
	return 0
}

func until(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

// blockComment knows that comments nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// escapeString knows that a backslash escapes in E'…'.
func escapeString(s string) int {
	for i := 2; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return len(s)
}

func dollarQuote(s string) int {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return 1
	}
	tag := s[:end+2]
	for i, c := range []byte(tag[1 : len(tag)-1]) {
		if !isWordByte(c) || (i == 0 && c >= '0' && c <= '9') {
			return 1
		}
	}
	return until(s, len(tag), tag)
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// words finds where the given words follow each other outside quotes and
// comments, and returns the offsets of the first of them.
func words(text string, want ...string) []int {
	var found []int
	at, first := 0, 0
	for i := 0; i < len(text); {
		n := quoted(text[i:])
		switch {
		case n == 0:
			if text[i] > ' ' {
				at = 0
			}
			n = 1
		case isWordByte(text[i]) && !strings.HasSuffix(text[i:i+n], "'"):
			word := strings.ToLower(text[i : i+n])
			if word != want[at] {
				at = 0
			}
			if word == want[at] {
				if at == 0 {
					first = i
				}
				at++
			}
			if at == len(want) {
				found = append(found, first)
				at = 0
			}
		}
		i += n
	}
	return found
}

// leadingWords returns the first n words of a command, in lower case, comments
// left out.
func leadingWords(sql string, n int) []string {
	var out []string
	for i := 0; i < len(sql) && len(out) < n; {
		length := quoted(sql[i:])
		if length > 0 && isWordByte(sql[i]) {
			out = append(out, strings.ToLower(sql[i:i+length]))
		}
		i += max(length, 1)
	}
	return append(out, make([]string, n-len(out))...)
}

// checkStatement refuses a statement that would end the tenant's transaction,
// leave the tenant's schema, or change the session for the tenants after it.
func checkStatement(sql string) error {
	first := leadingWords(sql, 3)
	switch first[0] {
	case "begin", "start", "commit", "end", "rollback", "abort", "prepare":
		if first[0] == "prepare" && first[1] != "transaction" || first[0] == "rollback" && first[1] == "to" {
			return nil
		}
		return fmt.Errorf("%s: a tenant's migrations are one transaction already; "+
			"use -- +goose NO TRANSACTION for what cannot run in one", strings.ToUpper(first[0]))
	case "discard", "reset":
		return fmt.Errorf("%s changes the session for the tenants after this one", strings.ToUpper(first[0]))
	case "set":
		return checkSet(first[1], first[2])
	case "copy":
		if len(words(sql, "from", "stdin")) > 0 {
			return fmt.Errorf("COPY FROM stdin: its data cannot stand in a migration; use INSERT")
		}
	}
	return nil
}

func checkSet(second, third string) error {
	name := second
	if second == "local" {
		name = third
	}
	switch {
	case name == "search_path", name == "schema":
		return fmt.Errorf("SET %s: a migration runs in the tenant's schema and must stay there", strings.ToUpper(name))
	case name == "role", name == "session":
		return fmt.Errorf("SET %s: a migration runs as the role the run was started with", strings.ToUpper(name))
	case second == "local", second == "constraints", second == "transaction":
		return nil
	}
	return fmt.Errorf("SET %s changes the session for the tenants after this one; use SET LOCAL", name)
}
