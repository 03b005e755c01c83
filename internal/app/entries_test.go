package app_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/tenant"
)

// entryTenants is how many tenants there are whose entries are counted.
const entryTenants = 20

func entryNames(prefix string) []string {
	out := make([]string, entryTenants)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return out
}

// wantEntries counts the entries that something leaves.
func wantEntries(t *testing.T, f *fleettest.Fleet, name string, most int64, do func() error) {
	t.Helper()
	f.Exec(t, "select pg_stat_statements_reset()")
	if err := do(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := f.Int(t, "select count(*) from pg_stat_statements")
	t.Logf("%s: %d entries", name, n)
	if n > most {
		t.Errorf("%s: %d entries of %d tenants:\n%s", name, n, entryTenants, strings.Join(texts(t, f, `
			select count(*)::text || 'x ' || min(left(regexp_replace(query, '\s+', ' ', 'g'), 160)) from pg_stat_statements
			group by regexp_replace(query, '[0-9]+|copy|single|again|old|role|t_', '', 'g') having count(*) > 2
			order by 1 desc`), "\n"))
	}
}

// TestFleetLeavesFewEntries: what is done to many tenants is a handful of entries in
// pg_stat_statements, which keeps 5,000 unless told otherwise, and not some for each tenant.
// Each limit is above what its step leaves by less than the number of tenants, so that one
// entry for each goes beyond it.
func TestFleetLeavesFewEntries(t *testing.T) {
	t.Parallel()
	f := fleettest.Counted(t)
	a, _ := open(t, f, "")
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	other := fleettest.Counted(t)
	elsewhere, _ := open(t, other, "")
	ctx, limit := t.Context(), 5*time.Second
	dir := t.TempDir()
	names := entryNames
	roles := specs(names("role")...)
	for i := range roles {
		roles[i].Role = true
	}
	made := func(slugs []string, o app.CreateOptions) error {
		o.Specs, o.LockTimeout = specs(slugs...), limit
		out, err := a.CreateTenants(ctx, o)
		if err == nil {
			done(t, out.Results)
		}
		return err
	}
	for _, step := range []struct {
		name string
		most int64 // entries
		do   func() error
	}{
		{"create", 30, func() error { return made(names("t"), app.CreateOptions{}) }},
		{"create one by one", 45, func() error {
			for _, slug := range names("single") {
				if err := made([]string{slug}, app.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"create with roles", 40, func() error {
			made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: roles, LockTimeout: limit})
			if err == nil {
				done(t, made.Results)
			}
			return err
		}},
		{"create from history", 30, func() error {
			return made(names("old"), app.CreateOptions{To: 1})
		}},
		{"migrate", 73, func() error { migrateAll(t, a); return nil }},
		// The two statements that write contacts name the table: until 17 they are two for each tenant.
		{"import", 88, func() error {
			for i, slug := range names("t") {
				importOnce(t, a, slug, fmt.Sprintf("email,name\na%d@example.com,A\nann@example.com,Ann\n", i), importer.Options{})
			}
			return nil
		}},
		{"backup", 85, func() error { saveAll(t, a, dir, names("t")...); return nil }},
		{"export", 25, func() error {
			_, err := a.Export(ctx, app.ExportOptions{Selection: all(t), Path: filepath.Join(t.TempDir(), "all.csv"),
				Out: io.Discard, Write: exporter.Options{Table: exporter.Contacts, Format: exporter.CSV}})
			return err
		}},
		{"restore", 108, func() error {
			file := saveAll(t, a, dir, "t-0")
			for _, slug := range names("again") {
				restoreAs(t, a, filepath.Join(dir, file), slug)
			}
			return nil
		}},
		{"clone", 98, func() error {
			for i, slug := range names("t") {
				if _, err := a.CloneTenant(ctx, app.CloneOptions{From: slug, To: fmt.Sprintf("copy-%d", i),
					LockTimeout: limit}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"purge", 104, func() error {
			conn := f.Connect(t)
			long := func() time.Time { return time.Now().AddDate(0, 0, -90) }
			for _, slug := range names("copy") {
				if _, err := tenant.Delete(ctx, conn, slug, time.Hour, tenant.MoveOptions{Actor: "test", LockTimeout: limit,
					Now: long}); err != nil {
					return err
				}
			}
			plan, err := tenant.PlanPurge(ctx, conn, tenant.PurgeFilter{}, time.Now())
			if err != nil {
				return err
			}
			out, err := a.PurgeTenants(ctx, plan.Due, app.PurgeOptions{BackupDir: dir, LockTimeout: limit})
			if err == nil {
				done(t, out.Results)
			}
			return err
		}},
		{"erase", 50, func() error { eraseAnn(t, a); return nil }},
		{"transfer", 115, func() error {
			wantEntries(t, other, "transfer, there", 115, func() error {
				for _, slug := range names("t") {
					o := transferTo(elsewhere)
					o.Tenant = slug
					if _, err := a.TransferTenant(ctx, o); err != nil {
						return fmt.Errorf("%s: %w", slug, err)
					}
				}
				return nil
			})
			return nil
		}},
	} {
		wantEntries(t, f, step.name, step.most, step.do)
	}
}

// TestTenantsOfAnotherRoleLeaveFewEntries is the same where the tenants belong to a role that
// the session's may take.
func TestTenantsOfAnotherRoleLeaveFewEntries(t *testing.T) {
	t.Parallel()
	f := fleettest.Counted(t)
	const role, me = "entries_app", "entries_mig"
	f.Exec(t, "create role "+role, "create role "+me+" login", "grant usage on schema public to "+me,
		"do $$ begin execute format('grant create, temporary on database %I to "+me+", "+role+"', current_database()); end $$",
		"grant select, insert, update, delete on all tables in schema public to "+me,
		"grant usage on all sequences in schema public to "+me, "grant "+role+" to "+me)
	first, _ := open(t, f, "")
	first.Config.TenantOwner = role
	ctx, limit := t.Context(), 5*time.Second
	a, _ := open(t, f, "")
	connectAs(a, f, me)
	for _, step := range []struct {
		name string
		most int64
		do   func() error
	}{
		{"create", 30, func() error {
			made, err := first.CreateTenants(ctx, app.CreateOptions{Specs: specs(entryNames("t")...), To: 1, LockTimeout: limit})
			if err == nil {
				done(t, made.Results)
			}
			return err
		}},
		{"migrate", 73, func() error { migrateAll(t, a); return nil }},
		{"backup", 85, func() error { saveAll(t, a, t.TempDir(), entryNames("t")...); return nil }},
		{"export", 25, func() error {
			_, err := a.Export(ctx, app.ExportOptions{Selection: all(t), Path: filepath.Join(t.TempDir(), "all.csv"),
				Out: io.Discard, Write: exporter.Options{Table: exporter.Contacts, Format: exporter.CSV}})
			return err
		}},
		{"clone", 98, func() error {
			for i, slug := range entryNames("t") {
				if _, err := a.CloneTenant(ctx, app.CloneOptions{From: slug, To: fmt.Sprintf("copy-%d", i),
					LockTimeout: limit}); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		wantEntries(t, f, step.name, step.most, step.do)
	}
}
