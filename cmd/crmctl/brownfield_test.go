package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// brownfield is the database of an application that goose migrates, with a table
// public.tenants of its own.
func brownfield(t *testing.T) (b *besideFleet, tenant func(schema string) string) {
	t.Helper()
	b = &besideFleet{t: t, goose: gooseCLI(t), dsn: pgtest.Empty(t), dir: filepath.Join(t.TempDir(), "migrations")}
	var err error
	if b.conn, err = pgx.Connect(t.Context(), b.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.conn.Close(context.Background()) })
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.file(1, "create table people (id bigserial primary key, name text not null);")
	b.file(2, "create table notes (id bigserial primary key, person_id bigint references people, body text);")
	b.exec("create table public.people (id int); create table public.tenants (id serial primary key, name text)")
	for _, s := range []string{"tenant_acme", "tenant_globex", "tenant_initech"} {
		b.exec("create schema " + s)
		if out, err := b.up(s); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b.exec("insert into " + s + ".people (name) values ('Ada'), ('Grace'); insert into public.tenants (name) values ('" +
			strings.TrimPrefix(s, "tenant_") + "')")
	}
	return b, func(schema string) string {
		if strings.Contains(b.dsn, "?") {
			return b.dsn + "&search_path=" + schema
		}
		return b.dsn + "?search_path=" + schema
	}
}

// TestBrownfield runs the week of docs/brownfield.md. The application writes a file before
// Wednesday, which its goose applies to one tenant, and another one at the end.
func TestBrownfield(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not there")
	}
	text, err := os.ReadFile("../../docs/brownfield.md")
	if err != nil {
		t.Fatal(err)
	}
	b, tenant := brownfield(t)
	bin := t.TempDir()
	if err := os.Symlink(b.goose, filepath.Join(bin, "goose")); err != nil {
		t.Fatal(err)
	}
	shell := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Dir = filepath.Dir(b.dir)
		cmd.Env = []string{"GORACE=" + noSleep, "PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
			"LANG=C.UTF-8",
			pgtest.EnvStatements + "=" + os.Getenv(pgtest.EnvStatements), "CRMCTL_PG_BIN=" + os.Getenv("CRMCTL_PG_BIN"),
			"DATABASE_URL=" + b.dsn, "TENANT_ACME=" + tenant("tenant_acme")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	before, after, found := strings.Cut(string(text), "\n## Wednesday")
	after, end, ended := strings.Cut(after, "\n## And if")
	if !found || !ended {
		t.Fatal("the days of docs/brownfield.md have other names")
	}
	place := "export CRMCTL_REGISTRY_SCHEMA=crmctl CRMCTL_MIGRATIONS_DIR=migrations"
	run := func(part string) {
		t.Helper()
		commands := readmeCommands(part)
		if len(commands) < 3 {
			t.Fatalf("found %d commands in a part of docs/brownfield.md", len(commands))
		}
		script := "set -eu\n"
		if !strings.Contains(part, place) {
			script += place + "\n"
		}
		for _, c := range commands {
			script += "echo '+ " + strings.ReplaceAll(c, "'", `'\''`) + "'\n" + c + "\n"
		}
		shell(script)
	}
	run(before)
	b.file(3, "alter table people add column company text;")
	run(after)
	for _, s := range []string{"tenant_acme", "tenant_globex", "tenant_initech"} {
		if n := b.int("select count(company) + count(*) from " + s + ".people"); n != 2 {
			t.Errorf("%s has %d people with the new column", s, n)
		}
		if n := b.int("select count(*) from " + s + ".goose_db_version where version_id = 3"); n != 1 {
			t.Errorf("%s has version 3 %d times", s, n)
		}
	}
	b.file(4, "alter table people add column town text;")
	run(end)
	if n := b.int("select count(*) from pg_class where relname = any ($$" + pgArray(registry.Objects()) +
		"$$::name[]) and oid <> 'public.tenants'::regclass"); n != 0 {
		t.Errorf("%d objects of crmctl are left", n)
	}
	if n := b.int("select count(town) + count(*) from tenant_acme.people"); n != 2 {
		t.Error("goose did not go on")
	}
}

// TestWayBack runs the statements with which docs/adopting.md takes away what crmctl has
// made in public, after which goose goes on.
func TestWayBack(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/adopting.md")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := brownfield(t)
	b.exec("drop table public.tenants")
	b.crmctl("migrate", "public")
	b.crmctl("migrate", "adopt", "--schema", "tenant_*")
	b.file(3, "alter table people add column company text;")
	b.crmctl("migrate", "all-tenants")
	_, after, _ := strings.Cut(string(text), "\n### The way back\n")
	_, after, found := strings.Cut(after, "To forget about crmctl")
	after, _, ended := strings.Cut(after, "\n## ")
	var sql strings.Builder
	for line := range strings.Lines(after) {
		if strings.HasPrefix(line, "    ") {
			sql.WriteString(line)
		}
	}
	if !found || !ended || sql.Len() == 0 {
		t.Fatal("docs/adopting.md has no way back")
	}
	b.exec(sql.String())
	left := b.int("select (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relname = any ($$" +
		pgArray(registry.Objects()) + "$$::name[])) + (select count(*) from pg_proc where pronamespace = " +
		"'public'::regnamespace) + (select count(*) from pg_type where typnamespace = 'public'::regnamespace and " +
		"typname like '%tenant%')")
	if left != 0 {
		t.Errorf("%d objects of crmctl are left", left)
	}
	b.file(4, "alter table people add column town text;")
	for _, s := range []string{"tenant_acme", "tenant_globex", "tenant_initech"} {
		if out, err := b.up(s); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if n := b.int("select count(*) from " + s + ".goose_db_version where version_id in (1, 2, 3, 4)"); n != 4 {
			t.Errorf("%s has %d versions", s, n)
		}
	}
}

// pgArray returns names as the text of an array.
func pgArray(names []string) string { return "{" + strings.Join(names, ",") + "}" }
