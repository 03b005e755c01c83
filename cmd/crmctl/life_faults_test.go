package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// outcome runs crmctl as a process of its own and returns what it printed and its
// exit code.
func outcome(t *testing.T, f *fleettest.Fleet, args ...string) (output string, code int) {
	t.Helper()
	cmd := program(t, f, args...)
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// relationsOf tells all relations and roles of tenants, to see that nothing else has
// changed.
func relationsOf(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var s string
	f.Scan(t, []any{&s}, `select string_agg(n.nspname || '.' || c.relname, ' ' order by 1) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'`)
	return s
}

// residue counts what a tenant of that name has in the database: rows, schemas,
// roles and entries of the audit.
func residue(t *testing.T, f *fleettest.Fleet, slug string) string {
	t.Helper()
	schema := "tenant_" + strings.ReplaceAll(slug, "-", "_")
	return fmt.Sprintf("%d %d %d %d",
		f.Int(t, "select count(*) from public.tenants where slug = $1", slug),
		f.Int(t, "select count(*) from pg_namespace where nspname = $1", schema),
		f.Int(t, "select count(*) from pg_roles where rolname = $1", schema),
		f.Int(t, "select count(*) from public.tenant_events where slug = $1", slug))
}

// uniqueSlug returns a name that no other test has: roles are shared by the
// databases of a server.
func uniqueSlug(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var database string
	f.Scan(t, []any{&database}, "select replace(current_database(), '_', '-')")
	t.Cleanup(func() {
		f.Exec(t, fmt.Sprintf(`do $$ declare r record; begin
			for r in select rolname from pg_roles where rolname like 'tenant\_%s%%' loop
				execute format('drop owned by %%I cascade', r.rolname);
				execute format('drop role %%I', r.rolname);
			end loop; end $$`, strings.ReplaceAll(database, "-", `\_`)))
	})
	return database
}

// TestKilledCreateLeavesNoRole: the role of a tenant is a thing
// of the server and not of the database, and it comes and goes with the rest.
func TestKilledCreateLeavesNoRole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	base := uniqueSlug(t, f)
	dir := migrationDir(t, 3, 20*time.Millisecond)
	absent := 0
	for i := range 6 {
		slug := fmt.Sprintf("%s-%d", base, i)
		args := []string{"tenant", "create", slug, "--role", "--migrations-dir", dir}
		killAfter(t, program(t, f, args...), time.Duration(40+30*i)*time.Millisecond)
		cut(t, f)
		settle(t, f)
		switch got := residue(t, f, slug); got {
		case "0 0 0 0":
			absent++
		case "1 1 1 1":
		default:
			t.Errorf("%s: %s rows, schemas, roles, entries", slug, got)
		}
		if out, code := outcome(t, f, append(args, "--if-not-exists")...); code != cli.ExitOK ||
			residue(t, f, slug) != "1 1 1 1" {
			t.Errorf("%s again: exit code %d, %s\n%s", slug, code, residue(t, f, slug), out)
		}
	}
	if absent == 0 {
		t.Error("no create was killed before its end: the test shows nothing")
	}
}

// TestSameTenantCreatedByProcesses: of several that create the same
// tenant at once one wins, the others say so, and nothing is left over.
func TestSameTenantCreatedByProcesses(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	slug := uniqueSlug(t, f)
	const racers = 4
	outs, codes := make([]string, racers), make([]int, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { outs[i], codes[i] = outcome(t, f, "tenant", "create", slug, "--role") })
	}
	wg.Wait()
	won := 0
	for i, code := range codes {
		switch {
		case code == cli.ExitOK:
			won++
		case code != cli.ExitFailure || !strings.Contains(outs[i], "exists already"):
			t.Errorf("a loser: exit code %d\n%s", code, outs[i])
		}
	}
	if got := residue(t, f, slug); won != 1 || got != "1 1 1 1" {
		t.Errorf("%d winners; %s rows, schemas, roles, entries", won, got)
	}
}

