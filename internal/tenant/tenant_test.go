package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

func options(t *testing.T) tenant.CreateOptions {
	t.Helper()
	plan := fleettest.TenantPlan(t, 0)
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	return tenant.CreateOptions{
		Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "alice@desk", LockTimeout: 2 * time.Second,
	}
}

func TestCreateIsWhole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	o := options(t)
	made, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: "acme-corp", DisplayName: "Acme Corp."}, o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.Default().Get(t.Context(), conn, "acme-corp")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != made.ID || got.Schema.String() != "tenant_acme_corp" || got.DisplayName != "Acme Corp." ||
		got.Status != registry.Active || got.Version != o.Template.Version || !got.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("registry has %+v, created %+v", got, made)
	}
	indexes := []string{
		"idx_contacts_email", "idx_contacts_phone", "idx_contacts_created_at", "idx_conversations_contact_status",
		"idx_messages_conversation_created", "idx_contacts_metadata", "idx_messages_content", "idx_contacts_email_pattern",
	}
	if n := f.Int(t, "select count(*) from pg_indexes where schemaname = 'tenant_acme_corp' and indexname = any ($1)",
		indexes); int(n) != len(indexes) {
		t.Errorf("%d of the %d indexes", n, len(indexes))
	}
	if n := f.Int(t, "select max(version_id) from tenant_acme_corp.goose_db_version"); n != o.Template.Version {
		t.Errorf("schema at version %d", n)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'create' and slug = 'acme-corp' and "+
		"actor = 'alice@desk' and tenant_id = $1", made.ID); n != 1 {
		t.Error("no audit row")
	}
	if n := f.Int(t, "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relname in "+
		"('contacts', 'messages')"); n != 0 {
		t.Error("tenant tables in public")
	}
}

func TestCreateFailsWhole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	o := options(t)
	o.Template.Script = append(slices.Clone(o.Template.Script), db.Statement{SQL: "select no_such_function()",
		File: "9_x.sql", Line: 2})
	_, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: "acme"}, o)
	if err == nil || !strings.Contains(err.Error(), "9_x.sql:2") {
		t.Errorf("error %v", err)
	}
	if n := f.Int(t, "select (select count(*) from public.tenants) + (select count(*) from public.tenant_events) + "+
		"(select count(*) from pg_namespace where nspname like 'tenant\\_%')"); n != 0 {
		t.Errorf("%d things stayed", n)
	}
}

func TestCreateConflicts(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	o := options(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "gone")
	f.Exec(t, "create schema tenant_orphan")
	if _, err := tenant.Delete(t.Context(), conn, "gone", time.Hour, tenant.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for slug, want := range map[string]string{
		"acme": "exists already", "gone": "is deleted", "orphan": "the registry does not know it",
	} {
		_, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: slug}, o)
		if !errors.Is(err, registry.ErrExists) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", slug, err)
		}
	}
	empty := pgtest.Empty(t)
	bare := &fleettest.Fleet{DSN: empty}
	if _, err := tenant.Create(t.Context(), bare.Connect(t), tenant.Spec{Slug: "x"}, o); !errors.Is(err,
		registry.ErrNoRegistry) {
		t.Errorf("without a registry: %v", err)
	}
	if _, err := registry.Default().List(t.Context(), bare.Connect(t), registry.Filter{}); !errors.Is(err,
		registry.ErrNoRegistry) {
		t.Errorf("without a registry: %v", err)
	}
}

func TestSameTenantCreatedAtOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := options(t)
	const racers = 6
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			_, results, err := tenant.CreateMany(t.Context(), f.Dial, []tenant.Spec{{Slug: "acme"}}, o, false,
				fleet.Options{Attempts: 10})
			if err != nil {
				t.Error(err)
				return
			}
			errs[i] = results[0].Err
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, registry.ErrExists):
			t.Errorf("a loser says %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d winners", won)
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != 1 {
		t.Errorf("%d rows", n)
	}
	_, results, err := tenant.CreateMany(t.Context(), f.Dial, []tenant.Spec{{Slug: "acme"}, {Slug: "new"}}, o, true,
		fleet.Options{})
	if err != nil || results[0].Err != nil || results[1].Err != nil {
		t.Errorf("if not exists: %v, %v", err, results)
	}
}

