package tenant_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

func collect(t *testing.T, f *fleettest.Fleet, filter registry.AuditFilter) []registry.Entry {
	t.Helper()
	var out []registry.Entry
	for e, err := range registry.Default().Audit(t.Context(), f.Connect(t), filter) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestAuditTellsWhoAndWhat(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme", "globex")
	o := tenant.MoveOptions{Actor: "al@ice@desk", Program: "crmctl 1.2.3", LockTimeout: time.Second}
	if _, err := tenant.Suspend(t.Context(), conn, "acme", o); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tenant.Rename(t.Context(), conn, "acme", tenant.Renaming{Slug: "acme-two", DisplayName: "Acme Two"},
		o); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Set(t.Context(), conn, "acme-two", map[string]any{"retention": "90d"}, o); err != nil {
		t.Fatal(err)
	}
	got := collect(t, f, registry.AuditFilter{Actions: []string{registry.ActionSuspend, registry.ActionRename,
		registry.ActionSet}})
	if len(got) != 3 {
		t.Fatalf("%d entries", len(got))
	}
	want := []struct{ tenant, action, before, after string }{
		{"acme", "suspend", `{"status": "active"}`, `{"status": "suspended"}`},
		{"acme-two", "rename", `{"slug": "acme", "display_name": "acme"}`,
			`{"slug": "acme-two", "display_name": "Acme Two"}`},
		{"acme-two", "set", `{"settings": {}}`, `{"settings": {"retention": "90d"}}`},
	}
	for i, w := range want {
		e := got[i]
		if e.Tenant != w.tenant || e.Action != w.action || string(e.Before) != w.before || string(e.After) != w.after {
			t.Errorf("entry %d: %s %s %s %s", i, e.Tenant, e.Action, e.Before, e.After)
		}
		if e.OSUser != "al@ice" || e.Host != "desk" || e.Program != "crmctl 1.2.3" || e.DBRole == "" || e.At.IsZero() {
			t.Errorf("entry %d: who: %+v", i, e)
		}
	}
	if n := len(collect(t, f, registry.AuditFilter{Since: time.Now().Add(time.Hour)})); n != 0 {
		t.Errorf("%d entries of the future", n)
	}
	if newest := collect(t, f, registry.AuditFilter{Limit: 2}); len(newest) != 2 || newest[1].Action != "set" {
		t.Errorf("the newest two: %+v", newest)
	}
	if n := len(collect(t, f, registry.AuditFilter{Slugs: []string{"globex"}})); n != 1 {
		t.Errorf("%d entries of globex", n)
	}
}

func TestHistoryFollowsATenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	made := f.Create(t, fleettest.TenantPlan(t, 1), "acme", "globex")
	f.Exec(t, `insert into public.migration_runs (kind, actor, target_version, started_at)
		values ('migrate', 'ci@runner', 4, now())`,
		`insert into public.migration_run_tenants (run_id, tenant_id, slug, from_version, to_version, state) values (1, '`+
			made[0].ID+`', 'acme', 1, 4, 'migrated')`)
	if _, _, err := tenant.Rename(t.Context(), conn, "acme", tenant.Renaming{Slug: "acme-two"},
		tenant.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	purgeNow(t, f, "acme-two")
	for _, slug := range []string{"acme", "acme-two"} {
		var actions []string
		for e, err := range registry.Default().History(t.Context(), f.Connect(t), slug, 0) {
			if err != nil {
				t.Fatal(err)
			}
			actions = append(actions, e.Action)
		}
		if got := strings.Join(actions, " "); got != "create migrate rename delete purge" {
			t.Errorf("history of %s: %s", slug, got)
		}
	}
	for e, err := range registry.Default().History(t.Context(), conn, "nobody", 0) {
		t.Errorf("history of nobody: %+v, %v", e, err)
	}
	// A reader may stop early and use the connection again.
	for range registry.Default().History(t.Context(), conn, "acme", 0) {
		break
	}
	if _, err := registry.Default().Get(t.Context(), conn, "globex"); err != nil {
		t.Error(err)
	}
}

func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme")
	conn := f.Connect(t)
	for _, sql := range []string{
		"update public.tenant_events set actor = 'nobody'", "delete from public.tenant_events",
		"truncate public.tenant_events",
		"set session_replication_role = replica; delete from public.tenant_events",
	} {
		_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		if err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where actor = 'test'"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "globex")
	made := roled(t, f)
	dropAtEnd(t, f, made.Role+"_two")
	o := tenant.MoveOptions{LockTimeout: time.Second}
	f.Exec(t, "insert into "+made.Schema.Quoted()+".contacts (name) values ('x')")
	before, after, err := tenant.PlanRename(t.Context(), conn, made.Slug,
		tenant.Renaming{Slug: made.Slug + "-two", Schema: true}, o)
	if err != nil || before.Slug != made.Slug || after.Slug != made.Slug+"-two" {
		t.Errorf("plan: %v", err)
	}
	if _, err := registry.Default().Get(t.Context(), conn, made.Slug); err != nil {
		t.Errorf("the plan was carried out: %v", err)
	}
	_, after, err = tenant.Rename(t.Context(), conn, made.Slug, tenant.Renaming{Slug: made.Slug + "-two", Schema: true}, o)
	if err != nil {
		t.Fatal(err)
	}
	if after.ID != made.ID || after.Schema.String() != made.Schema.String()+"_two" || after.Role != after.Schema.String() {
		t.Errorf("after: %+v", after)
	}
	if !can(t, f, after.Role, "select * from "+after.Schema.Quoted()+".contacts") {
		t.Error("the role has lost its schema")
	}
	if n := f.Int(t, "select count(*) from "+after.Schema.Quoted()+".contacts"); n != 1 {
		t.Error("the data is lost")
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname = $1", made.Schema.String()); n != 0 {
		t.Error("the old schema is there")
	}
	slug := after.Slug
	if _, same, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: slug, Schema: true}, o); err != nil ||
		same.Slug != slug {
		t.Errorf("nothing to change: %v", err)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'rename'"); n != 1 {
		t.Errorf("%d renames in the audit", n)
	}
	var exists *registry.ExistsError
	if _, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: "globex"}, o); !errors.As(err, &exists) ||
		exists.Status != registry.Active {
		t.Errorf("onto another: %v", err)
	}
	f.Exec(t, "create schema tenant_orphan")
	if _, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: "orphan", Schema: true},
		o); !errors.As(err, &exists) || exists.Status != "" {
		t.Errorf("onto a schema that is there: %v", err)
	}
	if got, err := registry.Default().Get(t.Context(), conn, slug); err != nil || got.Schema != after.Schema {
		t.Errorf("after refusals: %+v, %v", got, err)
	}
	if _, err := tenant.Delete(t.Context(), conn, slug, 0, o); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: "x"}, o); !errors.Is(err,
		registry.ErrState) || !strings.Contains(err.Error(), "undelete it first") {
		t.Errorf("a deleted tenant: %v", err)
	}
}
