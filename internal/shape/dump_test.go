package shape_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/shape"
)

// wide is a history with what an application's migrations have beside tables.
var wide = []string{
	`create type mood as enum ('sad', 'ok'); alter type mood add value 'glad' after 'ok';
		create type place as (street text, city varchar(40))`,
	`create domain email as text constraint email_at check (value like '%@%')`,
	`create table people (id bigint generated always as identity primary key, mail email, feeling mood default 'ok',
		home place, nick text collate "C", first text, during int4range, exclude using gist (during with &&))`,
	`insert into people (mail, feeling, home, during) values ('a@b', 'sad', '("Main St",Berlin)', '[1,5)')`,
	`alter table people rename column first to given; alter table people
		alter column nick set storage external; alter table people alter column nick set statistics 500`,
	`create function double(n integer) returns integer language sql immutable as 'select 2 * n';
		create procedure forget(who bigint) language sql as 'delete from people where id = who'`,
	`create view happy as select id, nick, double(1) as two from people
		where feeling = 'ok' with check option; comment on view happy is 'it''s'; comment on column people.nick is 'short'`,
	`create index people_nick on people (lower(nick))
		where nick <> ''; create unique index people_mail on people (mail) include (given);
			alter table people add constraint people_mail unique using index people_mail`,
	`create statistics people_stats (dependencies) on nick, given from people`,
	`create policy own on people for select using (nick = current_user); alter table people enable row level security`,
	`grant select (id, nick) on people to pg_monitor; grant usage on type mood to pg_monitor; revoke
		execute on function double(integer) from public`,
	`create table child (id integer primary key,
		person bigint references people on delete cascade deferrable initially deferred,
			n numeric default 1.5 check (n > 0))`,
	`create rule quiet as on delete to happy do instead nothing; alter table child replica identity full;
		alter table child set (fillfactor = 70)`,
}

var schemaNames = regexp.MustCompile(`\b(one|two)_[a-z]+\b`)

// serverNotes are column options that newer servers set themselves, and that pg_dump
// writes out like those of users.
var serverNotes = regexp.MustCompile(`pg_attver=[0-9]+(, )?`)

// dump returns what pg_dump writes of a schema, its rows too, without its name.
func dump(t *testing.T, f *fleettest.Fleet, schema db.Schema) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pg_dump", "--inserts", "-n", schema.String(), "-d",
		f.DSN).CombinedOutput()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	var lines []string
	for line := range strings.Lines(schemaNames.ReplaceAllString(string(out), "S")) {
		line = serverNotes.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		if strings.HasSuffix(line, " SET ();") {
			continue
		}
		// A token that is another each time; times of versions; what a comment says.
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) &&
			!strings.Contains(line, "S.goose_db_version VALUES") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestScriptAgainstPgDump has pg_dump, which knows nothing of this program, read
// what a history and its script have made.
func TestScriptAgainstPgDump(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	var major int
	out, err := exec.CommandContext(t.Context(), "pg_dump", "--version").Output()
	if err == nil {
		_, err = fmt.Sscanf(strings.Fields(string(out))[2], "%d", &major)
	}
	if server := f.Int(t, "select current_setting('server_version_num')::int / 10000"); err != nil ||
		int64(major) < server {
		t.Skipf("pg_dump of PostgreSQL %d or newer is not there (%d, %v)", server, major, err)
	}
	for name, h := range map[string]shape.History{
		"crm": historyOf(t, fleettest.TenantPlan(t, 0)), "grown": history(t, grown...), "wide": history(t, wide...),
	} {
		final, err := shape.Make(t.Context(), conn, h, catalog.Options{})
		if err != nil || final.Reason != "" {
			t.Fatalf("%s: %+v, %v", name, final, err)
		}
		want := dump(t, f, build(t, conn, "one_"+name, h.Script))
		got := dump(t, f, build(t, conn, "two_"+name, slices.Concat(h.Versions, final.Script)))
		// The order of objects that need not wait for each other may be another.
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s: history\n%s\nshape\n%s", name, strings.Join(only(want, got), "\n"),
				strings.Join(only(got, want), "\n"))
		}
		if len(want) < 100 {
			t.Errorf("%s: a dump of %d lines: nothing was compared", name, len(want))
		}
	}
}

// only returns the lines of one list that the other lacks.
func only(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}
