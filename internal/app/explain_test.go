package app_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

func explained(t *testing.T, a *app.App, o app.ExplainOptions) *app.Explained {
	t.Helper()
	if o.Selection == nil {
		o.Selection = all(t)
	}
	o.Skip = func([]registry.InvalidRow) {}
	got, err := a.Explain(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func failed(e *app.Explained) []tenantsql.Outcome {
	return slices.DeleteFunc(slices.Clone(e.Outcomes), func(o tenantsql.Outcome) bool { return o.State == fleet.Done })
}

// plainContacts takes the indexes off contacts and fills it with n rows.
func plainContacts(t *testing.T, f *fleettest.Fleet, schema string, n int) {
	t.Helper()
	f.Exec(t, fmt.Sprintf(`do $$ declare i text; begin
			for i in select indexname from pg_indexes where schemaname = '%s' and tablename = 'contacts'
					and indexname not like '%%pkey' loop
				execute 'drop index %s.' || quote_ident(i);
			end loop; end $$`, schema, schema),
		fmt.Sprintf("insert into %s.contacts (email, name) select 'person' || i || '@company' || i %% 5000 || '.com', "+
			"case when i %% 2 = 0 then 'a' else 'b' end from generate_series(1, %d) i", schema, n),
		"analyze "+schema+".contacts")
}

// What is suggested is what helps: when it is made, and the condition written as it says,
// the plan uses it.
func TestSuggestionsHelp(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	plainContacts(t, f, "tenant_acme", 20_000)
	a, _ := open(t, f, "")
	for condition, nth := range map[string]int{
		"email like 'person123@%'": 0, "email like '%@company77.com'": 0, "email like '%@company78.com' ": 1,
		"email = 'person5@company5.com'": 0, "lower(email) = 'x'": 0, "email ilike 'PERSON77@%'": 0,
		"email ilike '%@COMPANY77.com'": 0, "email like '%company77.co%'": 0,
	} {
		got := explained(t, a, app.ExplainOptions{SQL: "select * from contacts where " + condition})
		if len(got.Groups) != 1 || len(got.Groups[0].Plan.Indexes()) != 0 || len(got.Groups[0].Suggestions) <= nth {
			t.Errorf("%s: %+v", condition, got.Groups)
			continue
		}
		help := got.Groups[0].Suggestions[nth]
		for _, sql := range help.Statements {
			sql = strings.Replace(sql, "create extension pg_trgm", "create extension if not exists pg_trgm", 1)
			sql = strings.Replace(sql, "create index on contacts", "create index made on tenant_acme.contacts", 1)
			f.Exec(t, sql)
		}
		f.Exec(t, "analyze tenant_acme.contacts")
		if help.Instead != "" {
			condition = help.Instead
		}
		after := explained(t, a, app.ExplainOptions{SQL: "select * from contacts where " + condition})
		if len(after.Groups) != 1 || !slices.Contains(after.Groups[0].Plan.Indexes(), "made") ||
			len(after.Groups[0].Suggestions) != 0 {
			t.Errorf("%s, after %v: %v, %v", condition, help.Statements, after.Groups[0].Plan.Lines(),
				after.Groups[0].Suggestions)
		}
		f.Exec(t, "drop index tenant_acme.made")
	}
	if got := explained(t, a, app.ExplainOptions{SQL: "select * from contacts where name = 'a'"}); len(got.Groups) != 1 ||
		len(got.Groups[0].Suggestions) != 0 {
		t.Errorf("half of the table: %+v", got.Groups)
	}
}

// Tenants that run a statement alike are one entry, and of the others it is said what
// they have otherwise.
func TestExplainOverTheFleet(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "big-one", "big-two", "big-three", "unindexed", "gone")
	for _, s := range []string{"tenant_big_one", "tenant_big_two", "tenant_big_three", "tenant_unindexed"} {
		plainContacts(t, f, s, 12_000)
		if s != "tenant_unindexed" {
			f.Exec(t, "create index by_email on "+s+".contacts (email)", "analyze "+s+".contacts")
		}
	}
	f.Exec(t, "drop schema tenant_gone cascade")
	a, _ := open(t, f, "")
	const sql = "select * from contacts where email = 'person5@company5.com'"
	got := explained(t, a, app.ExplainOptions{SQL: sql + ";"})
	if len(got.Outcomes) != 5 || len(failed(got)) != 1 || failed(got)[0].Tenant.Slug != "gone" || len(got.Groups) != 2 ||
		fmt.Sprint(got.Groups[0].Tenants) != "[big-one big-three big-two]" || len(got.Groups[0].Suggestions) != 0 {
		t.Fatalf("%+v", got)
	}
	other := got.Groups[1]
	if fmt.Sprint(other.Tenants) != "[unindexed]" || len(other.Why) == 0 || other.Why[0] != "no index by_email: 1 of 1" ||
		len(other.Suggestions) != 1 ||
		other.Suggestions[0].Statements[0] != "create index on contacts (email)" {
		t.Errorf("%+v", other)
	}
	if got.Groups[0].Least <= 0 || got.Groups[0].Most >= other.Least {
		t.Errorf("costs %f to %f, and %f", got.Groups[0].Least, got.Groups[0].Most, other.Least)
	}
	s := got.Summary()
	if s.Done != 4 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
}

// A suggestion is a statement as it stands: names have their quotes.
func TestExplainSuggestsQuotedNames(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, `create table tenant_acme."user" ("E Mail" text)`,
		`insert into tenant_acme."user" select 'p' || i from generate_series(1, 20000) i`, `analyze tenant_acme."user"`)
	a, _ := open(t, f, "")
	got := explained(t, a, app.ExplainOptions{SQL: `select * from "user" where "E Mail" = 'p7'`})
	const want = `create index on "user" ("E Mail")`
	if len(got.Groups) != 1 || len(got.Groups[0].Suggestions) != 1 ||
		got.Groups[0].Suggestions[0].Statements[0] != want || got.Groups[0].Suggestions[0].Table != "user" {
		t.Errorf("%+v", got.Groups)
	}
	f.Exec(t, strings.Replace(want, `on "user"`, `on tenant_acme."user"`, 1))
}

