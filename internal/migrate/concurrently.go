package migrate

import (
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// indexBuild is what CREATE INDEX CONCURRENTLY builds. A build that was cut
// short leaves an invalid index of that name behind.
type indexBuild struct {
	name string // unquoted; "" when the statement leaves it to the server
}

// concurrentBuild reads the name of the index that a statement builds
// concurrently.
func concurrentBuild(sql string) (indexBuild, bool) {
	tokens := sqltext.Tokens(sql)
	i := 0
	next := func(word string) bool {
		if i < len(tokens) && tokens[i].Is(word) {
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
	if i >= len(tokens) || tokens[i].Is("on") {
		return indexBuild{}, true
	}
	return indexBuild{name: tokens[i].Name()}, true
}

// concurrentDrop reports whether a statement is DROP INDEX CONCURRENTLY, and
// names the index.
func concurrentDrop(sql string) (name string, ok bool) {
	tokens := sqltext.Tokens(sql)
	if len(tokens) < 4 || !tokens[0].Is("drop") || !tokens[1].Is("index") || !tokens[2].Is("concurrently") {
		return "", false
	}
	i := 3
	if tokens[i].Is("if") && len(tokens) > 5 {
		i += 2
	}
	return tokens[i].Name(), true
}

// withoutConcurrently blanks the first word CONCURRENTLY of a statement about an
// index or a materialized view. Its length stays, so that positions in errors do.
func withoutConcurrently(sql string) string {
	for _, t := range sqltext.Tokens(sql) {
		switch {
		case t.Is("concurrently"):
			return sql[:t.Offset] + strings.Repeat(" ", len(t.Text)) + sql[t.Offset+len(t.Text):]
		case t.Is("on"), t.Is("as"):
			return sql
		}
	}
	return sql
}
