package tenant_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/tenant"
)

// A tenant is made for the application's role by a member of it that has not its rights by
// itself, and lives to its end as another does.
func TestLifeOfAnothersTenant(t *testing.T) {
	t.Parallel()
	for name, login := range map[string]string{"with the owner's rights": "login createrole",
		"noinherit": "login createrole noinherit"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			app, mig, slug := unique("Own App"), unique("mig"), unique("o")
			quoted := pgx.Identifier{app}.Sanitize()
			f.Exec(t, "create role "+quoted, "create role "+mig+" "+login, "grant "+quoted+" to "+mig)
			dropAtEnd(t, f, app, mig, "tenant_"+slug)
			var database string
			f.Scan(t, []any{&database}, "select quote_ident(current_database())")
			f.Exec(t, "grant create on database "+database+" to "+mig+", "+quoted, "grant usage on schema public to "+mig,
				"grant select, insert, update, delete on all tables in schema public to "+mig,
				"grant usage on all sequences in schema public to "+mig)
			cfg, err := db.ParseConfig(f.DSN)
			if err != nil {
				t.Fatal(err)
			}
			cfg.User = mig
			conn, err := db.Connect(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			create := options(t)
			create.Owner = app
			_, err = tenant.Create(t.Context(), conn, tenant.Spec{Slug: slug, Role: true}, create)
			if err != nil {
				t.Fatal(err)
			}
			if n := f.Int(t, `select count(*) from (
				select c.relowner from pg_class c where c.relnamespace = 'tenant_`+slug+`'::regnamespace
				union all select n.nspowner from pg_namespace n where n.nspname = 'tenant_`+slug+`'
				union all select d.defaclrole from pg_default_acl d where d.defaclnamespace = 'tenant_`+slug+
				`'::regnamespace) o (owner)
				where pg_get_userbyid(o.owner) <> `+db.Literal(app)); n != 0 {
				t.Errorf("%d objects are not the owner's", n)
			}
			if n := f.Int(t, "select count(*) from pg_default_acl d where d.defaclnamespace = 'tenant_"+slug+
				"'::regnamespace"); n != 2 {
				t.Errorf("%d default privileges, want those on tables and on sequences", n)
			}
			o := tenant.MoveOptions{LockTimeout: time.Second}
			if _, err := tenant.Suspend(t.Context(), conn, slug, o); err != nil {
				t.Error(err)
			}
			if _, err := tenant.Activate(t.Context(), conn, slug, o); err != nil {
				t.Error(err)
			}
			two := slug + "-two"
			if _, _, err := tenant.Rename(t.Context(), conn, slug, tenant.Renaming{Slug: two, Schema: true}, o); err != nil {
				t.Fatal(err)
			}
			dropAtEnd(t, f, "tenant_"+slug+"_two")
			f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now() - interval '2 days', "+
				"purge_after = now() - interval '1 day' where slug = '"+two+"'")
			plan, err := tenant.PlanPurge(t.Context(), conn, tenant.PurgeFilter{}, time.Now())
			if err != nil || len(plan.Due) != 1 {
				t.Fatalf("%v, %v", plan.Due, err)
			}
			_, results, _ := tenant.PurgeMany(t.Context(), func(ctx context.Context) (*pgx.Conn, error) {
				return db.Connect(ctx, cfg)
			}, plan.Due, tenant.PurgeOptions{MoveOptions: o}, fleet.Options{})
			if results[0].Err != nil {
				t.Fatal(results[0].Err)
			}
			if n := f.Int(t, "select count(*) from pg_namespace where nspname like 'tenant_"+slug+"%'"); n != 0 {
				t.Error("the schema is still there")
			}
		})
	}
}
