package backup_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestReadingRunsNothingPlanted: a table of another role whose indexes the planner
// would evaluate is saved without running them, and a table of versions that is none
// is refused.
func TestReadingRunsNothingPlanted(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	var name string
	f.Scan(t, []any{&name}, "select current_database()::text")
	role := "mallory_" + strings.TrimPrefix(name, "crmctl_test_")
	f.Exec(t, "create role "+role, "grant usage, create on schema tenant_acme to "+role)
	t.Cleanup(func() { f.DropRoles(t, role) })
	plant := func(table string) {
		t.Helper()
		f.Exec(t, "alter table tenant_acme."+table+" owner to "+role, "set role "+role,
			"create or replace function tenant_acme.f(int) returns int immutable language sql as 'select 1'",
			"create index on tenant_acme."+table+" (tenant_acme.f(1))",
			"create or replace function tenant_acme.f(int) returns int immutable language plpgsql as 'begin raise exception "+
				"''planted code runs as %'', current_user; end'")
	}
	src := backup.Source{ID: made.ID, Slug: made.Slug, Schema: made.Schema}
	write := func() error {
		_, err := backup.Write(t.Context(), f.Connect(t), src, &bytes.Buffer{},
			backup.WriteOptions{Limits: backup.Limits{LockTimeout: time.Second}})
		return err
	}
	plant("contacts")
	if err := write(); err != nil {
		t.Errorf("an index of contacts: %v", err)
	}
	plant("goose_db_version")
	if err := write(); err == nil || strings.Contains(err.Error(), "planted code runs") ||
		!strings.Contains(err.Error(), "goose_db_version is no ordinary table") {
		t.Errorf("an index of goose_db_version: %v", err)
	}
}
