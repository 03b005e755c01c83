package importer

import (
	"context"
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// A role that owns the contacts but may not create in their schema could not make the
// indexes again, nor the table of what is replaced: it imports all the same, with the indexes
// kept, and the import cannot be taken back.
func TestImportWithoutTheRightToCreate(t *testing.T) {
	t.Parallel()
	crmtest.NotOnCitus(t, "a role that may not log in does nothing there, and REASSIGN OWNED ends the server")
	conn, schema := crmtest.Tenant(t)
	role := fmt.Sprintf("importer_%d", conn.PgConn().PID())
	become := func(sql ...string) {
		t.Helper()
		for _, s := range sql {
			if _, err := conn.Exec(context.WithoutCancel(t.Context()), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	become(`create role `+role, `grant usage on schema `+schema.Quoted()+` to `+role,
		`alter table `+contactsOf(schema)+` owner to `+role, `set session authorization `+role)
	t.Cleanup(func() {
		become(`reset session authorization`, `reassign owned by `+role+` to current_user`,
			`drop owned by `+role, `drop role `+role)
	})
	o := Options{Schema: schema, directFrom: 1, Keep: keepID(0), OwnRole: true}
	r := importText(t, conn, "email,name\nann@example.com,Ann\nbob@example.com,Bob\n", o)
	if r.Inserted != 2 || r.FastPath || r.Undoable {
		t.Errorf("%s, fast %v, undoable %v", tally(r), r.FastPath, r.Undoable)
	}
	o.Keep = keepID(1)
	r = importText(t, conn, "email,name\nann@example.com,Anna\ncy@example.com,Cy\n", o)
	if r.Inserted != 1 || r.Updated != 1 || r.Undoable {
		t.Errorf("%s, undoable %v", tally(r), r.Undoable)
	}
}
