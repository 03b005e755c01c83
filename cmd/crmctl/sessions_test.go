package main

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// openSessions opens sessions of an application for the length of the test: one of a tenant
// holds a lock that no command takes and does nothing, one waits for it, and two are idle.
func openSessions(t *testing.T, f *fleettest.Fleet, tenant string) {
	t.Helper()
	open := func(application string) *pgx.Conn {
		cfg, err := pgx.ParseConfig(f.DSN)
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["application_name"] = application
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	open("psql")
	open("web:" + tenant)
	const lock = "select pg_advisory_xact_lock(4711)"
	if _, err := open("web:"+tenant).Exec(t.Context(), "begin; "+lock, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	waits := open("worker/" + tenant)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = waits.Exec(ctx, lock, pgx.QueryExecModeSimpleProtocol)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for range 200 {
		if f.Int(t, "select count(*) from pg_locks where pid = $1 and not granted", waits.PgConn().PID()) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("nobody waits")
}
