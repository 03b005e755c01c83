package doctor_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
	"github.com/crmctl/crmctl/migrations"
)

// fault is something wrong in a healthy fleet of three tenants, t0001 to t0003.
type fault struct {
	class  doctor.Class
	breaks func(t *testing.T, p *patient)
	// want are all findings of all classes, "severity class subject: what | command".
	want []string
	// mend does what the command says, nil for --fix.
	mend func(t *testing.T, p *patient)
	left []string // findings after that
	now  time.Duration
}

// sqls breaks or mends with statements.
func sqls(statements ...string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) { t.Helper(); p.Exec(t, statements...) }
}

// commanded mends by running the SQL that the findings say, behind "then: ".
func commanded(class doctor.Class) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		for _, f := range p.examine(t, doctor.Options{Only: []doctor.Class{class}}).Findings {
			sql := f.Command
			if _, after, found := strings.Cut(sql, "then: "); found {
				sql = after
			}
			p.Exec(t, sql)
		}
	}
}

// registryBack takes the registry a version back, as its own migration does.
func registryBack(t *testing.T, p *patient) {
	t.Helper()
	last := fleettest.Plan(t, migrations.Public()).Migrations
	m := last[len(last)-1]
	for _, s := range m.Down {
		p.Exec(t, "set search_path = public; "+s.SQL)
	}
	p.Exec(t, fmt.Sprintf("delete from public.crmctl_db_version where version_id = %d", m.Version))
}

// migrated runs the plan over the fleet, and all must end well.
func migrated(t *testing.T, p *patient) {
	t.Helper()
	for _, o := range p.migrate(t).Outcomes {
		if o.Err != nil {
			t.Errorf("%s: %v", o.Tenant.Slug, o.Err)
		}
	}
}