func TestHostileNamesChangeNothingElse(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := options(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "bystander")
	same63 := strings.Repeat("x", 63)
	before := relations(t, f)
	var slugs []string
	for _, name := range []string{
		`"; DROP SCHEMA tenant_bystander CASCADE; --`, "pg_x", "public", "información", same63 + "a", same63 + "b",
		"tenant_bystander", "日本",
	} {
		slug, err := registry.Slug(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: slug, DisplayName: name}, o); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		slugs = append(slugs, slug)
	}
	if n := f.Int(t, "select count(distinct schema_name) from public.tenants"); int(n) != len(slugs)+1 {
		t.Errorf("%d schemas for %d tenants", n, len(slugs)+1)
	}
	// The two that agree in 63 bytes: deleting and purging one leaves the other.
	purgeNow(t, f, same63+"b")
	if _, err := registry.Default().Get(t.Context(), f.Connect(t), same63+"a"); err != nil {
		t.Error(err)
	}
	if n := f.Int(t, "select count(*) from pg_namespace n join public.tenants t on t.schema_name = "+
		"n.nspname"); int(n) != len(slugs) {
		t.Errorf("%d tenants have their schema, want %d", n, len(slugs))
	}
	for _, slug := range slugs {
		if slug != same63+"b" {
			purgeNow(t, f, slug)
		}
	}
	if after := relations(t, f); after != before {
		t.Errorf("the catalog changed\nbefore %s\nafter  %s", before, after)
	}
}

func relations(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var s string
	f.Scan(t, []any{&s}, `select string_agg(n.nspname || '.' || c.relname, ' ' order by 1) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'`)
	return s
}

func purgeNow(t *testing.T, f *fleettest.Fleet, slug string) {
	t.Helper()
	if _, err := tenant.Delete(t.Context(), f.Connect(t), slug, 0, tenant.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	purgeDue(t, f, slug)
}

func purgeDue(t *testing.T, f *fleettest.Fleet, slug string) {
	t.Helper()
	conn := f.Connect(t)
	plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{Slugs: []string{slug}}, time.Now())
	if err != nil || len(plan.Due) != 1 {
		t.Fatalf("due: %v, %v", plan, err)
	}
	_, results, _ := tenant.PurgeMany(t.Context(), f.Dial, plan.Due,
		tenant.PurgeOptions{MoveOptions: tenant.MoveOptions{Actor: "bob"}}, fleet.Options{})
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
}

