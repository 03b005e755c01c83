package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Main runs the tests, stops the server if one was started, and returns the exit
// code.
func Main(m *testing.M) int {
	return m.Run()
}

// Server starts the server of this test process, unless it runs, and returns the
// connection string of its maintenance database. Without server binaries the test
// fails and says how to install them; it is never skipped.
func Server(t testing.TB) string {
	t.Helper()
	t.Fatal("pgtest: not yet")
	return ""
}

// Empty returns the connection string of a fresh, empty database, which is dropped
// when the test ends.
func Empty(t testing.TB) string {
	t.Helper()
	return Server(t)
}

// FromTemplate returns the connection string of a fresh database that is a copy of
// a template, dropped when the test ends. The template is made once per server by
// build, for each key; key must change whenever build would make something else (a
// hash of the migrations, say). Tests and processes may ask for it at the same time.
func FromTemplate(t testing.TB, key string, build func(ctx context.Context, conn *pgx.Conn) error) string {
	t.Helper()
	_, _ = key, build
	return Server(t)
}
