package adopt_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// knexSchema makes a schema with the tables that knex 3 makes.
func knexSchema(t *testing.T, f *fleettest.Fleet, schema string, names ...string) {
	t.Helper()
	f.Exec(t, "create schema "+schema,
		`create table `+schema+`."knex_migrations" ("id" serial primary key, "name" varchar(255), "batch" integer, "migration_time" timestamptz)`,
		`create table `+schema+`."knex_migrations_lock" ("index" serial primary key, "is_locked" integer)`,
		`insert into `+schema+`."knex_migrations_lock" ("is_locked") values (0)`)
	for _, n := range names {
		f.Exec(t, `insert into `+schema+`."knex_migrations" (name, batch, migration_time) values ('`+n+`', 1, now())`)
	}
}

// from returns knex with what a test says.
func from(s adopt.Source) *adopt.Source {
	k := adopt.From("knex")
	k.Map, k.UpTo, k.Table = s.Map, s.UpTo, s.Table
	return k
}

func TestAdoptFromKnex(t *testing.T) {
	t.Parallel()
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"1_create_a.sql": first, "2_create_b.sql": "create table b (x int);", "3_create_c.sql": "create table c (x int);",
	}))
	for _, tt := range []struct {
		name    string
		knex    adopt.Source
		done    []string
		want    []int64 // versions beside 0
		refused string
	}{
		{name: "number and words agree", done: []string{"00001_create_a.js", "002_create_b.ts"}, want: []int64{1, 2}},
		{name: "nothing done"},
		{name: "words differ", done: []string{"1_create_a.js", "2_create_bb.js"},
			refused: "no file is known for 2_create_bb.js"},
		{name: "number differs", done: []string{"20240101_create_a.js"},
			refused: "no file is known for 20240101_create_a.js"},
		{name: "mapped", knex: adopt.Source{Map: adopt.Map{"init": {1, 2}, "seed": {}}}, done: []string{"init.js", "seed.js"},
			want: []int64{1, 2}},
		{name: "mapped against the names", knex: adopt.Source{Map: adopt.Map{"1_create_a": {1, 2, 3}}},
			done: []string{"1_create_a.js"}, want: []int64{1, 2, 3}},
		{name: "several for one", knex: adopt.Source{Map: adopt.Map{"x": {1}, "y": {1}, "z": {2}}},
			done: []string{"x.js", "y.js"}, want: []int64{1}},
		{name: "one in part", knex: adopt.Source{Map: adopt.Map{"x": {1}, "y": {2}, "z": {2}}},
			done: []string{"x.js", "y.js"}, refused: "version 2 is there in part, without z"},
		{name: "gap", knex: adopt.Source{Map: adopt.Map{"x": {1}, "y": {2}, "z": {3}}}, done: []string{"x.js", "z.js"},
			refused: "is at version 3 without 2_create_b.sql"},
		{name: "by order", knex: adopt.Source{UpTo: 2}, done: []string{"a.js", "b.js"}, want: []int64{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			knexSchema(t, f, "app", tt.done...)
			o := adoptOptions()
			o.Source = from(tt.knex)
			s := survey(t, f.Connect(t), plan, []adopt.Claim{{Schema: "app"}}, o)
			carry(t, f, s)
			a := s.Adoptions[0]
			if tt.refused != "" {
				if a.State != adopt.Refused || !errors.Is(a.Err, adopt.ErrHistory) || !strings.Contains(a.Err.Error(), tt.refused) {
					t.Errorf("got %s: %v", a.State, a.Err)
				}
				return
			}
			if a.State != adopt.Adopted {
				t.Fatalf("%+v", a)
			}
			var got []int64
			f.Scan(t, []any{&got}, "select array_agg(version_id order by id) from app.goose_db_version where is_applied")
			if !slices.Equal(got, append([]int64{0}, tt.want...)) {
				t.Errorf("versions %v, want 0 and %v", got, tt.want)
			}
			if n := f.Int(t, "select count(*) from app.knex_migrations"); int(n) != len(tt.done) {
				t.Errorf("%d rows of knex stayed of %d", n, len(tt.done))
			}
		})
	}
}

