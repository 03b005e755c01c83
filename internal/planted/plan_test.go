package planted_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
)

// TestFindInMuchOfOthers looks at schemas with many tables and functions of a role that
// is not trusted, of which the planner knows nothing yet. It takes what recursion finds for
// billions of rows: a plan that hashes these spreads them over thousands of files, which
// took ten seconds.
func TestFindInMuchOfOthers(t *testing.T) {
	t.Parallel()
	z := newZoo(t)
	const schemas, tables = 10, 20
	var names []string
	for i := range schemas {
		name := fmt.Sprintf("much_%d", i)
		names = append(names, name)
		script := []string{"create schema " + name + " authorization " + z.role, "set role " + z.role,
			"set search_path = " + name}
		for j := range tables {
			for _, sql := range []string{
				`create function f{}(a int) returns int language sql as 'select a'`,
				`create function t{}() returns trigger language plpgsql as 'begin return new; end'`,
				`create table many{} (id uuid primary key default gen_random_uuid(), name text check (length(name) < 200),
					at timestamptz default now(), data jsonb default '{}')`,
				`create index on many{} (lower(name))`,
				`create trigger touch before update on many{} for each row execute function t{}()`,
				`create view v{} as select id, lower(name) as low, f{}(1) as one from many{}`,
			} {
				script = append(script, strings.NewReplacer("'{}'", "'{}'", "{}", fmt.Sprint(j)).Replace(sql))
			}
		}
		z.Exec(t, append(script, "reset role", "reset search_path")...)
	}
	conn := z.Connect(t)
	list := make([]db.Schema, schemas)
	for i, name := range names {
		s, err := db.RegisteredSchema(name)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = s
	}
	found, err := planted.Find(t.Context(), conn, list, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		// The functions, the triggers, what the views call.
		if got := len(found[name]); got != 4*tables {
			t.Errorf("%s has %d objects, want %d: %v", name, got, 4*tables, found[name])
		}
	}
	if err := conn.Close(t.Context()); err != nil { // which tells what the session has done
		t.Fatal(err)
	}
	alone := func() bool {
		return z.Int(t, `select count(*) from pg_stat_activity where datname = current_database()`) == 1
	}
	for begun := time.Now(); !alone() && time.Since(begun) < time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
	if files := z.Int(t, `select temp_files from pg_stat_database where datname = current_database()`); files > 0 {
		t.Errorf("the search wrote %d temporary files", files)
	}
}
