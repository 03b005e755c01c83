package app_test

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// usual is where the database of a test makes what does not say otherwise.
const usual = "pg_default"

// standsIn returns what of a schema has files or partitions, by tablespace.
func standsIn(t *testing.T, f *fleettest.Fleet, schema string) map[string][]string {
	t.Helper()
	var names, places []string
	f.Scan(t, []any{&names, &places}, `
		select coalesce(array_agg(r.name order by r.name), '{}'), coalesce(array_agg(r.place order by r.name), '{}') from (
			select c.relname::text as name, coalesce(s.spcname, 'pg_default')::text as place
			from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_tablespace s on s.oid = c.reltablespace
			where n.nspname = $1 and c.relkind in ('r', 'i', 'm', 'p', 'I')
			union all
			select 'toast of ' || c.relname, coalesce(s.spcname, 'pg_default')
			from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_class x on x.oid = c.reltoastrelid
			left join pg_tablespace s on s.oid = x.reltablespace where n.nspname = $1) r`, schema)
	out := map[string][]string{}
	for i, place := range places {
		out[place] = append(out[place], names[i])
	}
	return out
}

// wantIn checks that all of a schema stands in one tablespace.
func wantIn(t *testing.T, f *fleettest.Fleet, schema, place string) {
	t.Helper()
	if is := standsIn(t, f, schema); len(is) != 1 || len(is[place]) == 0 {
		t.Errorf("%s: want all in %q, it stands in %q", schema, place, is)
	}
}

// placed are files that make every kind of relation that has a place.
var placed = map[string]string{
	"1_base.sql": `create table notes (id bigint generated always as identity primary key, body text);
create table events (at date not null, what text) partition by range (at);
create table events_26 partition of events for values from ('2026-01-01') to ('2027-01-01');
create index events_at on events (at);
create materialized view days as select at, count(*) from events group by at;`,
}

// morePlaced are those of a next release.
var morePlaced = map[string]string{
	"2_more.sql": `create table tags (id int primary key, tag text unique);
create table events_27 partition of events for values from ('2027-01-01') to ('2028-01-01');`,
	"3_index.sql": "-- +goose NO TRANSACTION\ncreate index concurrently notes_body on notes (body);",
}

func allPlaced() map[string]string {
	all := maps.Clone(placed)
	maps.Copy(all, morePlaced)
	return all
}