// TestMovesDuringAMigration: a move of a tenant that is being migrated is
// refused with the exit code for it, changes nothing, and works afterwards.
func TestMovesDuringAMigration(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	dir := t.TempDir()
	// It lasts until the test lets it go on.
	const slow = "-- +goose Up\ncreate table slow (x int);\nselect pg_advisory_xact_lock(4711);\n"
	if err := os.WriteFile(filepath.Join(dir, "00001_slow.sql"), []byte("-- +goose Up\ncreate table quick (x int);\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := outcome(t, f, "tenant", "create", "acme", "--migrations-dir", dir); code != cli.ExitOK {
		t.Fatal(out)
	}
	if err := os.WriteFile(filepath.Join(dir, "00002_slow.sql"), []byte(slow), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := f.Connect(t)
	if _, err := gate.Exec(t.Context(), "select pg_advisory_lock(4711)"); err != nil {
		t.Fatal(err)
	}
	run := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--lock-timeout", "5m")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	waiting := func() int64 {
		return f.Int(t, "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted and "+
			"database = (select oid from pg_database where datname = current_database())")
	}
	for deadline := time.Now().Add(time.Minute); waiting() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the migration does not begin")
		}
	}
	moves := [][]string{
		{"tenant", "suspend", "acme"},
		{"tenant", "rename", "acme", "globex", "--schema"},
		{"tenant", "set", "acme", "seats=5"},
		{"tenant", "delete", "acme", "--confirm", "acme", "--retention", "0s"},
	}
	for _, args := range moves {
		if out, code := outcome(t, f, append(args, "--lock-timeout", "200ms")...); code != cli.ExitLocked ||
			!strings.Contains(out, "at work on this tenant") {
			t.Errorf("%s: exit code %d\n%s", args, code, out)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants where slug = 'acme' and status = 'active' and schema_name = "+
		"'tenant_acme' and settings = '{}'"); n != 1 {
		t.Error("a move that was refused changed something")
	}
	if _, err := gate.Exec(t.Context(), "select pg_advisory_unlock(4711)"); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("the migration: %v", err)
	}
	for _, args := range [][]string{moves[0], moves[2], moves[3], {"tenant", "purge", "--no-backup", "--yes"}} {
		if out, code := outcome(t, f, args...); code != cli.ExitOK {
			t.Errorf("%s: exit code %d\n%s", args, code, out)
		}
	}
}

// hostileNames are what nobody should get a schema of as it stands.
func hostileNames() []string {
	return []string{
		`"; drop schema tenant_bystander cascade; --`, `'; delete from public.tenants; --`, "pg_catalog", "public",
		"información",
		"a\nb", "a\x1b[2Jb", "\u202eevil", "💣 emoji", strings.Repeat("x", 200), "", "-rf", "--yes", "%s%d",
		"tenant_bystander", "*", "../x",
	}
}

// TestHostileNamesOnTheCommandLine: in every command that takes one such a name
// is refused, or means a tenant that is safely named, and whatever else there is stays.
func TestHostileNamesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "bystander", "acme")
	f.Exec(t, "insert into tenant_bystander.contacts (name) values ('x')")
	before := relationsOf(t, f)
	refused := []int{cli.ExitUsage, exitNoTenant, cli.ExitFailure}
	for _, name := range hostileNames() {
		for _, args := range [][]string{
			{"tenant", "suspend", "--", name}, {"tenant", "activate", "--", name}, {"tenant", "undelete", "--", name},
			{"tenant", "delete", "--confirm", name, "--", name}, {"tenant", "purge", "--no-backup", "--yes", "--", name},
			{"tenant", "rename", "--", name, "other"}, {"tenant", "set", "--", name, "a=b"}, {"tenant", "show", "--", name},
			{"tenant", "exec", "--write", "--yes", "-c", "delete from contacts", "--", name},
			{"tenant", "clone", "--", name, "copy"},
		} {
			if name == "*" && args[1] == "exec" {
				continue // a pattern there, as in --tenant
			}
			b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
			if code := b.run(args...); !slices.Contains(refused, code) {
				t.Errorf("%q: exit code %d\n%s%s", args, code, b.out, b.err)
			}
			if text := b.out.String() + b.err.String(); strings.ContainsFunc(text, dangerous) {
				t.Errorf("%q prints %q", args, text)
			}
		}
	}
	// As a new name, a display name, the name and the value of a setting.
	for _, name := range hostileNames() {
		for _, args := range [][]string{
			{"tenant", "rename", "--display-name", "x" + name, "acme"}, {"tenant", "set", "acme", "x" + name + "=" + name},
			{"tenant", "rename", "--dry-run", "--schema", "--", "acme", name}, {"tenant", "rename", "--schema", "--",
				"acme", name},
		} {
			b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
			code := b.run(args...)
			if code != cli.ExitOK && code != cli.ExitUsage {
				t.Errorf("%q: exit code %d\n%s%s", args, code, b.out, b.err)
			}
			if text := b.out.String() + b.err.String(); strings.ContainsFunc(text, dangerous) {
				t.Errorf("%q prints %q", args, text)
			}
		}
		// Back by its id, whatever it is called now.
		var slug string
		f.Scan(t, []any{&slug}, "select slug from public.tenants where slug <> 'bystander'")
		if slug == "acme" {
			continue
		}
		if out, code := outcome(t, f, "tenant", "rename", slug, "acme", "--schema"); code != cli.ExitOK {
			t.Fatalf("back from %q (%q): exit code %d\n%s", slug, name, code, out)
		}
	}
	if after := relationsOf(t, f); after != before {
		t.Errorf("the catalog changed\nbefore %s\nafter  %s", before, after)
	}
	if n := f.Int(t, "select count(*) from tenant_bystander.contacts") + f.Int(t,
		"select count(*) from public.tenants where slug = 'bystander' and status = 'active'"); n != 2 {
		t.Error("the bystander was hurt")
	}
}

