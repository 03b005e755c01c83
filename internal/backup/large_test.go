package backup_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestManyTables: a tenant with 5,000 tables, which cannot be
// dropped at once on a server with the default settings, can be saved before it is
// purged.
func TestManyTables(t *testing.T) {
	t.Parallel()
	const tables, most = 5000, 500
	server, _ := pgtest.Instance(t, map[string]string{"max_locks_per_transaction": "64", "max_connections": "100",
		"fsync": "off"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	plan := fleettest.TenantPlan(t, 0)
	src := f.Create(t, plan, "big")[0]
	for from := 1; from <= tables; from += most {
		f.Exec(t, fmt.Sprintf(`do $$ begin for i in %d..%d loop
			execute format('create table %s.big%%s (id int primary key)', i);
			execute format('insert into %s.big%%s values (%%s)', i, i); end loop; end $$`, from, from+most-1,
			src.Schema, src.Schema))
	}
	if _, err := f.Connect(t).Exec(t.Context(), "drop schema "+src.Schema.Quoted()+
		" cascade"); db.SQLState(err) != db.CodeOutOfMemory {
		t.Fatalf("the schema can be dropped at once (%v): the test shows nothing", err)
	}
	file, m := write(t, f, source(src))
	if got, err := backup.Verify(bytes.NewReader(file), nil); err != nil || got.Rows() != m.Rows() {
		t.Errorf("verify: %v", err)
	}
	// of the version table, and it and three of the tenant's
	if ours := int64(5); m.Rows() != tables+ours || len(m.Tables) != tables+4 {
		t.Errorf("%d rows in %d tables", m.Rows(), len(m.Tables))
	}
}
