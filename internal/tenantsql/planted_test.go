package tenantsql_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// TestPlanted: a script does not run where it would run another role's code, reading
// or writing; the other tenants are not concerned.
func TestPlanted(t *testing.T) {
	t.Parallel()
	f := schemas(t, 2)
	var name string
	f.Scan(t, []any{&name}, "select current_database()::text")
	role := "mallory_" + strings.TrimPrefix(name, "crmctl_test_")
	f.Exec(t, "create role "+role, "grant usage, create on schema t0001 to "+role, "grant all on t0001.things to "+role,
		"set role "+role,
		"create function t0001.f() returns trigger language plpgsql as 'begin raise exception ''planted code runs as %'', "+
			"current_user; end'",
		"create trigger log before update on t0001.things for each row execute function t0001.f()")
	t.Cleanup(func() { f.DropRoles(t, role) })
	for _, o := range []tenantsql.Options{{}, audited(tenantsql.Options{})} {
		text := "select name from things"
		if o.Write {
			text = "update things set n = n"
		}
		_, _, report := f.run(t, text, o)
		found, ok := errors.AsType[*planted.Error](report.Outcomes[0].Err)
		if !ok || !strings.Contains(found.Error(), "trigger log of things calls t0001.f() of role "+role) {
			t.Errorf("%v", report.Outcomes[0].Err)
		}
		if report.Outcomes[1].State != fleet.Done {
			t.Errorf("%v", report.Outcomes[1].Err)
		}
	}
}
