package db_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestPostgreSQLIsSentNothingOfACluster(t *testing.T) {
	conn := connect(t, pgtest.Empty(t))
	if e := db.EngineOf(conn); e.Distributed() || e.String() != "PostgreSQL" {
		t.Fatalf("engine is %v", e)
	}
	if err := db.Recognize(t.Context(), conn, ""); err != nil {
		t.Fatal(err)
	}
	var p db.Pipeline
	p.Begin(db.Locals{})
	p.CreateSchema("engine_test")
	// A setting with a dot that nobody defined exists once it was set.
	p.Query(func(rows pgx.Rows) error {
		got, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[*string])
		if got != nil {
			t.Errorf("the setting of a cluster was sent: %s", *got)
		}
		return err
	}, `select pg_catalog.current_setting('citus.enable_schema_based_sharding', true)`)
	p.Exec("rollback")
	if err := p.Run(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
}
