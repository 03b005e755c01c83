package db

import "strings"

// Literal returns a text as an SQL literal, for a statement that takes no
// parameters, whatever the server takes a backslash for.
func Literal(text string) string {
	text = "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(text, `\`, `\\`)
	}
	return text
}
