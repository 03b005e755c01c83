package db_test

import (
	"context"
	"errors"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestConnectionLost asks the real library what it says of a session that is gone, that
// was closed, that is busy, and of one whose statement failed.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	ctx := t.Context()

	killed := connect(t, database)
	const end = "select pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
	if _, err := killed.Exec(ctx, end); !db.ConnectionLost(err) {
		t.Errorf("the backend was ended: %v", err)
	}
	if _, err := killed.Exec(ctx, "select 1"); !db.ConnectionLost(err) {
		t.Errorf("a statement after the end: %v", err)
	}
	closed := connect(t, database)
	if err := closed.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Exec(ctx, "select 1"); !db.ConnectionLost(err) {
		t.Errorf("a statement on a closed connection: %v", err)
	}
	there := connect(t, database)
	if _, err := there.Exec(ctx, "select 1/0"); db.ConnectionLost(err) || db.SQLState(err) != db.CodeDivisionByZero {
		t.Errorf("a statement that failed: %v", err)
	}
	rows, err := there.Query(ctx, "select 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Exec(ctx, "select 1"); err == nil || db.ConnectionLost(err) {
		t.Errorf("a connection that is busy: %v", err)
	}
	rows.Close()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := there.Exec(gone, "select 1"); !errors.Is(err, context.Canceled) || db.ConnectionLost(err) {
		t.Errorf("a context that is gone: %v", err)
	}
}