// makePlaced makes tenants in a tablespace, "" for none.
func makePlaced(t *testing.T, a *app.App, place string, names ...string) {
	t.Helper()
	made, err := a.CreateTenants(t.Context(), app.CreateOptions{Specs: specs(names...), Tablespace: place,
		LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
}

// migrateAll brings all tenants to the newest version, several in a transaction.
func migrateAll(t *testing.T, a *app.App) *migrate.Report {
	t.Helper()
	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run, err := a.PlanUp(t.Context(), app.UpOptions{Selection: all})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close(t.Context())
	report, err := run.Carry(t.Context(), app.Policy{Attempts: 3, Order: migrate.OrderName, LockTimeout: time.Second,
		BuildTimeout: time.Minute, Group: 10, Concurrency: 1, Canary: migrate.Canary{Count: 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantNoDrift(t *testing.T, a *app.App, tenants int) {
	t.Helper()
	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	drift, _, err := a.Drift(t.Context(), app.DriftOptions{Selection: all})
	if err != nil || drift.Clean != tenants {
		t.Errorf("drift: %d of %d tenants are clean: %+v, %v", drift.Clean, tenants, drift.Groups, err)
	}
}

// TestTablespaceOfTenants: all that is made for a tenant is made in its tablespace, by whatever.
func TestTablespaceOfTenants(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"none", "ddl"} { // with it no block serves several tenants
		t.Run("log "+log, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "do $$ begin execute format('alter database %I set log_statement = "+log+
				"', current_database()); end $$")
			fast := pgtest.Tablespace(t, f.DSN)
			a, _ := open(t, f, files(t, placed))
			makePlaced(t, a, fast, "acme", "globex", "initech")
			makePlaced(t, a, "", "hooli", "umbrella", "zeta")
			wantIn(t, f, "tenant_acme", fast)
			wantIn(t, f, "tenant_hooli", usual)

			a, _ = open(t, f, files(t, allPlaced()))
			if n := migrateAll(t, a).Count(migrate.Migrated); n != 6 {
				t.Fatalf("%d migrated", n)
			}
			if n := f.Int(t, `select count(distinct xmin::text) from public.tenants`); log == "none" && n > 6 {
				t.Errorf("%d transactions", n)
			}
			for name, place := range map[string]string{"acme": fast, "globex": fast, "initech": fast, "hooli": usual,
				"umbrella": usual, "zeta": usual} {
				wantIn(t, f, "tenant_"+name, place)
			}
			wantNoDrift(t, a, 6)
			copyPlaced(t, f, a, fast)
			wantNoDrift(t, a, 10)
		})
	}
}

// copyPlaced clones, saves and restores tenants into tablespaces.
func copyPlaced(t *testing.T, f *fleettest.Fleet, a *app.App, fast string) {
	t.Helper()
	for to, place := range map[string]string{"twin": "", "plain": usual} {
		if _, err := a.CloneTenant(t.Context(), app.CloneOptions{From: "acme", To: to, Tablespace: place, Anonymize: false,
			LockTimeout: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	wantIn(t, f, "tenant_twin", fast)
	wantIn(t, f, "tenant_plain", usual)
	if n := f.Int(t, `select count(*) from public.tenants where slug = 'plain' and settings ? 'tablespace'`); n != 0 {
		t.Error("the database's own tablespace is kept as a setting")
	}
	// A table that no migration makes: its structure is in the file.
	f.Exec(t, "create table tenant_acme.own (id int primary key, body text)", "insert into tenant_acme.own values (1, 'x')")
	dir := t.TempDir()
	path := filepath.Join(dir, saveAll(t, a, dir, "acme"))
	for as, place := range map[string]string{"back": "", "elsewhere": usual} {
		restorePlaced(t, f, a, path, as, place)
	}
	f.Exec(t, "drop table tenant_acme.own, tenant_back.own, tenant_elsewhere.own")
	wantIn(t, f, "tenant_back", fast)
	wantIn(t, f, "tenant_elsewhere", usual)
}

func restorePlaced(t *testing.T, f *fleettest.Fleet, a *app.App, path, as, place string) {
	t.Helper()
	if err := restoreFile(t, f, a, path, app.RestoreOptions{As: as, Tablespace: place, LockTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select count(*) from tenant_"+as+".own"); n != 1 {
		t.Errorf("%s: %d rows", as, n)
	}
}

func restoreFile(t *testing.T, f *fleettest.Fleet, a *app.App, path string, o app.RestoreOptions) error {
	t.Helper()
	in, err := app.OpenBackup(t.Context(), path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	_, err = a.RestoreTenant(t.Context(), f.Connect(t), in, o)
	return err
}

// relocate brings acme to a tablespace.
func relocate(t *testing.T, a *app.App, to string, dryRun bool) (app.Relocated, error) {
	t.Helper()
	return a.RelocateTenant(t.Context(), app.RelocateOptions{To: to,
		MoveOptions: app.MoveOptions{Tenant: "acme", LockTimeout: 200 * time.Millisecond, DryRun: dryRun}})
}

func TestRelocate(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	fast := pgtest.Tablespace(t, f.DSN)
	a, _ := open(t, f, files(t, allPlaced()))
	makePlaced(t, a, "", "acme", "other")
	f.Exec(t, `insert into tenant_acme.notes (body) select repeat(md5(i::text), 200) from generate_series(1, 500) i`)

	would, err := relocate(t, a, fast, true)
	if err != nil || would.Results != nil {
		t.Fatalf("dry run: %+v, %v", would, err)
	}
	wantIn(t, f, "tenant_acme", usual)
	if n := len(would.Relations); n == 0 || would.Relations[n-1].Name != "notes" || would.Relations[n-1].Bytes < 100<<10 ||
		!slices.IsSortedFunc(would.Relations, func(a, b tablespace.Relation) int { return int(a.Bytes - b.Bytes) }) {
		t.Errorf("the smallest is not first: %+v", would.Relations)
	}

	// Somebody reads a table all the time: the others go, and the rest goes later.
	reader := f.Connect(t)
	for _, sql := range []string{"begin", "select count(*) from tenant_acme.tags"} {
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	stuck, err := relocate(t, a, fast, false)
	s := stuck.Summary()
	if err != nil || s.Failed != 1 || db.SQLState(s.First()) != db.CodeLockNotAvailable {
		t.Fatalf("a locked table: %+v, %v", s, err)
	}
	if is := standsIn(t, f, "tenant_acme"); !slices.Contains(is[usual], "tags") || slices.Contains(is[fast], "tags") {
		t.Errorf("after it: %q", is)
	}
	wantNoDrift(t, a, 2) // half way is no drift
	if _, err := reader.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	moved, err := relocate(t, a, fast, false)
	if s := moved.Summary(); err != nil || !s.Whole() || len(moved.Relations) >= len(would.Relations) {
		t.Fatalf("again: %+v, %v", moved, err)
	}
	wantIn(t, f, "tenant_acme", fast)
	wantIn(t, f, "tenant_other", usual)
	wantNoDrift(t, a, 2)
	if again, err := relocate(t, a, fast, false); err != nil || len(again.Relations) != 0 || again.Sequences != 1 {
		t.Errorf("nothing left: %+v, %v", again, err)
	}
	if n := f.Int(t, `select count(*) from public.tenant_events where action = 'relocate' and slug = 'acme'
		and after -> 'settings' ->> 'tablespace' = $1`, fast); n != 1 {
		t.Errorf("%d events of the setting", n)
	}

	// What other commands leave of the setting.
	for _, step := range []func() error{
		func() error {
			_, err := a.DeleteTenant(t.Context(), app.DeleteOptions{MoveOptions: app.MoveOptions{Tenant: "acme"}})
			return err
		},
		func() error {
			_, _, err := a.UndeleteTenant(t.Context(), app.MoveOptions{Tenant: "acme"})
			return err
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants where settings ->> 'tablespace' = $1", fast); n != 1 {
		t.Error("undeleted, it has no tablespace")
	}
	if _, err := relocate(t, a, usual, false); err != nil {
		t.Fatal(err)
	}
	wantIn(t, f, "tenant_acme", usual)
	if n := f.Int(t, "select count(*) from public.tenants where settings ? 'tablespace'"); n != 0 {
		t.Error("the database's own tablespace is kept as a setting")
	}
}

// TestRefusedTablespaces: nothing is begun where it could not come to an end.
func TestRefusedTablespaces(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	fast := pgtest.Tablespace(t, f.DSN)
	a, _ := open(t, f, "")
	makePlaced(t, a, "", "acme")
	prefix := "space_" + fast[6:]
	f.DropRoles(t, prefix)
	f.Exec(t, "create role "+prefix+"_app", "alter schema tenant_acme owner to "+prefix+"_app",
		"do $$ declare r record; begin for r in select oid::regclass as c from pg_class where relnamespace = "+
			"'tenant_acme'::regnamespace and relkind = 'r' loop execute format('alter table %s owner to "+prefix+
			"_app', r.c); end loop; end $$")
	for _, to := range []string{"nowhere", "pg_global"} {
		var unknown *tablespace.UnknownError
		_, err := relocate(t, a, to, false)
		_, createErr := a.CreateTenants(t.Context(), app.CreateOptions{Specs: specs("new"), Tablespace: to})
		for _, err := range []error{err, createErr} {
			if !errors.Is(err, tablespace.ErrShared) && (!errors.As(err, &unknown) || !slices.Contains(unknown.Known, fast)) {
				t.Errorf("%s: %v", to, err)
			}
		}
	}
	// The owner, as whom migrations are done, may make nothing there.
	var right *tablespace.RightError
	if _, err := relocate(t, a, fast, false); !errors.As(err, &right) || right.Role != prefix+"_app" {
		t.Errorf("without the right: %v", err)
	}
	wantIn(t, f, "tenant_acme", usual)
	if n := f.Int(t, "select count(*) from public.tenants where settings ? 'tablespace'"); n != 0 {
		t.Error("a setting was left")
	}
	f.Exec(t, "grant create on tablespace "+db.Quoted(fast)+" to "+prefix+"_app")
	granted, err := relocate(t, a, fast, false)
	if s := granted.Summary(); err != nil || !s.Whole() {
		t.Errorf("with it: %+v, %v", s, err)
	}
	wantIn(t, f, "tenant_acme", fast)
	f.Exec(t, "revoke create on tablespace "+db.Quoted(fast)+" from "+prefix+"_app")

	// A backup comes to a server that has no such tablespace.
	dir := t.TempDir()
	path := filepath.Join(dir, saveAll(t, a, dir, "acme"))
	server, _ := pgtest.Instance(t, nil)
	other := &fleettest.Fleet{DSN: server.DSN}
	other.Registry(t)
	b, _ := open(t, other, "")
	var unknown *tablespace.UnknownError
	if err := restoreFile(t, other, b, path, app.RestoreOptions{LockTimeout: time.Second}); !errors.As(err, &unknown) {
		t.Errorf("restored: %v", err)
	}
	if n := other.Int(t, "select count(*) from public.tenants"); n != 0 {
		t.Error("a tenant is half there")
	}
	if err := restoreFile(t, other, b, path, app.RestoreOptions{LockTimeout: time.Second, Tablespace: usual}); err != nil {
		t.Fatal(err)
	}
	wantIn(t, other, "tenant_acme", usual)
}
