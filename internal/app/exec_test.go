package app_test

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// all selects every tenant.
func all(t *testing.T) *app.Selection {
	t.Helper()
	s, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExecReads(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	a, _ := open(t, f, "")
	var got []string
	done, err := a.Exec(t.Context(), app.ExecOptions{Selection: all(t), SQL: "select current_schema()",
		Show: func(_ []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error {
			for row, err := range rows {
				if err != nil {
					return err
				}
				got = append(got, row.Tenant.Slug+"="+row.Values[0].Text)
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if s := done.Summary(); !s.Whole() || s.Done != 2 {
		t.Errorf("%+v", s)
	}
	if want := "acme=tenant_acme globex=tenant_globex"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Whatever reads cannot write.
	done, err = a.Exec(t.Context(), app.ExecOptions{Selection: all(t), SQL: "delete from contacts", Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s := done.Summary(); s.Done != 0 || db.SQLState(s.First()) != db.CodeReadOnlyTransaction {
		t.Errorf("%+v", s)
	}
}

func TestExecWrites(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, "insert into tenant_acme.contacts (email) values ('a@example.com')")
	a, _ := open(t, f, "")
	asked := 0
	o := app.ExecOptions{Selection: all(t), SQL: "update contacts set name = 'x'", Write: true, DryRun: true,
		Confirm: func(p app.ExecPlan) error {
			asked += len(p.Tenants) * len(p.Script)
			return nil
		}}
	named := func() int64 { return f.Int(t, "select count(*) from tenant_acme.contacts where name = 'x'") }
	done, err := a.Exec(t.Context(), o)
	if err != nil || done.Affected() != 1 || asked != 0 || named() != 0 {
		t.Fatalf("dry run: %v, asked %d times, %d rows", err, asked, named())
	}
	o.DryRun = false
	done, err = a.Exec(t.Context(), o)
	if err != nil || done.Affected() != 1 || asked != 2 || named() != 1 {
		t.Fatalf("%v, asked %d times, %d rows", err, asked, named())
	}
	if n := f.Int(t, "select count(*) from tenant_events where action = 'exec' and actor = 'test'"); n != 2 {
		t.Errorf("the audit has %d rows", n)
	}
	refused := errors.New("no")
	o.Confirm = func(app.ExecPlan) error { return refused }
	if _, err := a.Exec(t.Context(), o); !errors.Is(err, refused) {
		t.Errorf("%v, want the refusal", err)
	}
}

// Suspended tenants are changed only where that was said, and nothing at all is run
// before.
func TestExecRefusesSuspendedTenants(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, "insert into tenant_acme.contacts (email) values ('a@example.com')",
		"update tenants set status = 'suspended' where slug = 'globex'")
	a, _ := open(t, f, "")
	o := app.ExecOptions{Selection: all(t), SQL: "delete from contacts", Write: true}
	_, err := a.Exec(t.Context(), o)
	shut, is := errors.AsType[*app.SuspendedError](err)
	if !is || len(shut.Slugs) != 1 || shut.Slugs[0] != "globex" || shut.Tenants != 2 {
		t.Fatalf("%v", err)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
	o.Suspended = true
	done, err := a.Exec(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s := done.Summary(); s.Done != 2 {
		t.Errorf("%+v", s)
	}
}

func TestExecStopsAfterFailures(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "c")
	a, _ := open(t, f, "")
	done, err := a.Exec(t.Context(), app.ExecOptions{Selection: all(t), SQL: "select 1/0", Attempts: 1, Concurrency: 1,
		StopAfter: func(n int) int { return n - 2 }})
	if err != nil {
		t.Fatal(err)
	}
	if s := done.Summary(); s.Failed != 1 || s.NotStarted != 2 || !errors.Is(s.Stopped, fleet.ErrTooManyFailures) {
		t.Errorf("%+v", s)
	}
}

func TestExecRefusesWhatIsNoSQL(t *testing.T) {
	t.Parallel()
	a := app.New(app.App{})
	for _, text := range []string{"", " -- nothing\n", "select '\xff'", "select '\x00'"} {
		_, err := a.Exec(t.Context(), app.ExecOptions{SQL: text})
		if _, is := errors.AsType[*app.ScriptError](err); !is {
			t.Errorf("%q: %v", text, err)
		}
	}
}
