package migrate_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestToldStatementsStandAlone: where the server's log or an event trigger tells of statements
// that change a schema, those of a group are statements as well, and otherwise parts of a
// block.
func TestToldStatementsStandAlone(t *testing.T) {
	t.Parallel()
	const trigger = `create event trigger tell on ddl_command_end execute function public.tell()`
	for name, c := range map[string]struct {
		with []string
		want int64
	}{
		"nobody": {},
		"log": {[]string{"do $$ begin execute format('alter database %I set log_statement = ddl', current_database()); " +
			"end $$"}, 12},
		"trigger":          {[]string{trigger}, 12},
		"disabled trigger": {[]string{trigger, "alter event trigger tell disable"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "create function public.tell() returns event_trigger language plpgsql as 'begin end'")
			// The rows of the table are told what runs while they are written anew.
			old, plan := plans(t, map[string]string{"1_a.sql": "create table told (x int);\ninsert into told values (1);",
				"2_b.sql": "alter table told add sql text default current_query();"})
			tenants := f.Create(t, old, fleettest.Names(13)...)
			f.Exec(t, c.with...)
			report := grouped(t, f, plan, tenants, migrate.RunOptions{})
			if report.Count(migrate.Migrated) != 13 {
				t.Fatalf("outcomes %+v", report.Outcomes)
			}
			wantAt(t, f, tenants, 2)
			if n := transactions(t, f, 2); n > 8 { // the last few go alone, so that all workers end at once
				t.Errorf("%d transactions", n)
			}
			var alone int64
			for _, tenant := range tenants[1:] { // but the canary
				alone += f.Int(t, "select count(*) from "+tenant.Schema.Quoted()+".told where sql like 'alter table%'")
			}
			if alone < c.want || c.want == 0 && alone > 6 {
				t.Errorf("%d statements of their own", alone)
			}
		})
	}
}

// TestGroupsTakeSeveralFiles: tenants that are behind by several files share transactions,
// also with those that are behind by one; the schemas on the path behind theirs are found.
func TestGroupsTakeSeveralFiles(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": first, "2_b.sql": second,
		"3_c.sql": "-- +goose StatementBegin\ncreate function g() returns text language sql as $crmctl$ select 'it''s \\ ' $crmctl$;\n" +
			"-- +goose StatementEnd\nalter table a add z text default 'x''y\\z';",
		"4_d.sql": "-- +goose StatementBegin\nalter table a add k text check (k <> 'do $crmctl$'), add m mood -- the mood\n" +
			"-- +goose StatementEnd"}
	old, plan := plans(t, files)
	f.Exec(t, "create schema app", "create type app.mood as enum ('x')")
	plan, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{Shared: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	tenants := f.Create(t, old, fleettest.Names(26)...)
	to2, err := plan.To(2)
	if err != nil {
		t.Fatal(err)
	}
	some := grouped(t, f, to2, tenants[:13], migrate.RunOptions{})
	tenants = append(some.Tenants(), tenants[13:]...)
	report := grouped(t, f, plan, tenants, migrate.RunOptions{})
	if n := report.Count(migrate.Migrated); n != 26 {
		t.Fatalf("%d migrated: %+v", n, report.Outcomes[25])
	}
	wantAt(t, f, tenants, 4)
	if n := transactions(t, f, 4); n > 12 {
		t.Errorf("%d transactions", n)
	}
	for _, tenant := range tenants {
		if n := f.Int(t, "select count(*) from "+tenant.Schema.Quoted()+".goose_db_version where version_id > 0 and is_applied"); n != 4 {
			t.Errorf("%s: %d versions", tenant.Slug, n)
		}
	}
	if n := f.Int(t, `select count(*) from pg_proc where proname = 'g' and prosrc = $1`, ` select 'it''s \ ' `); n != 26 {
		t.Errorf("%d functions", n)
	}
}

// TestGroupsWorkAsTheOwners: what a group makes belongs to the owner of each schema.
func TestGroupsWorkAsTheOwners(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second + "\ncreate table made (x int);"})
	tenants := f.Create(t, old, fleettest.Names(20)...)
	prefix := "groups" + strconv.FormatInt(time.Now().UnixNano(), 36)
	app, other := prefix+"_app", prefix+"_other"
	f.Exec(t, "create role "+app, "create role "+other)
	t.Cleanup(func() { f.DropRoles(t, prefix) })
	owners := []string{app, "", other}
	for i, tenant := range tenants {
		if role := owners[i%3]; role != "" {
			f.Exec(t, "alter schema "+tenant.Schema.Quoted()+" owner to "+role,
				"alter table "+tenant.Schema.Quoted()+".a owner to "+role,
				"alter table "+tenant.Schema.Quoted()+".goose_db_version owner to "+role)
		}
	}
	report := grouped(t, f, plan, tenants, migrate.RunOptions{Trusted: []string{app, other}})
	if n := report.Count(migrate.Migrated); n != 20 {
		t.Fatalf("%d migrated: %+v", n, report.Outcomes[0])
	}
	wantAt(t, f, tenants, 2)
	if n := transactions(t, f, 2); n > 10 {
		t.Errorf("%d transactions", n)
	}
	for i, tenant := range tenants {
		n := f.Int(t, `select count(*) from pg_class c where relname = 'made' and relnamespace = $1::text::regnamespace
			and pg_get_userbyid(relowner) = coalesce(nullif($2, ''), current_user)`, tenant.Schema.Quoted(), owners[i%3])
		if n != 1 {
			t.Errorf("%s: the table is not of %q", tenant.Slug, owners[i%3])
		}
	}
}

// TestGroupsRefuseOtherVersions: a group does not take along a tenant that lacks a version and
// has a later one already, although it has as many as the registry says.
func TestGroupsRefuseOtherVersions(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second,
		"3_c.sql": "create table if not exists c (x int);", "4_d.sql": "create table if not exists d (x int);"})
	to2, err := plan.To(2)
	if err != nil {
		t.Fatal(err)
	}
	tenants := f.Create(t, to2, fleettest.Names(13)...)
	f.Exec(t, "update "+tenants[8].Schema.Quoted()+".goose_db_version set version_id = 3 where version_id = 2")
	report := grouped(t, f, plan, tenants, migrate.RunOptions{})
	for i, o := range report.Outcomes {
		if want := i != 8; (o.State == migrate.Migrated) != want {
			t.Errorf("%d: %+v", i, o)
		}
	}
}
