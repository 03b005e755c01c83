package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// schemas returns the names of the schemas that are not PostgreSQL's own.
func schemas(t *testing.T, f *fleettest.Fleet) []string {
	t.Helper()
	names, err := db.Select(t.Context(), f.Connect(t), pgx.RowTo[string],
		"select nspname::text from pg_namespace where nspname !~ '^pg_' order by nspname")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestNamesOfMadeTenants: in a restore and a clone a name is
// refused, or mapped to a schema of its own, and no other schema is touched.
func TestNamesOfMadeTenants(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	ok(t, f, "tenant", "create", "acme", "-q")
	f.Exec(t, "insert into tenant_acme.contacts (name) values ('Ada')")
	dir := t.TempDir()
	ok(t, f, "backup", "create", "acme", "--dir", dir)
	file := one(t, filepath.Join(dir, "acme-*.crmctl"))
	for _, name := range []string{
		`"; DROP SCHEMA tenant_acme CASCADE; --`, "pg_x", "public", "información", "new\nline", "\u202eright to left",
		"👩‍👩‍👧", strings.Repeat("x", 200), "", "-rf",
		"../../etc", "acme\x1b[31m", "information_schema",
	} {
		for _, args := range [][]string{{"backup", "restore", file, "--as=" + name},
			{"tenant", "clone", "--", "acme", name}} {
			if name == "" && args[0] == "backup" {
				continue // the name of the backup
			}
			before := schemas(t, f)
			code, out := crmctl(t, f, args...)
			after := schemas(t, f)
			made := slices.DeleteFunc(slices.Clone(after), func(s string) bool { return slices.Contains(before, s) })
			switch {
			case code == cli.ExitUsage && len(made) == 0:
			case code == cli.ExitOK && len(made) == 1 && strings.HasPrefix(made[0], "tenant_"):
			case code == cli.ExitFailure && len(made) == 0 && strings.Contains(out, "exists already"): // the second of the two
			default:
				t.Errorf("%q: exit code %d, made %q\n%s", args, code, made, out)
			}
			if strings.ContainsAny(out, "\x1b\u202e") {
				t.Errorf("%q: %q", args, out)
			}
			if len(after)-len(made) != len(before) {
				t.Errorf("%q: schemas were lost: %q, before %q", args, after, before)
			}
		}
	}
	// Two names of 64 bytes that agree in 63.
	long := strings.Repeat("y", 63)
	ok(t, f, "backup", "restore", file, "--as", long+"a")
	ok(t, f, "tenant", "clone", "acme", long+"b")
	f.Exec(t, fmt.Sprintf("do $$ begin execute format('delete from %%I.contacts', (select schema_name from "+
		"public.tenants where slug = '%sb')); end $$", long))
	var a, b int
	for slug, n := range map[string]*int{long + "a": &a, long + "b": &b} {
		var schema string
		f.Scan(t, []any{&schema}, "select schema_name from public.tenants where slug = $1", slug)
		*n = int(f.Int(t, "select count(*) from "+pgx.Identifier{schema}.Sanitize()+".contacts"))
	}
	if a != 1 || b != 0 {
		t.Errorf("%d and %d contacts, want 1 and 0: the two share something", a, b)
	}
	// Acme, acme and ACME are one.
	for _, name := range []string{"Acme", "acme", "ACME "} {
		for _, args := range [][]string{{"backup", "restore", file, "--as", name}, {"tenant", "clone", "acme", name}} {
			if code, out := crmctl(t, f, args...); code != cli.ExitFailure || !strings.Contains(out,
				`tenant "acme" exists already`) {
				t.Errorf("%q: exit code %d\n%s", args, code, out)
			}
		}
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts where name = 'Ada'"); n != 1 {
		t.Errorf("%d contacts of acme", n)
	}
}

// TestHostileSchemas: in doctor's answers names of schemas that somebody
// chose with care are shown escaped, and set aside like any other.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "revoke create on schema public from public")
	ok(t, f, "tenant", "create", "acme", "-q")
	names := []string{"tenant_\x1b[31mred\x1b]0;title\x07", `tenant_"; drop schema tenant_acme cascade; --`,
		"tenant_'quoted", "tenant_\u202ertl", "tenant_line\nbreak", "tenant_\u00e9\u00e9" + strings.Repeat("\u00e9", 25)}
	for _, name := range names {
		home := pgx.Identifier{name}.Sanitize()
		f.Exec(t, "create schema "+home, "create table "+home+".contacts (n int)", "insert into "+home+".contacts values (1)")
	}
	f.Exec(t, `update public.tenants set display_name = E'\x1b[31mred'`)
	// CSV is data for programs, as it is; everything else is shown.
	for _, format := range []string{"table", "json", "yaml", "ndjson"} {
		code, out := crmctl(t, f, "doctor", "--check", "orphan-schema", "-o", format)
		if code != cli.ExitPending || strings.ContainsAny(out, "\x1b\x07") || format == "table" &&
			strings.Contains(out, "\u202e") {
			t.Errorf("-o %s: exit code %d, %q", format, code, out)
		}
	}
	// Names with control characters are for people; what they are told to do works.
	code, out := crmctl(t, f, "doctor", "--fix", "orphan-schema", "--yes")
	if code != cli.ExitPending || strings.ContainsAny(out, "\x1b\x07") ||
		strings.Count(out, "undo: alter schema") != len(names)-2 {
		t.Errorf("exit code %d, %q", code, out)
	}
	byHand := 0
	for line := range strings.Lines(out) {
		if _, sql, found := strings.Cut(strings.TrimSpace(line), "; by hand: "); found {
			byHand++
			f.Exec(t, strings.Replace(sql, "quarantine_unnamed", fmt.Sprintf("quarantine_unnamed%d", byHand), 1))
		}
	}
	if byHand != 2 {
		t.Errorf("%d schemas are for people, want 2:\n%s", byHand, out)
	}
	left := schemas(t, f)
	if n := len(slices.DeleteFunc(slices.Clone(left), func(s string) bool {
		return !strings.HasPrefix(s, "quarantine_")
	})); n != len(names) || !slices.Contains(left, "tenant_acme") {
		t.Errorf("schemas %q", left)
	}
	if n := f.Int(t, `select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where nspname like 'quarantine\_%' and relname = 'contacts' and pg_relation_size(c.oid) > 0`); n != int64(len(names)) {
		t.Errorf("%d tables are left", n)
	}
	if code, out := crmctl(t, f, "doctor", "--check", "orphan-schema,quarantine"); code != cli.ExitOK ||
		strings.ContainsAny(out, "\x1b\x07\u202e") {
		t.Errorf("exit code %d, %q", code, out)
	}
}
