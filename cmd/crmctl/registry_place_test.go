package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// placed runs the program with a registry that stands in another schema.
type placed struct {
	f   *fleettest.Fleet
	reg registry.Registry
	dir string
}

func (p *placed) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	b := newBench(t).setenv("DATABASE_URL="+p.f.DSN, "CRMCTL_MIGRATIONS_DIR="+p.dir, "CRMCTL_REGISTRY_SCHEMA="+
		p.reg.Schema().String())
	ctx, in := cli.WatchInterrupts(t.Context())
	defer in.Stop()
	f := newFactory(b.Streams, in)
	code := f.execute(ctx, newRootCmd(f), append(args, "--yes"))
	out := b.out.String() + b.err.String()
	if code != want {
		t.Errorf("crmctl %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

// TestRegistryElsewhere takes every command through a database whose registry stands in a
// schema of its own, beside a table of an application's that is named like ours.
func TestRegistryElsewhere(t *testing.T) {
	t.Parallel()
	schema, err := db.RegisteredSchema(`our "place`)
	if err != nil {
		t.Fatal(err)
	}
	p := &placed{f: &fleettest.Fleet{DSN: pgtest.Empty(t)}, reg: registry.In(schema), dir: t.TempDir()}
	p.f.Exec(t, "create schema "+schema.Quoted(), "create table public.tenants (theirs int)")
	file := func(dir, name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file(p.dir, "00001_a.sql", "-- +goose Up\ncreate table contacts (id int primary key, email text);\n-- +goose "+
		"Down\ndrop table contacts;\n")
	run := func(args ...string) string { t.Helper(); return p.run(t, cli.ExitOK, args...) }

	run("migrate", "public", "--dry-run")
	run("migrate", "public")
	run("tenant", "create", "acme", "globex", "initech", "--if-not-exists")
	run("tenant", "set", "acme", "plan=gold")
	run("tenant", "suspend", "globex")
	run("tenant", "activate", "globex")
	run("tenant", "rename", "initech", "initrode", "--schema")
	file(p.dir, "00002_b.sql", "-- +goose Up\ncreate table b (id int);\n-- +goose Down\ndrop table b;\n")
	file(p.dir, "00003_c.sql", "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently c on b (id);\n-- "+
		"+goose Down\ndrop index concurrently c;\n")
	run("migrate", "status", "--verify")
	run("migrate", "plan")
	run("migrate", "all-tenants")
	run("migrate", "status", "--verify")
	run("migrate", "rollback", "--to", "2", "--all-tenants")
	run("migrate", "redo", "acme")
	run("migrate", "tenant", "globex")
	run("migrate", "all-tenants")
	run("migrate", "runs")
	run("migrate", "runs", "show", "1")
	run("migrate", "repair")
	run("migrate", "drift")
	p.run(t, cli.ExitFailure, "migrate", "retry")

	run("tenant", "pool", "fill", "--count", "2")
	run("tenant", "pool", "list")
	run("tenant", "create", "hooli")
	run("tenant", "clone", "acme", "acme-copy")
	run("tenant", "relocate", "acme", "--to-tablespace", "pg_default")
	run("stats", "sizes", "--by", "tablespace")
	run("placement", "export", "--format", "csv")
	run("tenant", "transfer", "hooli", "--to-profile", "second", "--config",
		file(t.TempDir(), "second.yaml", secondProfile(fleettest.New(t).DSN)))
	run("tenant", "delete", "hooli", "--confirm", "hooli", "--retention", "0s")
	run("tenant", "exec", "--all", "-c", "select count(*) from b")
	run("tenant", "exec", "--all", "--write", "-c", "insert into b values (1)")
	run("contacts", "list", "--tenant", "acme")
	run("contacts", "search", "--tenant", "acme", "a")
	run("stats", "sizes", "--record")
	run("stats", "load", "--interval", "1s")
	run("stats", "top", "--interval", "1s", "--count", "1")
	run("stats", "catalog", "--record")
	run("maintenance", "vacuum")
	run("maintenance", "analyze", "--only-needed")
	run("maintenance", "reindex", "--table", "contacts")
	run("stats", "connections")
	run("stats", "activity")
	run("stats", "locks")
	run("stats", "diagnose", "--help")
	run("connections", "clean", "--idle", "1d")
	run("stats", "indexes")
	run("stats", "indexes", "--suggest")
	run("stats", "queries", "--help")
	run("stats", "explain", "acme", "select * from b")
	run("stats", "metrics", "--drift")
	run("stats", "sizes", "--by", "table")
	run("report", "--html", filepath.Join(p.dir, "fleet.html"))
	run("tenant", "list", "-o", "wide")
	run("tenant", "show", "acme")
	run("tenant", "history", "acme")
	run("audit", "list")

	dir := t.TempDir()
	run("backup", "create", "--all", "--dir", dir)
	run("backup", "create", "--registry", "--dir", dir)
	run("backup", "verify", dir)
	run("backup", "restore", one(t, filepath.Join(dir, "acme-2*.crmctl")), "--as", "acme-back")
	run("tenant", "delete", "acme-back", "--confirm", "acme-back")
	run("tenant", "undelete", "acme-back")
	run("tenant", "delete", "acme-back", "--confirm", "acme-back", "--retention", "0s")
	run("tenant", "purge", "--no-backup")
	run("tenant", "pool", "drain")

	p.f.Exec(t, "create schema old", "create table old.contacts (id int primary key, email text)",
		"create table old.goose_db_version (id integer primary key generated by default as identity, version_id bigint not "+
			"null, is_applied boolean not null, tstamp timestamp not null default now())",
		"insert into old.goose_db_version (version_id, is_applied) values (0, true), (1, true)")
	run("migrate", "adopt", "--schema", "old")
	query := file(t.TempDir(), "crmctl.yaml", "tenants_query: select slug, schema_name, display_name, status from "+
		`"our ""place".tenants where slug <> 'old' union all select 'older', 'old', 'Older', null`+"\n")
	run("tenant", "sync", "--config", query)
	run("migrate", "all-tenants", "--config", query)
	run("migrate", "all-tenants")
	run("doctor")

	// The registry comes back in another database, at the same place.
	other := &placed{f: &fleettest.Fleet{DSN: pgtest.Empty(t)}, reg: p.reg, dir: p.dir}
	other.run(t, cli.ExitOK, "migrate", "public")
	other.run(t, cli.ExitOK, "backup", "restore", one(t, filepath.Join(dir, "_registry-*.crmctl")))
	if n := other.f.Int(t, "select count(*) from "+p.reg.Tenants()); n < 5 {
		t.Errorf("%d tenants came back", n)
	}

	// Nothing of ours came to stand in public.
	var there []string
	p.f.Scan(t, []any{&there}, "select array_agg(relname::text order by relname) from pg_class where relnamespace = "+
		"'public'::regnamespace")
	if !slices.Equal(there, []string{"tenants"}) {
		t.Errorf("public has %q, want the application's table alone", there)
	}
}
