package main

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// PostgreSQL 14 and 18 write the hint in different ways, and the words around the name
// of the setting are those of lc_messages.
func TestExplainMemory(t *testing.T) {
	t.Parallel()
	full := "raise max_locks_per_transaction and restart the server"
	for serverHint, want := range map[string]string{
		"You might need to increase max_locks_per_transaction.":        full,
		`You might need to increase "max_locks_per_transaction".`:      full,
		"Sie müssen möglicherweise max_locks_per_transaction erhöhen.": full,
		"": "",
	} {
		err := fmt.Errorf("save: %w", &pgconn.PgError{Code: "53200", Message: "out of memory", Hint: serverHint})
		got := ""
		for _, h := range (&factory{}).explain(err) {
			got += h.Command
		}
		if got != want {
			t.Errorf("hint %q: %q, want %q", serverHint, got, want)
		}
	}
}
