package pgtest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Tablespace makes a tablespace on the server of a superuser's connection string, and returns
// its name. Its directory is the server's, and goes with it.
func Tablespace(t testing.TB, dsn string) string {
	t.Helper()
	name := "space " + strings.ToLower(rand.Text()[:12])
	if err := onServer(dsn, func(ctx context.Context, conn *pgx.Conn) error {
		var dir string
		if err := conn.QueryRow(ctx, "select pg_catalog.current_setting('data_directory')").Scan(&dir); err != nil {
			return err
		}
		dir += "/" + strings.ReplaceAll(name, " ", "_")
		// The server's account makes it, which need not be that of the test.
		for _, sql := range []string{
			"copy (select where false) to program 'mkdir " + dir + "'",
			"create tablespace " + quoted(name) + " location '" + dir + "'",
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatalf("pgtest: make a tablespace: %v", err)
	}
	return name
}