// dangerous reports whether a terminal would obey a character instead of showing it.
func dangerous(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// TestSpellingsOfAName: a name is the same in every spelling, in every
// command.
func TestSpellingsOfAName(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme-corp", "globex")
	for _, step := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"tenant", "create", "ACME Corp "}, cli.ExitFailure, `tenant "acme-corp" exists already`},
		{[]string{"tenant", "rename", "globex", " Acme_Corp"}, cli.ExitFailure, `tenant "acme-corp" exists already`},
		{[]string{"tenant", "clone", "globex", "acme  corp"}, cli.ExitFailure, `exists already`},
		{[]string{"tenant", "rename", "ACME CORP", "acme-corp"}, cli.ExitOK, "unchanged"},
		{[]string{"tenant", "suspend", "Acme Corp"}, cli.ExitOK, "suspended\tacme-corp"},
		{[]string{"tenant", "activate", "ACME_CORP"}, cli.ExitOK, "activated\tacme-corp"},
		{[]string{"tenant", "exec", "Acme Corp", "-c", "select 1 as one"}, cli.ExitOK, "acme-corp\t1"},
		{[]string{"tenant", "history", "ACME-corp"}, cli.ExitOK, "suspend"},
		{[]string{"tenant", "delete", "Acme Corp", "--confirm", "Acme Corp"}, cli.ExitUsage, `does not match "acme-corp"`},
		{[]string{"tenant", "delete", "Acme Corp", "--confirm", "acme-corp"}, cli.ExitOK, "deleted\tacme-corp"},
	} {
		if out, code := outcome(t, f, step.args...); code != step.code || !strings.Contains(out, step.says) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s", step.args, code, step.code, step.says, out)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != 2 {
		t.Errorf("%d tenants", n)
	}
}