// With parameters the plan is for any values; --analyze measures what reads, and nothing
// that is explained changes anything.
func TestExplainParametersAndAnalyze(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	plainContacts(t, f, "tenant_acme", 12_000)
	a, _ := open(t, f, "")
	got := explained(t, a, app.ExplainOptions{SQL: "select * from contacts where email like $1 and name = $2"})
	if len(got.Groups) != 1 || !got.Generic || got.Groups[0].Plan.Execution != nil || len(failed(got)) != 0 ||
		!strings.Contains(fmt.Sprint(got.Groups[0].Plan.Lines()), "$1") {
		t.Errorf("%+v", got)
	}
	behind, _ := open(t, &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}, "")
	for range 3 { // a statement that was prepared stays in no session
		got = explained(t, behind, app.ExplainOptions{SQL: "select * from contacts where email like $1 and name = $2"})
		if s := got.Summary(); s.Done != 2 || !got.Generic {
			t.Errorf("behind a pooler: %+v", got.Outcomes)
		}
	}
	got = explained(t, a, app.ExplainOptions{SQL: "select count(*) from contacts", Analyze: true})
	var acme stats.PlanGroup
	for _, g := range got.Groups {
		if slices.Contains(g.Tenants, "acme") {
			acme = g
		}
	}
	if acme.Plan.Execution == nil || acme.Plan.Root.Actual == nil || *acme.Plan.Root.Actual != 1 {
		t.Errorf("%+v", got.Groups)
	}
	got = explained(t, a, app.ExplainOptions{SQL: "delete from contacts where email = 'x'"})
	if len(got.Groups) == 0 || got.Groups[0].Plan.Root.Title() != "Delete on contacts" {
		t.Errorf("%+v", got.Groups)
	}
	got = explained(t, a, app.ExplainOptions{Analyze: true,
		SQL: "with gone as (delete from contacts returning 1) select count(*) from gone"})
	if len(failed(got)) != 2 || db.SQLState(failed(got)[0].Err) != db.CodeReadOnlyTransaction {
		t.Errorf("%+v", failed(got))
	}
	if n := f.Int(t, "select count(*)::int from tenant_acme.contacts"); n != 12_000 {
		t.Errorf("%d rows are left", n)
	}
	for sql, analyze := range map[string]bool{"": false, "select 1; select 2": false, "explain select 1": false,
		"create table x (i int)": false, "delete from contacts": true, "select $1::int": true, "vacuum": false,
		"select $99999::int": false, "select $99999999999999999999::int": false,
		"select 1; delete from contacts": true} {
		_, err := a.Explain(t.Context(), app.ExplainOptions{Selection: all(t), SQL: sql, Analyze: analyze})
		if _, is := errors.AsType[*app.ScriptError](err); !is {
			t.Errorf("%q: %v", sql, err)
		}
	}
	got = explained(t, a, app.ExplainOptions{SQL: "select nonsense from contacts"})
	if len(got.Groups) != 0 || len(failed(got)) != 2 || db.SQLState(failed(got)[0].Err) != "42703" {
		t.Errorf("%+v", got)
	}
}
