package importer

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/planted"
)

// TestImportRunsNothingPlanted plants code where an import writes or reads: none of
// it runs, and the refusal names it.
func TestImportRunsNothingPlanted(t *testing.T) {
	t.Parallel()
	const raises = ` language plpgsql as 'begin raise exception ''planted code runs as %'', current_user; end'`
	trigger := []string{"create function tenant_acme.t() returns trigger" + raises}
	for name, c := range map[string]struct {
		owner bool // the role owns the table
		plant []string
		want  string
	}{
		"before row": {plant: append(trigger, "create trigger log before insert or update on tenant_acme.contacts for "+
			"each row execute function tenant_acme.t()"), want: "trigger log of contacts"},
		"after statement": {plant: append(trigger, "create trigger log after insert on tenant_acme.contacts execute "+
			"function tenant_acme.t()"), want: "trigger log of contacts"},
		"deferred": {plant: append(trigger, "create constraint trigger log after insert on tenant_acme.contacts "+
			"deferrable initially deferred for each row execute function tenant_acme.t()"), want: "trigger log of contacts"},
		"default": {owner: true, plant: []string{"create function tenant_acme.f() returns text" + raises,
			"alter table tenant_acme.contacts add extra text",
			"alter table tenant_acme.contacts alter extra set default tenant_acme.f()"}, want: "default extra of contacts"},
		"check": {owner: true, plant: []string{"create function tenant_acme.f(text) returns bool" + raises,
			"alter table tenant_acme.contacts add constraint c check (tenant_acme.f(name))"}, want: "check c of contacts"},
		"generated": {owner: true, plant: []string{"create function tenant_acme.f(text) returns text immutable" +
			raises, "alter table tenant_acme.contacts add g text generated always as (tenant_acme.f(name)) stored"},
			want: "generated column g of contacts"},
		"index": {owner: true, plant: []string{"create function tenant_acme.f(text) returns text immutable" +
			raises, "create index x on tenant_acme.contacts (tenant_acme.f(name))"}, want: "index x of contacts"},
		"rule": {owner: true, plant: []string{"create function tenant_acme.f() returns text" + raises,
			"create rule r as on insert to tenant_acme.contacts do also select tenant_acme.f()"}, want: "rule r of contacts"},
		"domain": {owner: true, plant: []string{"create function tenant_acme.f(text) returns bool" + raises,
			"create domain tenant_acme.d as text check (tenant_acme.f(value))",
			"alter table tenant_acme.contacts add extra tenant_acme.d"}, want: "check of type tenant_acme.d"},
		"own functions": {owner: true, plant: []string{"alter table tenant_acme.contacts add extra text",
			"alter table tenant_acme.contacts alter extra set default query_to_xml('select 1', true, true, '')::text"},
			want: "default extra of contacts calls query_to_xml"},
		"view": {owner: true, plant: []string{"create function tenant_acme.f() returns uuid immutable" + raises,
			"alter table tenant_acme.contacts rename to real",
			"create view tenant_acme.contacts as select tenant_acme.f() as id"}, want: "view contacts calls tenant_acme.f()"},
		"operator": {plant: []string{"create function tenant_acme.f(text, text) returns bool" + raises,
			"create operator tenant_acme.= (leftarg = text, rightarg = text, function = tenant_acme.f)"},
			want: "operator tenant_acme.=(text,text)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			role := crmtest.Plant(t, conn, c.owner, c.plant...)
			for _, dry := range []bool{false, true} {
				_, err := Import(t.Context(), conn, strings.NewReader("Name,Email\nAda,ada@example.org\n"),
					Options{Schema: schema, DryRun: dry})
				found, ok := errors.AsType[*planted.Error](err)
				if !ok || !strings.Contains(found.Error(), c.want) || !strings.Contains(found.Error(), role) {
					t.Errorf("dry %v: %v, want %s", dry, err, c.want)
				}
			}
			// Where the role is trusted it runs, so it would have; an import takes no
			// rules, and refuses a view.
			switch name {
			case "own functions", "operator", "view", "rule":
				return
			}
			_, err := Import(t.Context(), conn, strings.NewReader("Name,Email\nAda,ada@example.org\n"),
				Options{Schema: schema, Trusted: []string{role}})
			if err == nil || !strings.Contains(err.Error(), "planted code runs as") {
				t.Errorf("with the role trusted: %v", err)
			}
		})
	}
}
