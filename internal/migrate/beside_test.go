package migrate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
)

// TestOvertakenBehindALock has a migration fail on a table that another program has made,
// while that holds the table of versions: nobody can see yet whether it was overtaken, so it
// is tried again, and the failure is told.
func TestOvertakenBehindALock(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": first}
	tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(files)), "acme")
	files["2_b.sql"] = "select pg_sleep(2);\ncreate table b (x int);"
	plan := fleettest.Plan(t, fleettest.Files(files))
	f.Exec(t, "create table tenant_acme.b (x int)")
	conn, guard := f.Connect(t), &planted.Guard{}
	if err := guard.Prepare(t.Context(), conn, []db.Schema{tenants[0].Schema}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other := f.Connect(t)
	if _, err := other.Exec(ctx, "begin"); err != nil {
		t.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() { // it stands in line behind the migration, and is served when that has failed
		time.Sleep(500 * time.Millisecond)
		_, err := other.Exec(ctx, "lock table tenant_acme.goose_db_version in access exclusive mode")
		locked <- err
	}()
	o := migrate.ApplyOptions{Guard: guard, LockTimeout: 50 * time.Millisecond}
	_, err := plan.Apply(ctx, conn, tenants[0], migrate.Route{}, o)
	if !errors.Is(err, db.ErrBusy) || !db.Retryable(err) || !strings.Contains(err.Error(), `relation "b" already exists`) {
		t.Errorf("while it is locked: %v", err)
	}
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(ctx, "rollback"); err != nil {
		t.Fatal(err)
	}
	if _, err = plan.Apply(ctx, conn, tenants[0], migrate.Route{}, o); db.Retryable(err) || err == nil {
		t.Errorf("where nobody has applied it: %v", err)
	}
}
