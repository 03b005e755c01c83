package doctor_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/doctor"
)

// TestSharedName: a tenant without a table that a shared schema has would read and write
// what is everybody's.
func TestSharedName(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	p.Exec(t, "create schema app", "create table app.messages (n int)", "drop table tenant_t0002.messages cascade")
	only := doctor.Options{Only: []doctor.Class{doctor.SharedName, doctor.PublicObject}}
	p.exactly(t, only, nil)
	only.Shared = []string{"app"}
	p.exactly(t, only, []string{
		"error shared-name t0002: has no table messages: its statements reach app.messages, of all tenants | crmctl " +
			"migrate drift --tenant t0002",
		`warning public-object app.messages: a table of the tenants' that stands in app | look whose rows they are, then: alter table "app"."messages" set schema ...`,
	})
	p.Exec(t, "drop table app.messages")
	p.exactly(t, only, nil)
}
