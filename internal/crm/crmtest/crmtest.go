package crmtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/migrations"
)

// Schema is the tenant of every test database.
func Schema(t testing.TB) db.Schema {
	t.Helper()
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// Tenant returns a connection to a database of the test's own that holds one
// empty tenant at the newest version, and the tenant's schema.
func Tenant(t testing.TB) (*pgx.Conn, db.Schema) {
	t.Helper()
	schema := Schema(t)
	ctx := t.Context()
	plan, err := migrate.Compile(ctx, migrations.Tenant())
	if err != nil {
		t.Fatal(err)
	}
	statements, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	for _, s := range statements {
		fmt.Fprintln(hash, s.SQL)
	}
	if url := os.Getenv(pgtest.EnvCitus); url != "" {
		return onCitus(t, url, statements)
	}
	dsn := pgtest.FromTemplate(t, "crm-"+hex.EncodeToString(hash.Sum(nil)[:8]),
		func(ctx context.Context, conn *pgx.Conn) error {
			if _, err := conn.Exec(ctx, "create schema "+schema.Quoted()); err != nil {
				return err
			}
			return db.InTx(ctx, conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
				for _, s := range statements {
					if _, err := q.Exec(ctx, s.SQL); err != nil {
						return err
					}
				}
				return nil
			})
		})
	return Connect(t, dsn), schema
}

// Connect returns a connection that ends with the test.
func Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := db.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// Exec runs statements with the tenant's schema as the search path.
func Exec(t testing.TB, conn *pgx.Conn, schema db.Schema, sql ...string) {
	t.Helper()
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		for _, s := range sql {
			if _, err := q.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// List returns the rows of a query of the tenant, each as its columns joined by
// "|".
func List(t testing.TB, conn *pgx.Conn, schema db.Schema, sql string) []string {
	t.Helper()
	var out []string
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		rows, err := q.Query(ctx, sql)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			values, err := row.Values()
			var b strings.Builder
			for i, v := range values {
				if i > 0 {
					b.WriteByte('|')
				}
				if v != nil {
					fmt.Fprint(&b, v)
				}
			}
			return b.String(), err
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// SameLines fails the test when two lists of lines differ.
func SameLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\n got:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// Plant makes a role that may create in the tenant's schema, runs statements as that, and
// returns its name. Where owner is set the role owns the tenant's tables.
func Plant(t testing.TB, conn *pgx.Conn, owner bool, statements ...string) (role string) {
	t.Helper()
	role = "mallory_" + strings.TrimPrefix(conn.Config().Database, "crmctl_test_")
	run := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	run("create role "+role, "grant usage, create on schema tenant_acme to "+role,
		"grant all on all tables in schema tenant_acme to "+role)
	t.Cleanup(func() {
		for _, sql := range []string{"drop owned by " + role + " cascade", "drop role " + role} {
			_, _ = conn.Exec(context.Background(), sql)
		}
	})
	if owner {
		for _, table := range []string{"contacts", "conversations", "messages"} {
			run("alter table tenant_acme." + table + " owner to " + role)
		}
	}
	run("set role " + role)
	run(statements...)
	run("reset role")
	return role
}
