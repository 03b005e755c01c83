package migrate_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestAnotherProgramWasQuicker: a file outside of transactions was applied by another program
// when its turn comes. The registry learns of it, or the tenant would be pending for ever.
func TestAnotherProgramWasQuicker(t *testing.T) {
	t.Parallel()
	for _, owned := range []bool{false, true} {
		f := fleettest.New(t)
		old, plan := plans(t, map[string]string{"1_a.sql": first,
			"2_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on a (x);"})
		tenants := f.Create(t, old, "acme", "globex")
		f.Exec(t, "create index i on tenant_acme.a (x)")
		f.Exec(t, "insert into tenant_acme.goose_db_version (version_id, is_applied) values (2, true)")
		report := run(t, f, plan, tenants, migrate.RunOptions{OwnRole: !owned})
		for _, o := range report.Outcomes {
			want := migrate.Migrated
			if o.Tenant.Slug == "acme" {
				want = migrate.Current
			}
			if o.State != want || o.To != 2 {
				t.Errorf("%+v", o)
			}
		}
		wantAt(t, f, tenants, 2)
	}
}
