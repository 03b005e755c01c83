package app

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

func session(t *testing.T, schema string) psqlSession {
	t.Helper()
	s, err := db.RegisteredSchema(schema)
	if err != nil {
		t.Fatal(err)
	}
	return psqlSession{tenant: registry.Tenant{Slug: "acme", Schema: s}}
}

// TestPsqlConninfo reads the strings back as libpq would.
func TestPsqlConninfo(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u@h:1/d",
		"postgres://u@h:1/d?sslmode=disable&options=-c%20work_mem%3D1MB&application_name=x",
		"postgresql://u@h1:1,h2:2/d?sslmode=disable",
		"postgresql://u@h1:1,h2:2/d?target_session_attrs=read-write&sslmode=disable",
		"host=h user=u dbname=d target_session_attrs=read-write",
		"host=h user=u dbname=d",
		"host=h user=u dbname=d options='-c work_mem=1MB' application_name=x",
	} {
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		s := session(t, `we"ird \ na'me & more=`)
		before := cfg.RuntimeParams["options"]
		attributes := s.attributes(cfg)
		got, err := pgx.ParseConfig(s.conninfo(dsn, before, attributes))
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		if got.Host != cfg.Host || got.Database != "d" || got.RuntimeParams["application_name"] != "crmctl:acme" {
			t.Errorf("%s: host %q, database %q, %v", dsn, got.Host, got.Database, got.RuntimeParams)
		}
		if wanted := strings.Contains(dsn, "read-write"); wanted != (attributes == "primary") || wanted &&
			s.attributes(got) != "" {
			t.Errorf("%s: target_session_attrs %q", dsn, attributes)
		}
		want := `-c search_path="we""ird\ \\\ na'me\ &\ more=",\ pg_temp -c default_transaction_read_only=on`
		if before != "" {
			want = before + " " + want
		}
		if got.RuntimeParams["options"] != want {
			t.Errorf("%s: options %q, want %q", dsn, got.RuntimeParams["options"], want)
		}
	}
}

// TestPsqlTrial: a session that would not stand in the schema is found out.
func TestPsqlTrial(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	s := session(t, `we"ird \ na'me`)
	cfg := func(dsn string) *pgx.ConnConfig {
		c, err := db.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := s.try(t.Context(), cfg(dsn)); err == nil || !strings.Contains(err.Error(), "schema is not there") {
		t.Errorf("without the schema: %v", err)
	}
	conn, err := db.Connect(t.Context(), cfg(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "create schema "+s.tenant.Schema.Quoted()); err != nil {
		t.Fatal(err)
	}
	if err := s.try(t.Context(), cfg(dsn)); err != nil {
		t.Errorf("direct: %v", err)
	}
	if err := s.try(t.Context(), cfg(pgtest.Pooler(t, dsn))); err == nil ||
		!strings.Contains(err.Error(), "a pooler stands between") {
		t.Errorf("through PgBouncer: %v", err)
	}
}
