package planted_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/planted"
)

// TestColumnGrants: a grant on a column for foreign keys exposes a schema as soon as
// somebody else could make a table that has one.
func TestColumnGrants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grant string
		make  []string // what lets others make tables
		want  bool     // nobody can plant anything
	}{
		"no grant":      {make: []string{"create schema theirs authorization {role}"}, want: true},
		"nobody makes":  {grant: "public", want: true},
		"own schema":    {grant: "{role}", make: []string{"create schema theirs authorization {role}"}},
		"for everybody": {grant: "public", make: []string{"create schema theirs authorization {role}"}},
		"may create":    {grant: "{role}", make: []string{"create schema open", "grant create on schema open to public"}},
		"may make one":  {grant: "{role}", make: []string{"do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$"}},
		"owns a table":  {grant: "{role}", make: []string{"create table public.theirs (id uuid)", "alter table public.theirs owner to {role}"}},
		"select is no harm": {make: []string{"create schema theirs authorization {role}",
			"grant select (id) on tenant_acme.contacts to {role}"}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			tenant := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
			var database string
			f.Scan(t, []any{&database}, "select current_database()::text")
			role := "columns_" + strings.TrimPrefix(database, "crmctl_test_")
			f.Exec(t, "revoke create on schema public from public", "create role "+role)
			t.Cleanup(func() { f.DropRoles(t, role) })
			statements := c.make
			if c.grant != "" {
				statements = append(statements, "grant references (id) on tenant_acme.contacts to "+c.grant)
			}
			for _, sql := range statements {
				f.Exec(t, strings.ReplaceAll(sql, "{role}", role))
			}
			var g planted.Guard
			if err := g.Prepare(t.Context(), f.Connect(t), []db.Schema{tenant.Schema}); err != nil {
				t.Fatal(err)
			}
			if got := g.Idle(tenant.Schema); got != c.want {
				t.Errorf("idle is %t, want %t", got, c.want)
			}
		})
	}
}