// TestTenantWithoutASchema: where the schema of a tenant is gone, what
// works on its data fails, its life can be ended, and nothing lands in public.
func TestTenantWithoutASchema(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 3), "ghost", "acme")
	f.Exec(t, "drop schema tenant_ghost cascade",
		// The worst that a server can be set to: everything unqualified lands in public.
		`do $$ begin execute format('alter database %I set search_path = public', current_database()); end $$`)
	before := relationsOf(t, f)
	leads := filepath.Join(t.TempDir(), "leads.csv")
	if err := os.WriteFile(leads, []byte("Name,E-mail\nAda,ada@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backups")
	for _, args := range [][]string{
		{"tenant", "exec", "ghost", "-c", "select count(*) from contacts"},
		{"tenant", "exec", "ghost", "--write", "--yes", "-c", "create table lost (x int)"},
		{"migrate", "tenant", "ghost"},
		{"contacts", "import", "--tenant", "ghost", leads},
		{"contacts", "export", "--tenant", "ghost"},
		{"seed", "--tenant", "ghost"},
		{"backup", "create", "ghost", "--dir", dir},
		{"tenant", "clone", "ghost", "copy"},
		{"psql", "ghost", "--write", "--", "-v", "ON_ERROR_STOP=1", "-c", "create table lost (x int)"},
	} {
		if out, code := outcome(t, f, args...); code == cli.ExitOK {
			t.Errorf("%q succeeds\n%s", args, out)
		}
	}
	for _, args := range [][]string{
		{"tenant", "list"}, {"tenant", "show", "ghost"}, {"tenant", "suspend", "ghost"}, {"tenant", "activate", "ghost"},
		{"tenant", "rename", "ghost", "spirit"}, {"tenant", "set", "spirit", "a=1"},
		{"tenant", "delete", "spirit", "--confirm", "spirit", "--retention", "0s"}, {"tenant", "undelete", "spirit"},
		{"tenant", "delete", "spirit", "--confirm", "spirit", "--retention", "0s"},
		{"tenant", "purge", "spirit", "--no-backup", "--yes"}, {"tenant", "history", "ghost"},
	} {
		if out, code := outcome(t, f, args...); code != cli.ExitOK {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
	if after := relationsOf(t, f); after != before {
		t.Errorf("the catalog changed\nbefore %s\nafter  %s", before, after)
	}
	if n := f.Int(t, "select count(*) from public.tenants where slug <> 'acme'"); n != 0 {
		t.Errorf("%d ghosts stayed", n)
	}
}

// TestEscapesAreShown: whatever a tenant's names, settings and contacts
// hold, a terminal is shown it and does not obey it, in any format.
func TestEscapesAreShown(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "hooli", "soon")
	evil := `E'\x1b]0;owned\x07\u202eevil\u009b31m\r'`
	f.Exec(t, "update public.tenants set display_name = "+evil+", settings = jsonb_build_object("+evil+", "+evil+")",
		"insert into tenant_acme.contacts (name, email) values ("+evil+", "+evil+")",
		"update public.tenants set status = 'deleted', deleted_at = now() - interval '2 days', purge_after = now() - "+
			"interval '1 day' where slug = 'hooli'",
		"update public.tenants set status = 'deleted', deleted_at = now() - interval '2 days', purge_after = now() + "+
			"interval '1 day' where slug = 'soon'",
		"insert into public.tenant_events (tenant_id, slug, action, actor, os_user, host, program, detail) values "+
			"(gen_random_uuid(), 'acme', 'create', "+
			strings.Repeat(evil+", ", 4)+"jsonb_build_object("+evil+", "+evil+"))")
	for _, format := range []string{"table", "wide", "json", "yaml", "csv", "ndjson"} {
		for _, args := range [][]string{
			{"tenant", "list"}, {"tenant", "show", "acme"}, {"tenant", "history", "acme"}, {"audit", "list"},
			{"tenant", "rename", "acme", "--display-name", "\x1b[31mred\u202e", "--dry-run"},
			{"tenant", "suspend", "acme", "--dry-run"}, {"tenant", "purge", "--dry-run", "--warn", "7d"},
			{"tenant", "exec", "acme", "-c", `select name, email as "\x1b[31mtitle" from contacts`},
			{"tenant", "exec", "acme", "-c", "select name::int as n from contacts"},
			{"tenant", "delete", "acme", "--dry-run"},
		} {
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], `\x1b`, "\x1b")
			}
			for _, terminal := range []bool{true, false} {
				b := newBench(t).setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
				if terminal {
					b.onTerminal()
				}
				b.run(append(args, "-o", format)...)
				if b.out.String()+b.err.String() == "" {
					t.Errorf("%q -o %s prints nothing", args, format)
				}
				out := b.out.String()
				if format == "csv" && !terminal {
					out = "" // a file for programs: as it came
				}
				if strings.ContainsFunc(out+b.err.String(), dangerous) {
					t.Errorf("%q -o %s, terminal %v, prints %q", args, format, terminal, out+b.err.String())
				}
			}
		}
	}
}

// TestPurgeIntoAnUnsafeDirectory: where the backup cannot be kept safely
// nothing is destroyed.
func TestPurgeIntoAnUnsafeDirectory(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now() - interval '2 days', purge_after = "+
		"now() - interval '1 day'")
	base := t.TempDir()
	place, link, file := filepath.Join(base, "real"), filepath.Join(base, "link"), filepath.Join(base, "file")
	if err := errors.Join(os.Mkdir(place, 0o700), os.Symlink(place, link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{link, link + "/", file, filepath.Join(file, "x")} {
		if out, code := outcome(t, f, "tenant", "purge", "--backup-dir", dir, "--yes"); code == cli.ExitOK {
			t.Errorf("%s: %s", dir, out)
		}
		if n := f.Int(t, "select count(*) from pg_tables where schemaname = 'tenant_acme' and tablename = "+
			"'contacts'"); n != 1 {
			t.Fatalf("%s: the tenant is gone", dir)
		}
	}
	if out, code := outcome(t, f, "tenant", "purge", "--backup-dir", filepath.Join(base, "new"),
		"--yes"); code != cli.ExitOK {
		t.Fatal(out)
	}
	files, err := os.ReadDir(filepath.Join(base, "new"))
	if err != nil {
		t.Fatal(err)
	}
	saved := 0
	for _, entry := range files {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(entry.Name(), ".crmctl") {
			saved++
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", entry.Name(), info.Mode())
		}
	}
	if saved != 1 {
		t.Errorf("%d backups", saved)
	}
}
