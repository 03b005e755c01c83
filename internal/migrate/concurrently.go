package migrate

import (
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// indexBuild is what CREATE INDEX CONCURRENTLY builds. A build that was cut
// short leaves an invalid index of that name behind.
type indexBuild struct {
	name string // unquoted; "" when the statement leaves it to the server
}

// concurrentBuild reads the name of the index that a statement builds
// concurrently.
func concurrentBuild(sql string) (indexBuild, bool) {
	tokens := tokenize(sql)
	i := 0
	next := func(word string) bool {
		if i < len(tokens) && tokens[i].is(word) {
			i++
			return true
		}
		return false
	}
	if !next("create") {
		return indexBuild{}, false
	}
	next("unique")
	if !next("index") || !next("concurrently") {
		return indexBuild{}, false
	}
	if next("if") {
		next("not")
		next("exists")
	}
	if i >= len(tokens) || tokens[i].is("on") {
		return indexBuild{}, true
	}
	return indexBuild{name: tokens[i].name()}, true
}

// concurrentDrop tells whether a statement is DROP INDEX CONCURRENTLY, and
// names the index.
func concurrentDrop(sql string) (name string, ok bool) {
	tokens := tokenize(sql)
	if len(tokens) < 4 || !tokens[0].is("drop") || !tokens[1].is("index") || !tokens[2].is("concurrently") {
		return "", false
	}
	i := 3
	if tokens[i].is("if") && len(tokens) > 5 {
		i += 2
	}
	return tokens[i].name(), true
}

// inTransaction returns the statements of a NO TRANSACTION file in a form that a
// transaction takes, for a schema that nobody else can see.
func (m *Migration) inTransaction() ([]db.Statement, error) {
	var out []db.Statement
	for _, s := range m.Up {
		first := leadingWords(s.SQL, 2)
		switch {
		case first[0] == "vacuum", first[0] == "reindex":
			continue // an empty schema has nothing to clean
		case first[0] == "create" && (first[1] == "database" || first[1] == "tablespace"),
			first[0] == "alter" && first[1] == "system", first[0] == "call":
			return nil, &NoTransactionError{Migration: m}
		}
		out = append(out, db.Statement{SQL: withoutConcurrently(s.SQL), File: s.File, Line: s.Line})
	}
	return out, nil
}

// withoutConcurrently blanks the first word CONCURRENTLY of a statement about an
// index or a materialized view. Its length stays, so that positions in errors do.
func withoutConcurrently(sql string) string {
	for _, t := range tokenize(sql) {
		switch {
		case t.is("concurrently"):
			return sql[:t.offset] + strings.Repeat(" ", len(t.text)) + sql[t.offset+len(t.text):]
		case t.is("on"), t.is("as"):
			return sql
		}
	}
	return sql
}

// token is a word, a quoted identifier or a single other character.
type token struct {
	text   string
	offset int
}

func (t token) is(word string) bool { return strings.EqualFold(t.text, word) }

// name returns the identifier that the token spells.
func (t token) name() string {
	if strings.HasPrefix(t.text, `"`) {
		return strings.ReplaceAll(strings.Trim(t.text, `"`), `""`, `"`)
	}
	return strings.ToLower(t.text)
}

// tokenize cuts a statement into tokens, comments and white space left out.
func tokenize(sql string) []token {
	var out []token
	for i := 0; i < len(sql); {
		n := max(quoted(sql[i:]), 1)
		text := sql[i : i+n]
		switch {
		case strings.TrimSpace(text) == "", strings.HasPrefix(text, "--"), strings.HasPrefix(text, "/*"):
		case strings.HasPrefix(text, `"`) && len(out) > 0 && strings.HasSuffix(out[len(out)-1].text, `"`) && out[len(out)-1].offset+len(out[len(out)-1].text) == i:
			out[len(out)-1].text += text // "a""b" is one identifier
		default:
			out = append(out, token{text, i})
		}
		i += n
	}
	return out
}
