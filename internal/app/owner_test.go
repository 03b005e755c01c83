package app_test

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// membership is how crmctl's role stands to the one that owns the tenants: %[1]s is the
// owner, %[2]s crmctl's.
type membership struct {
	name  string
	since int // the major version that knows it
	roles []string
}

func memberships() []membership {
	return []membership{
		{name: "inherits", roles: []string{"grant %[1]s to %[2]s"}},
		{name: "noinherit", roles: []string{"alter role %[2]s noinherit", "grant %[1]s to %[2]s"}},
		{name: "set without inherit", since: 16, roles: []string{"grant %[1]s to %[2]s with inherit false, set true"}},
		{name: "of a member", roles: []string{"alter role %[2]s noinherit", "create role %[1]s_dba",
			"grant %[1]s to %[1]s_dba", "grant %[1]s_dba to %[2]s"}},
		{name: "the versions are its own", roles: []string{"alter role %[2]s noinherit", "grant %[1]s to %[2]s",
			"alter table tenant_acme.goose_db_version owner to %[2]s", "grant usage on schema tenant_acme to %[2]s"}},
	}
}

// owned is a tenant acme whose schema belongs to one role, and an application that works
// as another.
func owned(t *testing.T, m membership, n int) (f *fleettest.Fleet, a *app.App, role string) {
	t.Helper()
	f = fleettest.New(t)
	if m.since > 0 && f.Int(t, "select current_setting('server_version_num')::int8 / 10000") < int64(m.since) {
		t.Skip("the server knows no such membership")
	}
	name := "appown" + strconv.Itoa(n) + "_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	role, me := name+"_app", name+"_mig"
	t.Cleanup(func() { f.DropRoles(t, name) })
	f.Exec(t, "create role "+role, "create role "+me+" login", "grant usage on schema public to "+me,
		"do $$ begin execute format('grant create, temporary on database %I to "+me+", "+role+
			"', current_database()); end $$",
		"grant select, insert, update, delete on all tables in schema public to "+me,
		"grant usage on all sequences in schema public to "+me)
	first, _ := open(t, f, "")
	first.Config.TenantOwner = role
	made, err := first.CreateTenants(t.Context(), app.CreateOptions{Specs: specs("acme"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	f.Exec(t, "insert into tenant_acme.contacts (email) values ('first@example.com')")
	for _, sql := range m.roles {
		f.Exec(t, strings.ReplaceAll(strings.ReplaceAll(sql, "%[1]s", role), "%[2]s", me))
	}
	a, _ = open(t, f, "")
	connectAs(a, f, me)
	return f, a, role
}

// The tenants of a role can be read and written by whoever may take that role, whether
// the membership brings its rights along or not.
func TestTenantsOfAnotherRole(t *testing.T) {
	t.Parallel()
	for n, m := range memberships() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			f, a, role := owned(t, m, n)
			t.Run("import", func(t *testing.T) { importAsOwner(t, f, a, role) })
			t.Run("exec", func(t *testing.T) { execAsOwner(t, a) })
			t.Run("verify", func(t *testing.T) { verifyAsOwner(t, a) })
			t.Run("sizes", func(t *testing.T) {
				found, err := a.Sizes(t.Context(), app.SizesOptions{Selection: all(t), Mode: stats.Exact})
				if err != nil || len(found.Report.Tenants) != 1 || !found.Report.Tenants[0].Exact {
					t.Errorf("%+v, %v", found, err)
				}
			})
			t.Run("drift", func(t *testing.T) {
				drift, _, err := a.Drift(t.Context(), app.DriftOptions{Selection: all(t),
					Ignore: []catalog.Kind{catalog.KindGrant}})
				if err != nil || drift.Clean != 1 {
					t.Errorf("%+v, %v", drift, err)
				}
			})
			t.Run("backup", func(t *testing.T) { saveAll(t, a, t.TempDir(), "acme") })
			t.Run("clone", func(t *testing.T) {
				out, err := a.CloneTenant(t.Context(), app.CloneOptions{From: "acme", To: "twin", LockTimeout: 5 * time.Second})
				if err != nil || out.Made.Rows == 0 {
					t.Fatalf("%+v, %v", out, err)
				}
				if n := f.Int(t, "select count(*) from tenant_twin.contacts"); n < 2 {
					t.Errorf("%d contacts", n)
				}
			})
			t.Run("crm", func(t *testing.T) { crmAsOwner(t, f, a, role) })
			t.Run("person", func(t *testing.T) { personAsOwner(t, f, a, role) })
			t.Run("seed", func(t *testing.T) { seedAsOwner(t, f, a, role) })
		})
	}
}