// What most of the fleet has counts as the order; who has something else is
// refused, and who is behind is adopted at its version.
func TestAdoptFromKnexByOrder(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	knexSchema(t, f, "odd", "a.js", "other.js")
	knexSchema(t, f, "one", "a.js", "b.js")
	knexSchema(t, f, "two", "a.js", "b.js")
	knexSchema(t, f, "behind", "a.js")
	o := adoptOptions()
	o.Source = from(adopt.Source{UpTo: 2})
	s := survey(t, f.Connect(t), threeFiles(t), []adopt.Claim{{Schema: "odd"}, {Schema: "one"}, {Schema: "two"},
		{Schema: "behind"}}, o)
	for i, want := range []struct {
		state   adopt.State
		version int64
	}{{adopt.Refused, 0}, {adopt.Adopted, 2}, {adopt.Adopted, 2}, {adopt.Adopted, 1}} {
		if a := s.Adoptions[i]; a.State != want.state || a.Version != want.version {
			t.Errorf("%s: %s at %d, %v", a.Schema, a.State, a.Version, a.Err)
		}
	}
	o.Source.UpTo = 3
	if _, err := adopt.Look(t.Context(), f.Connect(t), threeFiles(t), []adopt.Claim{{Schema: "one"}}, o); !errors.Is(err,
		adopt.ErrMap) {
		t.Errorf("three files for two migrations: %v", err)
	}
}

// knex says that it is at work in a row of its lock table. A run that has begun
// is waited for as long as a lock, and one that said so is refused.
func TestAdoptFromKnexWhileItRuns(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	knexSchema(t, f, "app", "1_a.js")
	o := adoptOptions()
	o.Source, o.LockTimeout = adopt.From("knex"), 50*time.Millisecond
	s := survey(t, f.Connect(t), threeFiles(t), []adopt.Claim{{Schema: "app"}}, o)

	knex := f.Connect(t)
	for _, sql := range []string{"begin", "update app.knex_migrations_lock set is_locked = 1 where is_locked = 0"} {
		if _, err := knex.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	carry(t, f, s)
	if a := s.Adoptions[0]; db.SQLState(a.Err) != db.CodeLockNotAvailable {
		t.Errorf("while knex takes its lock: %+v", a)
	}
	if _, err := knex.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	s = survey(t, f.Connect(t), threeFiles(t), []adopt.Claim{{Schema: "app"}}, o)
	if a := s.Adoptions[0]; a.State != adopt.Refused || !strings.Contains(a.Err.Error(),
		"knex_migrations_lock is locked") {
		t.Errorf("while knex holds its lock: %+v", a)
	}
}

func TestReadMap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, text string
		want       adopt.Map
		wrong      string
	}{
		{file: "m.csv", text: "knex,version\na.js,1\nb.ts, 2\na.js,3\n# no more\nc.js,-\n",
			want: adopt.Map{"a": {1, 3}, "b": {2}, "c": {}}},
		{file: "m.csv", text: "\ufeffa.js,1\n", want: adopt.Map{"a": {1}}},
		{file: "m.csv", text: "a.js\n", wrong: "wrong number of fields"},
		{file: "m.csv", text: "a.js,1\nb.js,2x\n", wrong: `line 2: "2x" is no version`},
		{file: "m.csv", text: "name,version\n", wrong: "nothing in it"},
		{file: "m.yaml", text: "a.js: 1\nb.js: [2, 3]\nc.js: []\n", want: adopt.Map{"a": {1}, "b": {2, 3}, "c": {}}},
		{file: "m.yml", text: "a.js: x\n", wrong: "a.js: want a version or a list of them"},
		{file: "m.yaml", text: "a.js: 1\na.ts: 2\n", wrong: "stands there twice"},
		{file: "m.yaml", text: "", wrong: "nothing in it"},
	} {
		got, err := adopt.ReadMap(tt.file, strings.NewReader(tt.text))
		if tt.wrong != "" {
			if !errors.Is(err, adopt.ErrMap) || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%q: %v, want %q", tt.text, err, tt.wrong)
			}
			continue
		}
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
		for name, versions := range tt.want {
			if have, ok := got[name]; !ok || !slices.Equal(have, versions) {
				t.Errorf("%q: %s is %v, want %v", tt.text, name, have, versions)
			}
		}
	}
}

// Whatever the file, what is read of it names versions and nothing else, and no
// name keeps an ending that a schema could have differently.
func FuzzReadMap(f *testing.F) {
	f.Add(true, "a.js: 1\nb.js: [2, 3]\n")
	f.Add(false, "name,version\na.js,1\nb.ts,-\n")
	f.Fuzz(func(t *testing.T, yaml bool, text string) {
		file := "m.csv"
		if yaml {
			file = "m.yaml"
		}
		m, err := adopt.ReadMap(file, strings.NewReader(text))
		if err != nil {
			if !errors.Is(err, adopt.ErrMap) {
				t.Errorf("not an ErrMap: %v", err)
			}
			return
		}
		for name, versions := range m {
			if versions == nil {
				t.Errorf("%q stands for nothing without having said so", name)
			}
		}
	})
}
