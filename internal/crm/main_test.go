package crm

import (
	"bytes"
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

// childEnv makes the test binary import a file instead of running tests, so that
// a test can kill it; see TestKilledImportLeavesNothing.
const childEnv = "CRM_TEST_IMPORT_INTO"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		os.Exit(importForever(dsn))
	}
	os.Exit(pgtest.Main(m))
}

// testSchema is the tenant of every test database.
func testSchema(t testing.TB) db.Schema {
	t.Helper()
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// tenant returns a connection to a database of the test's own that holds one
// empty tenant at the newest version, and the tenant's schema.
func tenant(t testing.TB) (*pgx.Conn, db.Schema) {
	t.Helper()
	schema := testSchema(t)
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
	dsn := pgtest.FromTemplate(t, "crm-"+hex.EncodeToString(hash.Sum(nil)[:8]), func(ctx context.Context, conn *pgx.Conn) error {
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
	return connect(t, dsn), schema
}

func connect(t testing.TB, dsn string) *pgx.Conn {
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

// exec runs statements with the tenant's schema as the search path.
func exec(t testing.TB, conn *pgx.Conn, schema db.Schema, sql ...string) {
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

// list returns the rows of a query of the tenant, each as its columns joined by
// "|".
func list(t testing.TB, conn *pgx.Conn, schema db.Schema, sql string) []string {
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

const contactsSQL = "select email, phone, name, company, metadata::text from contacts order by email nulls last, phone, name, company, metadata::text collate \"C\""

// contacts returns every contact, without what differs from run to run.
func contacts(t testing.TB, conn *pgx.Conn, schema db.Schema) []string {
	t.Helper()
	return list(t, conn, schema, contactsSQL)
}

// importText imports a file and fails the test on an error.
func importText(t testing.TB, conn *pgx.Conn, text string, o ImportOptions) ImportResult {
	t.Helper()
	r, err := Import(t.Context(), conn, bytes.NewReader([]byte(text)), o)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	if sum := r.Inserted + r.Updated + r.Unchanged + r.Rejected; sum != r.Read {
		t.Errorf("the rows do not add up: %+v", r)
	}
	return r
}

// tally is the counts of a result, for comparing.
func tally(r ImportResult) string {
	return fmt.Sprintf("read %d inserted %d updated %d unchanged %d rejected %d", r.Read, r.Inserted, r.Updated, r.Unchanged, r.Rejected)
}

func sameLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\n got:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
