package db_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

func TestNodeLost(t *testing.T) {
	server := func(code, message string) error {
		return fmt.Errorf("migrate: %w", &pgconn.PgError{Code: code, Message: message})
	}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{server("08006", "connection to the remote node postgres@127.0.0.1:7501 failed with the following error: "+
			"Connection refused"), true},
		{server("XX000", "failure on connection marked as essential: 127.0.0.1:7501"), true},
		{server("XX000", "SSL SYSCALL error: EOF detected"), true},
		{server("XX000", "could not acquire the lock required to colocate distributed table tenant_a.b"), true},
		{server("XX000", "cache lookup failed for relation 16400"), false},
		{server("42P01", `relation "server closed the connection unexpectedly" does not exist`), false},
		{io.ErrUnexpectedEOF, false}, // the session with this server
	} {
		if got := db.NodeLost(tc.err); got != tc.want {
			t.Errorf("NodeLost(%v) = %v", tc.err, got)
		}
		if tc.want && (!db.Retryable(tc.err) || db.ConnectionLost(tc.err)) {
			t.Errorf("%v: it is tried again, on the same session", tc.err)
		}
	}
}