func importAsOwner(t *testing.T, f *fleettest.Fleet, a *app.App, role string) {
	t.Helper()
	ctx := t.Context()
	path := writeFile(t, "leads.csv", "email,name\nfirst@example.com,Ann\nb@example.com,Bob\n")
	var id int64
	for _, dry := range []bool{true, false} {
		out, err := a.ImportContacts(ctx, app.ImportOptions{Tenant: "acme", File: app.ContactFile{Path: path,
			Read: importer.Options{DryRun: dry}}})
		if err != nil || out.Inserted != 1 || out.Updated != 1 {
			t.Fatalf("dry %t: %+v, %v", dry, out.Result, err)
		}
		if !dry && !out.Undo {
			t.Error("it cannot be taken back")
		}
		id = out.ID
	}
	var by *string
	f.Scan(t, []any{&by}, "select detail ->> 'role' from public.tenant_events where action = 'import'")
	if by == nil || *by != role {
		t.Errorf("the audit names role %v, want %s", by, role)
	}
	undone, err := a.UndoImport(ctx, app.UndoOptions{Tenant: "acme", ID: id, LockTimeout: time.Second})
	if err != nil || undone.Removed != 1 || undone.PutBack != 1 {
		t.Errorf("undo: %+v, %v", undone, err)
	}
	_, err = a.ImportContacts(ctx, app.ImportOptions{Tenant: "acme", File: app.ContactFile{Path: path,
		Read: importer.Options{Batch: 1}}})
	if err != nil {
		t.Errorf("in batches: %v", err)
	}
}

func execAsOwner(t *testing.T, a *app.App) {
	t.Helper()
	var got []string
	out, err := a.Exec(t.Context(), app.ExecOptions{Selection: all(t), SQL: "select count(*) from contacts",
		Show: func(_ []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error {
			for row, err := range rows {
				if err != nil {
					return err
				}
				got = append(got, row.Values[0].Text)
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if s := out.Summary(); !s.Whole() || fmt.Sprint(got) != "[2]" {
		t.Errorf("%v, %v", got, s.First())
	}
}

func verifyAsOwner(t *testing.T, a *app.App) {
	t.Helper()
	conn, err := a.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	plan, err := a.TenantPlan(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	tenants, _, err := a.Tenants(t.Context(), conn, all(t))
	if err != nil {
		t.Fatal(err)
	}
	actual, err := plan.Verify(t.Context(), conn, tenants, time.Second)
	if err != nil || actual[0].Err != nil || actual[0].Version != plan.Head() {
		t.Errorf("%+v, %v", actual, err)
	}
}

func seedAsOwner(t *testing.T, f *fleettest.Fleet, a *app.App, role string) {
	t.Helper()
	f.Exec(t, "truncate tenant_acme.contacts cascade")
	out, err := a.SeedTenant(t.Context(), app.SeedOptions{Tenant: "acme", Contacts: 3})
	if err != nil || out.Contacts != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	var by *string
	f.Scan(t, []any{&by}, "select detail ->> 'role' from public.tenant_events where action = 'seed'")
	if by == nil || *by != role {
		t.Errorf("the audit names role %v, want %s", by, role)
	}
}