func TestDeleteUndeletePurge(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) tenant.MoveOptions {
		return tenant.MoveOptions{Actor: "bob", LockTimeout: time.Second, Now: func() time.Time { return now.Add(d) }}
	}
	const day = 24 * time.Hour

	got, err := tenant.Delete(t.Context(), conn, "acme", 30*day, at(0))
	if err != nil || got.Status != registry.Deleted || !got.PurgeAfter.Equal(now.Add(30*day)) {
		t.Fatalf("delete: %+v, %v", got, err)
	}
	if _, err := tenant.Delete(t.Context(), conn, "acme", 0, at(0)); !errors.Is(err, registry.ErrState) {
		t.Errorf("delete twice: %v", err)
	}
	if _, err := tenant.Undelete(t.Context(), conn, "acme", at(day)); err != nil {
		t.Error(err)
	}
	if _, err := tenant.Undelete(t.Context(), conn, "acme", at(day)); !errors.Is(err, registry.ErrState) {
		t.Errorf("undelete twice: %v", err)
	}
	for _, slug := range []string{"acme", "globex"} {
		if _, err := tenant.Delete(t.Context(), conn, slug, 30*day, at(2*day)); err != nil {
			t.Fatal(err)
		}
	}
	due := func(f2 tenant.PurgeFilter, after time.Duration) []registry.Tenant {
		plan, err := tenant.PlanPurge(t.Context(), conn, f2, now.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return plan.Due
	}
	if d := due(tenant.PurgeFilter{}, 31*day); len(d) != 0 {
		t.Errorf("%d due before the retention is over", len(d))
	}
	if d := due(tenant.PurgeFilter{OlderThan: 60 * day}, 40*day); len(d) != 0 {
		t.Errorf("%d due although younger than asked", len(d))
	}
	if d := due(tenant.PurgeFilter{Max: 1}, 40*day); len(d) != 1 {
		t.Errorf("limit 1 gives %d", len(d))
	}
	all := due(tenant.PurgeFilter{}, 40*day)
	if len(all) != 2 {
		t.Fatalf("%d due", len(all))
	}
	// One is undeleted between the plan and the purge: it must survive.
	if _, err := tenant.Undelete(t.Context(), conn, "globex", at(39*day)); err != nil {
		t.Fatal(err)
	}
	_, results, _ := tenant.PurgeMany(t.Context(), f.Dial, all, tenant.PurgeOptions{MoveOptions: at(40 * day)},
		fleet.Options{})
	for i, r := range results {
		if all[i].Slug == "acme" && r.Err != nil || all[i].Slug == "globex" && !errors.Is(r.Err, registry.ErrState) {
			t.Errorf("%s: %v", all[i].Slug, r.Err)
		}
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname in ('tenant_globex', 'tenant_initech')"); n != 2 {
		t.Error("a tenant was lost")
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname = 'tenant_acme'"); n != 0 {
		t.Error("the purged schema is still there")
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where slug = 'acme' and action = 'purge' and actor = "+
		"'bob'"); n != 1 {
		t.Error("the purge left no tombstone")
	}
	var similar *registry.NotFoundError
	if _, err := tenant.Delete(t.Context(), conn, "globx", 0, at(0)); !errors.As(err, &similar) ||
		similar.Similar != "globex" {
		t.Errorf("a typo: %v", err)
	}
}

func TestMovesExcludeAMigration(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now() - interval '1 day', purge_after = now() "+
		"- interval '1 hour'")
	conn := f.Connect(t)
	plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{}, time.Now())
	if err != nil || len(plan.Due) != 1 {
		t.Fatalf("%v, %v", plan, err)
	}
	holder := f.Connect(t)
	inTheWay := fmt.Sprintf("pid %d (role ", holder.PgConn().PID())
	err = db.InTx(t.Context(), holder, db.Locals{Schema: tenants[0].Schema, Tenant: registry.Default().Row(tenants[0].ID)},
		func(ctx context.Context, q db.Querier) error {
			begun := time.Now()
			_, err := tenant.Undelete(ctx, conn, "acme", tenant.MoveOptions{LockTimeout: 300 * time.Millisecond})
			if !errors.Is(err, db.ErrBusy) || !strings.Contains(err.Error(), inTheWay) ||
				time.Since(begun) < 300*time.Millisecond {
				t.Errorf("undelete during a migration: %v after %v", err, time.Since(begun))
			}
			_, r, _ := tenant.PurgeMany(ctx, f.Dial, plan.Due, tenant.PurgeOptions{},
				fleet.Options{Attempts: 2, Backoff: func(int) time.Duration {
					return 0
				}})
			if !errors.Is(r[0].Err, db.ErrBusy) || !strings.Contains(r[0].Err.Error(), inTheWay) {
				t.Errorf("purge during a migration: %v", r[0].Err)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme", "acme-two", "globex")
	got, err := registry.Default().Slugs(t.Context(), f.Connect(t), "acme", 10)
	if err != nil || !slices.Equal(got, []string{"acme", "acme-two"}) {
		t.Errorf("%v, %v", got, err)
	}
}
