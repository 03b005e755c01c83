package registry_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// Only a statement of this program that names a table of the registry says that the
// registry is missing.
func TestMissing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `create function asks() returns bigint language plpgsql as $$ begin return (select
		count(*) from public.tenants); end $$`); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]bool{
		"select from public.tenants":                  true,
		"insert into public.tenant_pool values (1)":   true,
		"select from nowhere":                         false,
		"select from public.nowhere":                  false,
		"select public.asks()":                        false, // somebody's function
		"select nothing from (select 1) as u (thing)": false, // another code
	} {
		_, err := conn.Exec(ctx, sql)
		if err == nil || registry.Default().Missing(err) != want {
			t.Errorf("%s: %v, want %t", sql, err, want)
		}
		inFile := &db.StatementError{Statement: db.Statement{SQL: sql, File: "00001_a.sql", Line: 1}, Err: err}
		if registry.Default().Missing(inFile) {
			t.Errorf("%s of a migration is taken for the registry", sql)
		}
	}
}
