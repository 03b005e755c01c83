//go:build !unix

package pgtest

import (
	"testing"

	"github.com/crmctl/crmctl/internal/localpg"
)

// Pooler skips the test: PgBouncer needs a Unix.
func Pooler(t testing.TB, _ string) string {
	t.Helper()
	t.Skip("PgBouncer needs a Unix")
	return ""
}

// Restart skips the test: there is no server of its own to crash.
func Restart(t testing.TB, _ *localpg.Server, _ localpg.Options) {
	t.Helper()
	t.Skip("servers are crashed on a Unix only")
}