// withFile gives the fleet one more file and runs it, whatever comes of it.
func withFile(t *testing.T, p *patient, name, text string) {
	t.Helper()
	files := fstest.MapFS{name: &fstest.MapFile{Data: []byte(text)}}
	err := fs.WalkDir(migrations.Tenant(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(migrations.Tenant(), path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.plan = fleettest.Plan(t, files)
	p.migrate(t)
}

// migrate runs the plan over the fleet.
func (p *patient) migrate(t *testing.T) *migrate.Report {
	t.Helper()
	conn := p.Connect(t)
	tenants, err := registry.Default().List(t.Context(), conn,
		registry.Filter{Statuses: []registry.Status{registry.Active}})
	if err != nil {
		t.Fatal(err)
	}
	report, err := p.plan.Run(t.Context(), conn, p.Dial, tenants,
		migrate.RunOptions{Route: migrate.Route{Kind: migrate.Up}, Direct: p.Dial, LockTimeout: time.Second, Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// faults returns one or more of every class that the other tests on the same server do
// not disturb.
func faults() []fault {
	files, err := fs.Glob(migrations.Public(), "*.sql")
	if err != nil {
		panic(err) // of the pattern
	}
	registryHead := len(files)
	return []fault{
		{class: doctor.Registry, breaks: registryBack,
			want: []string{fmt.Sprintf("error registry registry: at version %d, older than this crmctl (%d) | crmctl migrate "+
				"public", registryHead-1, registryHead)},
			mend: func(t *testing.T, p *patient) { p.Registry(t) }},
		{class: doctor.Registry, breaks: sqls("insert into public.crmctl_db_version (version_id, is_applied) values (99, " +
			"true)"),
			want: []string{fmt.Sprintf("warning registry registry: at version 99, newer than this crmctl (%d) | install the "+
				"crmctl that the others use", registryHead)},
			mend: sqls("delete from public.crmctl_db_version where version_id = 99")},
		{class: doctor.OrphanSchema, breaks: sqls("delete from public.tenants where slug = 't0002'"), // the row was lost
			want: []string{"warning orphan-schema tenant_t0002: no tenant of the registry has this schema with 4 tables | " +
				"crmctl migrate adopt --schema tenant_t0002, or crmctl doctor --fix orphan-schema"},
			left: []string{"info quarantine quarantine_tenant_t0002_<date>: set aside by crmctl doctor on <day>; before: " +
				"tenant_t0002 | look at it, then: drop schema \"quarantine_tenant_t0002_<date>\" cascade"}},
		{class: doctor.OrphanSchema, breaks: sqls("delete from public.tenants where slug = 't0002'"),
			want: []string{"warning orphan-schema tenant_t0002: no tenant of the registry has this schema with 4 tables | " +
				"crmctl migrate adopt --schema tenant_t0002, or crmctl doctor --fix orphan-schema"},
			mend: adoptSchema("tenant_t0002")},
		// nothing says its version
		{class: doctor.OrphanSchema, breaks: sqls("create schema tenant_half", "create table tenant_half.contacts (n int)"),
			want: []string{"warning orphan-schema tenant_half: no tenant of the registry has this schema with 1 table | " +
				"crmctl doctor --fix orphan-schema"},
			left: []string{"info quarantine quarantine_tenant_half_<date>: set aside by crmctl doctor on <day>; before: " +
				"tenant_half | look at it, then: drop schema \"quarantine_tenant_half_<date>\" cascade"}},
		{class: doctor.GhostRow, breaks: sqls("drop schema tenant_t0002 cascade"),
			want: []string{"error ghost-row t0002: its schema tenant_t0002 is gone | where there is a backup: crmctl backup " +
				"restore FILE; otherwise: crmctl doctor --fix ghost-row"},
			left: []string{"info ghost-row t0002: its schema tenant_t0002 is gone | crmctl tenant purge t0002"}},
		{class: doctor.Pool, breaks: sqls("create schema crmctl_pool_lost"),
			want: []string{"warning pool crmctl_pool_lost: a schema of the pool that the pool does not list | crmctl doctor " +
				"--fix pool"},
			left: []string{"info quarantine quarantine_crmctl_pool_lost_<date>: set aside by crmctl doctor on <day>; before: " +
				"crmctl_pool_lost | look at it, then: drop schema \"quarantine_crmctl_pool_lost_<date>\" cascade"}},
		{class: doctor.TransferOpen, breaks: sqls(`insert into public.tenant_transfers
				(tenant_id, id, attempt, was, profile, host, port, database, registry, started_at)
				select id, gen_random_uuid(), gen_random_uuid(), 'active', 'second', 'db2', 5432, 'crm', 'public',
					now() - interval '49 hours' from public.tenants where slug = 't0002'`,
			"update public.tenants set status = 'leaving' where slug = 't0002'"),
			want: []string{"warning transfer t0002: its transfer to database crm on db2:5432 began 2 days ago | crmctl tenant " +
				"transfer t0002 --to-profile NAME, or with --abort"},
			mend: sqls("update public.tenants set status = 'active' where slug = 't0002'",
				"delete from public.tenant_transfers")},
		{class: doctor.Quarantine, breaks: sqls("create schema quarantine_x"),
			want: []string{"info quarantine quarantine_x: set aside | look at it, then: drop schema \"quarantine_x\" cascade"},
			mend: commanded(doctor.Quarantine)},
		{class: doctor.PurgeOverdue, breaks: deleted("t0002", "30 days"), now: 33 * 24 * time.Hour,
			want: []string{"warning purge-overdue t0002: due for purge since 3 days | crmctl tenant purge t0002"},
			mend: purge("t0002")},
		{class: doctor.PurgeStuck, breaks: func(t *testing.T, p *patient) {
			deleted("t0002", "0 days")(t, p)
			// as a killed purge leaves it
			p.Exec(t, "update public.tenants set purge_started_at = now() where slug = 't0002'",
				"drop table tenant_t0002.messages")
		}, now: 3 * time.Hour, want: []string{"warning purge-stuck t0002: its purge began 3 hours ago | crmctl tenant " +
			"purge t0002"}, mend: purge("t0002")},
		{class: doctor.DirtyTenant, breaks: func(t *testing.T, p *patient) {
			p.Exec(t, "insert into tenant_t0001.contacts (name) values ('x')",
				"insert into tenant_t0003.contacts (name) values ('x')")
			withFile(t, p, "00005_no_tx.sql", "-- +goose NO TRANSACTION\n-- +goose Up\ncreate table made (n int);\nselect 1 / "+
				"(select count(*) from contacts);\n")
		}, want: []string{
			"error dirty t0002: dirty: in the middle of 00005_no_tx.sql (statement 2 of 2 failed) | crmctl migrate repair t0002",
			"info behind t0002: has pending migrations | crmctl migrate tenant t0002",
		}, mend: func(t *testing.T, p *patient) { // the cause, then the rest
			p.Exec(t, "insert into tenant_t0002.contacts (name) values ('x')")
			migrated(t, p)
		}},
		// nobody holds its lock
		{class: doctor.OpenRun, breaks: sqls("insert into public.migration_runs (actor, target_version, tenants) values " +
			"('x', 4, 3)"),
			want: []string{"warning open-run run 1: killed, and open in the ledger | crmctl migrate runs show 1, then crmctl " +
				"migrate retry 1"}},
		{class: doctor.Version, breaks: sqls("update public.tenants set schema_version = 3 where slug = 't0002'"),
			want: []string{"error version t0002: its schema is at version 4, the registry says 3 | crmctl doctor --fix " +
				"version"}},
		{class: doctor.Version, breaks: sqls("drop table tenant_t0002.goose_db_version"),
			want: []string{"error version t0002: its schema tenant_t0002 has no goose_db_version | crmctl backup restore " +
				"FILE, or look at it: crmctl psql t0002"},
			mend: sqls("create table tenant_t0002.goose_db_version (like tenant_t0001.goose_db_version including all)",
				"insert into tenant_t0002.goose_db_version select * from tenant_t0001.goose_db_version")},
		{class: doctor.Behind, breaks: sqls("delete from tenant_t0002.goose_db_version where version_id = 4",
			"update public.tenants set schema_version = 3 where slug = 't0002'",
			"drop index tenant_t0002.idx_contacts_email_pattern", "alter table tenant_t0002.contacts drop column company"),
			want: []string{"info behind t0002: has pending migrations | crmctl migrate tenant t0002"}, mend: migrated},
		{class: doctor.InvalidIndex, breaks: func(t *testing.T, p *patient) {
			p.Exec(t, "insert into tenant_t0002.contacts (name) values ('a'), ('a')")
			if _, err := p.Connect(t).Exec(t.Context(),
				"create unique index concurrently idx_twice on tenant_t0002.contacts (name)"); err == nil {
				t.Fatal("the index was built")
			}
		}, want: []string{"error invalid-index t0002: index idx_twice of contacts is invalid | crmctl doctor --fix " +
			"invalid-index, then crmctl migrate drift --tenant t0002"}},
		// That of a key cannot be dropped: nothing short of the catalog makes one.
		{class: doctor.InvalidIndex, breaks: sqls("update pg_index set indisvalid = false where indexrelid = " +
			"'tenant_t0002.contacts_pkey'::regclass"),
			want: []string{`error invalid-index t0002: index contacts_pkey of contacts is invalid | reindex index concurrently "tenant_t0002"."contacts_pkey"`}, mend: commanded(doctor.InvalidIndex)},
		{class: doctor.MissingIndex, breaks: sqls("drop index tenant_t0002.idx_contacts_phone"),
			want: []string{"warning missing-index t0002: lacks contacts.idx_contacts_phone, which most tenants of its version " +
				"have | crmctl migrate drift --tenant t0002 --fix-sql"},
			mend: func(t *testing.T, p *patient) {
				var sql string
				p.Scan(t, []any{&sql}, "select pg_get_indexdef('tenant_t0001.idx_contacts_phone'::regclass)")
				p.Exec(t, strings.ReplaceAll(sql, "t0001", "t0002"))
			}},
		{class: doctor.Owner, breaks: func(t *testing.T, p *patient) {
			role := p.role(t, "stranger")
			p.Exec(t, "grant create, usage on schema tenant_t0002 to "+role, "create type tenant_t0002.mood as enum ('fine')",
				"alter type tenant_t0002.mood owner to "+role,
				"revoke create on schema tenant_t0002 from "+role)
		}, want: []string{`warning owner t0002: type tenant_t0002.mood belongs to stranger_<db>, the schema to <me> | alter type tenant_t0002.mood owner to "<me>"`}, mend: commanded(doctor.Owner)},
		{class: doctor.Creators, breaks: func(t *testing.T, p *patient) {
			role := p.role(t, "stranger")
			p.Exec(t, "grant create, usage on schema tenant_t0002 to "+role, "alter table tenant_t0002.contacts owner to "+role)
		}, want: []string{
			`warning owner t0002: table tenant_t0002.contacts belongs to stranger_<db>, the schema to <me> | alter table tenant_t0002.contacts owner to "<me>"`,
			`warning creators stranger_<db>: owns 1 table and may create in 1 tenant: t0002 | take that from it, or trust its code: CRMCTL_TRUSTED_OWNERS=stranger_<db>`,
		}, mend: func(t *testing.T, p *patient) {
			t.Helper()
			commanded(doctor.Owner)(t, p)
			p.Exec(t, "revoke create on schema tenant_t0002 from "+p.roleName(t, "stranger"))
		}},
		{class: doctor.Planted, breaks: func(t *testing.T, p *patient) {
			role := p.role(t, "stranger")
			p.Exec(t, "grant create, usage on schema tenant_t0002 to "+role,
				"create function tenant_t0002.f(int) returns int language sql as 'select 1'",
				"alter function tenant_t0002.f(int) owner to "+role, "revoke create on schema tenant_t0002 from "+role)
		}, want: []string{
			`error planted t0002: function tenant_t0002.f(integer) of role stranger_<db> | look at it; drop it, give it another owner, or: CRMCTL_TRUSTED_OWNERS=stranger_<db>`,
			`warning owner t0002: function tenant_t0002.f(integer) belongs to stranger_<db>, the schema to <me> | alter function tenant_t0002.f(integer) owner to "<me>"`,
		}, mend: commanded(doctor.Owner)},
		{class: doctor.Sequence, breaks: sqls("create table tenant_t0002.invoices (id bigserial primary key)",
			"insert into tenant_t0002.invoices values (7)"),
			want: []string{"error sequence t0002: sequence invoices_id_seq is at 0, but invoices.id has 7 | crmctl doctor " +
				"--fix sequence"}},
		{class: doctor.PublicObject, breaks: sqls("create table public.contacts (n int)"),
			want: []string{`warning public-object public.contacts: a table of the tenants' that stands in public | look whose rows they are, then: alter table "public"."contacts" set schema ...`},
			mend: sqls(`create schema elsewhere`, `alter table "public"."contacts" set schema elsewhere`)},
		{class: doctor.PublicWritable, breaks: sqls("grant create on schema public to public"),
			want: []string{"<opened> public-writable public: everybody may create in schema public | revoke create on schema " +
				"public from public"}, mend: commanded(doctor.PublicWritable)},
		{class: doctor.Shadowing, breaks: sqls("create function public.lower(text) returns text language sql as 'select $1'"),
			want: []string{"warning shadowing public.lower(text): a function named as one of PostgreSQL's own | look who made " +
				"it, then: drop function public.lower(text)"}, mend: commanded(doctor.Shadowing)},
		{class: doctor.Shadowing, breaks: sqls("create function public.same(text, int) returns bool language sql as "+
			"'select true'", "create operator public.= (leftarg = text, rightarg = int, function = public.same)"),
			want: []string{"warning shadowing public.= (text, integer): an operator named as one of PostgreSQL's own | look " +
				"who made it, then: drop operator public.= (text, integer)"}, mend: commanded(doctor.Shadowing)},
	}
}

// role makes a role of the test's own, which goes with it.
func (p *patient) role(t *testing.T, prefix string) string {
	t.Helper()
	role := p.roleName(t, prefix)
	p.Exec(t, "create role "+role)
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
	return role
}

func (p *patient) roleName(t *testing.T, prefix string) string {
	t.Helper()
	return prefix + "_" + strings.TrimPrefix(p.database(t), "crmctl_test_")
}

func deleted(slug, retention string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		if _, err := tenant.Delete(t.Context(), p.Connect(t), slug, 0, tenant.MoveOptions{Actor: "test",
			LockTimeout: time.Second}); err != nil {
			t.Fatal(err)
		}
		p.Exec(t, fmt.Sprintf("update public.tenants set purge_after = deleted_at + interval '%s' where slug = '%s'",
			retention, slug))
	}
}

// purge destroys a tenant, as the command does when its time has come.
func purge(slug string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		p.Exec(t, "update public.tenants set purge_after = now() - interval '1 second' where slug = '"+slug+"'")
		found, err := registry.Default().Get(t.Context(), p.Connect(t), slug)
		if err != nil {
			t.Fatal(err)
		}
		_, results, _ := tenant.PurgeMany(t.Context(), p.Dial, []registry.Tenant{found},
			tenant.PurgeOptions{MoveOptions: tenant.MoveOptions{Actor: "test", LockTimeout: time.Second}}, fleet.Options{})
		if results[0].Err != nil {
			t.Fatal(results[0].Err)
		}
	}
}

func adoptSchema(name string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		s, err := adopt.Look(t.Context(), p.Connect(t), p.plan, []adopt.Claim{{Schema: name}}, adopt.Options{
			Slug:        func(schema string) (string, error) { return registry.Slug(strings.TrimPrefix(schema, "tenant_")) },
			LockTimeout: time.Second})
		if err == nil {
			err = s.Adopt(t.Context(), p.Dial, fleet.Options{})
		}
		if err != nil || s.Adoptions[0].State != adopt.Adopted {
			t.Fatalf("%v, %+v", err, s.Adoptions)
		}
	}
}

// opened is how much it matters that everybody may create in public: before PostgreSQL
// 15 that is so from the start.
func (p *patient) opened(t testing.TB) string {
	t.Helper()
	if p.Int(t, "select current_setting('server_version_num')::int") < 150000 {
		return "info"
	}
	return "warning"
}

// exactly compares all findings with "severity class subject: what | command".
func (p *patient) exactly(t *testing.T, o doctor.Options, lines []string) {
	t.Helper()
	var me string
	p.Scan(t, []any{&me}, "select current_user")
	today := time.Now().UTC()
	report := p.examine(t, o)
	whys := map[doctor.Class]string{}
	for _, c := range doctor.Checks() {
		whys[c.Class] = c.Why
	}
	var got, wanted []string
	for _, f := range report.Findings {
		got = append(got, fmt.Sprintf("%s %s %s: %s | %s", f.Severity, f.Class, f.Subject, f.What, f.Command))
		if f.Why == "" || f.Why != whys[f.Class] {
			t.Errorf("%s: why is %q", f.Class, f.Why)
		}
	}
	for _, line := range lines {
		wanted = append(wanted, strings.NewReplacer("<opened>", p.opened(t), "<date>", today.Format("20060102"), "<day>",
			today.Format(time.DateOnly), "<me>", me,
			"<db>", strings.TrimPrefix(p.database(t), "crmctl_test_")).Replace(line))
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("findings\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(wanted, "\n  "))
	}
	for _, n := range report.NotChecked {
		t.Errorf("not checked: %s: %s", n.Class, n.Why)
	}
}

// TestEveryClass makes each fault for real, sees it and nothing else, mends it as the
// finding says, and looks again.
func TestEveryClass(t *testing.T) {
	t.Parallel()
	// Those that have tests of their own on a server of their own, or with roles.
	covered := map[doctor.Class]string{doctor.Grants: "TestGrants", doctor.Connections: "TestServer",
		doctor.Locks: "TestServer", doctor.Prepared: "TestServer",
		doctor.InvalidRowClass: "TestInvalidRow", doctor.HalfBuilt: "TestHalfBuilt", doctor.Autovacuum: "TestServer",
		doctor.Wraparound: "TestWraparound",
		doctor.SharedName: "TestSharedName"}
	for i, c := range faults() {
		covered[c.class] = t.Name()
		t.Run(fmt.Sprintf("%s-%d", c.class, i), func(t *testing.T) {
			t.Parallel()
			p := healthy(t, 3)
			o := doctor.Options{Skip: serverWide()}
			p.exactly(t, o, nil)
			c.breaks(t, p)
			o.Now = func() time.Time { return time.Now().Add(c.now) }
			p.exactly(t, o, c.want)
			if c.mend == nil {
				p.fix(t, c.class, 1)
			} else {
				c.mend(t, p)
			}
			p.exactly(t, o, c.left)
		})
	}
	for _, class := range doctor.Classes() {
		if !class.OfCluster() && covered[class] == "" {
			t.Errorf("class %s is not tried; tried are %v", class, slices.Sorted(maps.Keys(covered)))
		}
	}
}

// TestInvalidRow: a row that points at a schema of the server's is named, and blinds the
// doctor to nothing else.
func TestInvalidRow(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	o := doctor.Options{Skip: serverWide()}
	p.Exec(t, "update public.tenants set schema_name = 'pg_catalog' where slug = 't0002'",
		"update public.tenants set schema_version = 1 where slug = 't0003'")
	report := p.examine(t, o)
	classes := map[doctor.Class]string{}
	for _, f := range report.Findings {
		classes[f.Class] = f.Subject
	}
	if classes[doctor.InvalidRowClass] != "t0002" || classes[doctor.Version] != "t0003" {
		t.Errorf("findings %+v", report.Findings)
	}
}

// TestWraparound: the catalog says how old the oldest transaction id is.
func TestWraparound(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"autovacuum": "off"})
	p := &patient{Fleet: &fleettest.Fleet{DSN: server.DSN}, plan: fleettest.TenantPlan(t, 0)}
	o := doctor.Options{Only: []doctor.Class{doctor.Wraparound}}
	p.Registry(t)
	p.exactly(t, o, nil)
	const command = "vacuumdb --freeze, and look for what keeps autovacuum from it"
	for millions, severity := range map[int]string{900: "warning", 1600: "error"} {
		// As if so many transactions had been since.
		err := db.InTx(t.Context(), p.Connect(t), db.Locals{}, func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, `update pg_database set datfrozenxid = ((pg_current_xact_id()::text::bigint - $1 + 4294967296)
				% 4294967296)::text::xid where datname = current_database()`, int64(millions)*1_000_000)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		p.exactly(t, o, []string{fmt.Sprintf("%s wraparound server: the oldest transaction id is %d million transactions "+
			"old | %s", severity, millions, command)})
	}
	p.Exec(t, "vacuum (freeze)")
	p.exactly(t, o, nil)
}

// A registry of a role that is not trusted is all that is told, and is not read.
func TestRegistryOwners(t *testing.T) {
	t.Parallel()
	f := &fleettest.Fleet{DSN: pgtest.Empty(t)} // where there is nothing to read
	fleet := doctor.Fleet{RegistryHead: 1, RegistryClosed: true, RegistryOwners: []doctor.RegistryOwner{
		{Kind: "table", Name: "public.tenant_events", Owner: "app", Strange: true},
		{Kind: "view", Name: "public.tenants", Owner: "app"},
		{Kind: "table", Name: "public.tenant_pool", Owner: "deploy", Trusted: true},
		{Kind: "table", Name: "public.tenant_dirty", Owner: "deploy", Trusted: true},
	}}
	report, err := doctor.Examine(t.Context(), f.Connect(t), fleet, doctor.Options{Only: []doctor.Class{doctor.Registry}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, finding := range report.Findings {
		got = append(got, fmt.Sprint(finding.Severity, " ", finding.Subject, ": ", finding.What))
	}
	want := []string{
		"error public.tenant_events: a table named like the registry's, which belongs to app and is not crmctl's",
		"error public.tenants: a view named like the registry's, which belongs to app: crmctl reads and writes nothing here",
		"info registry: table public.tenant_pool and 1 more belong to deploy, not to this role",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
