package migrate_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/migrations"
)

func compile(t *testing.T, files map[string]string) (*migrate.Plan, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return migrate.Compile(t.Context(), fsys)
}

func TestCompileLocatesStatements(t *testing.T) {
	t.Parallel()
	plan, err := compile(t, map[string]string{
		"00002_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on a (x);\n\n-- +goose " +
			"Down\ndrop index i;\n",
		"00001_a.sql": `-- a comment
-- +goose Up
-- about a
create table a (
    x int -- first; still the same
);

alter table a add y int; alter table a add z text default ';';
-- +goose StatementBegin
create function f() returns int language plpgsql as $$
begin
    return 1;
end $$;
-- +goose StatementEnd

-- +goose Down
drop table a;
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Migrations) != 2 || plan.Head() != 2 {
		t.Fatalf("plan %+v", plan)
	}
	a, b := plan.Migrations[0], plan.Migrations[1]
	want := []db.Statement{
		{SQL: "create table a (\n    x int -- first; still the same\n);", File: "00001_a.sql", Line: 4},
		{SQL: "alter table a add y int;", File: "00001_a.sql", Line: 8},
		{SQL: "alter table a add z text default ';';", File: "00001_a.sql", Line: 8},
		{SQL: "create function f() returns int language plpgsql as $$\nbegin\n    return 1;\nend $$;",
			File: "00001_a.sql", Line: 10},
	}
	if diff := cmp.Diff(want, a.Up); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]db.Statement{{SQL: "drop table a;", File: "00001_a.sql", Line: 17}}, a.Down); diff != "" {
		t.Error(diff)
	}
	if !a.Transactional || b.Transactional {
		t.Errorf("transactional: a %v, b %v", a.Transactional, b.Transactional)
	}
	if a.Checksum == b.Checksum || len(a.Checksum) != 64 {
		t.Errorf("checksums %s, %s", a.Checksum, b.Checksum)
	}
}

func TestChecksumIgnoresCommentsOnly(t *testing.T) {
	t.Parallel()
	sum := func(text string) string {
		plan, err := compile(t, map[string]string{"1_x.sql": text})
		if err != nil {
			t.Fatal(err)
		}
		return plan.Migrations[0].Checksum
	}
	base := sum("-- +goose Up\ncreate table a (x int);\n")
	if got := sum("-- why\n-- +goose Up\n\n-- more\ncreate table a (x int);\n-- +goose Down\ndrop table a;\n"); got != base {
		t.Error("a comment changed the checksum")
	}
	if got := sum("-- +goose Up\ncreate table a (x bigint);\n"); got == base {
		t.Error("another statement has the same checksum")
	}
}

// TestCompileCountsRefused: who mends the first file knows how many others wait.
func TestCompileCountsRefused(t *testing.T) {
	t.Parallel()
	files := map[string]string{"1_a.sql": "-- +goose Up\nselect 1;", "2_b.sql": "-- +goose Up\nset role x;"}
	for more, want := range []string{
		"migration 2_b.sql: line 2: ", "migration 2_b.sql: line 2: .* \\(1 more file is refused\\)$",
		"migration 2_b.sql: line 2: .* \\(2 more files are refused\\)$",
	} {
		_, err := compile(t, files)
		refused, is := errors.AsType[*migrate.RefusedError](err)
		if !is || refused.File != "2_b.sql" || refused.More != more || !regexp.MustCompile("^"+
			want).MatchString(err.Error()) || more == 0 && strings.Contains(err.Error(), "more") {
			t.Errorf("%d more: %v", more, err)
		}
		files[strconv.Itoa(10-more)+"_later.sql"] = []string{"-- +goose Up\ncommit;", "select 1;", ""}[more]
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, sql, want string }{
		{"commit", "create table a (x int);\nCOMMIT;", "line 3: COMMIT"},
		{"begin behind a comment", "/* hm */ begin;", "BEGIN"},
		{"two in a line", "select 1; rollback;", "ROLLBACK"},
		{"search_path", "set search_path = public;", "SET SEARCH_PATH"},
		{"local search_path", "set local search_path to public;", "SET SEARCH_PATH"},
		{"set schema", "set schema 'public';", "SET SCHEMA"},
		{"role", "set role postgres;", "SET ROLE"},
		{"path of a dump", "select pg_catalog.set_config('search_path', '', false);", "take it out"},
		{"encoding", "set client_encoding = 'LATIN1';", "UTF-8"},
		{"reset", "reset all;", "RESET"},
		{"discard", "discard all;", "DISCARD"},
		{"copy", "copy a from stdin;", "COPY FROM stdin"},
		{"no semicolon", "create table a (x int)", "semicolon"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := compile(t, map[string]string{"00001_x.sql": "-- +goose Up\n" + tt.sql + "\n"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "00001_x.sql") {
				t.Errorf("got %v, want the file and %q", err, tt.want)
			}
		})
	}
	t.Run("allowed", func(t *testing.T) {
		t.Parallel()
		_, err := compile(t, map[string]string{"00001_x.sql": `-- +goose Up
set local statement_timeout = 0;
set statement_timeout = 0;
set constraints all deferred;
create table "begin" (x text default 'commit; set search_path = x');
-- +goose StatementBegin
create function g() returns int begin atomic select 1; select 2; end;
-- +goose StatementEnd
`})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("no files", func(t *testing.T) {
		t.Parallel()
		if _, err := compile(t, nil); !errors.Is(err, migrate.ErrNoMigrations) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPending(t *testing.T) {
	t.Parallel()
	plan, err := compile(t, map[string]string{
		"1_a.sql": "-- +goose Up\nselect 1;\n", "3_c.sql": "-- +goose Up\nselect 1;\n",
		"7_g.sql": "-- +goose Up\nselect 1;\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	versions := func(ms []*migrate.Migration) (out []int64) {
		for _, m := range ms {
			out = append(out, m.Version)
		}
		return out
	}
	for _, tt := range []struct{ applied, want []int64 }{
		{nil, []int64{1, 3, 7}},
		{[]int64{0, 1}, []int64{3, 7}},
		{[]int64{0, 1, 3, 7}, nil},
		{[]int64{1, 2, 3, 7, 9}, nil}, // newer and foreign ones are none of ours
	} {
		got, err := plan.Pending(tt.applied)
		if err != nil || !cmp.Equal(versions(got), tt.want) {
			t.Errorf("Pending(%v) = %v, %v, want %v", tt.applied, versions(got), err, tt.want)
		}
	}
	var late *migrate.OutOfOrderError
	if _, err := plan.Pending([]int64{0, 1, 7}); !errors.As(err, &late) || !cmp.Equal(versions(late.Missing), []int64{3}) {
		t.Errorf("a gap: %v", err)
	}
	if _, err := plan.To(2); err == nil {
		t.Error("To(2) found a version that is not there")
	}
	if to, err := plan.To(3); err != nil || to.Head() != 3 {
		t.Errorf("To(3) = %v, %v", to, err)
	}
}

func TestShippedMigrationsCompile(t *testing.T) {
	t.Parallel()
	for name, fsys := range map[string]func() (*migrate.Plan, error){
		"public": func() (*migrate.Plan, error) { return migrate.Compile(t.Context(), migrations.Public()) },
		"tenant": func() (*migrate.Plan, error) { return migrate.Compile(t.Context(), migrations.Tenant()) },
	} {
		plan, err := fsys()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, m := range plan.Migrations {
			if len(m.Up) == 0 || len(m.Down) == 0 || !m.Transactional {
				t.Errorf("%s: %s has %d up, %d down, transactional %v", name, m.File, len(m.Up), len(m.Down), m.Transactional)
			}
		}
	}
}

// FuzzCompile asserts that no file makes the compiler panic, and that every
// statement it returns stands in the file as it is.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"create table a (x int);", "select $$ ; $$;", "select E'\\'';", "select 1; -- x\nselect 2;",
		"/* /* */ */ select 1;", "select '", "$a$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		text := "-- +goose Up\n" + sql + "\n"
		plan, err := compile(t, map[string]string{"1_x.sql": text})
		if err != nil {
			return
		}
		plain := strings.ReplaceAll(text, "\r\n", "\n")
		for _, s := range plan.Migrations[0].Up {
			if !strings.Contains(plain, s.SQL) && !strings.Contains(sql, "+goose") {
				t.Fatalf("%q is not in %q", s.SQL, text)
			}
		}
	})
}
