package db

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// Literal returns a text as an SQL literal, for a statement that takes no
// parameters, whatever the server takes a backslash for.
func Literal(text string) string {
	text = "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(text, `\`, `\\`)
	}
	return text
}

// Quoted returns a name, or a schema and a name, as an SQL identifier.
func Quoted(names ...string) string { return pgx.Identifier(names).Sanitize() }
