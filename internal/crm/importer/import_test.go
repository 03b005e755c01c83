package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tabular"
)

// paths are the two ways to load: straight into an empty table, or by staging.
var paths = map[string]int64{"direct": 1, "staged": 1 << 40}

func TestImport(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		file string
		o    Options
		want string
		rows []string
	}{
		{
			name: "fields and metadata",
			file: "Name,E-mail Address,Phone,Company,City,Notes\n" +
				"Ada Lovelace, Ada@Example.COM ,+44 20 7946 0000,Analytical Engines,London,\"likes \"\"engines\"\"\"\n" +
				"Charles Babbage,charles@example.com,,,,\n" +
				",,+49 (30) 1234,,Berlin,no address\n" +
				"Bad Address,not-an-address,,,,\n" +
				",,,,Nowhere,nothing to make a contact of\n",
			want: "read 5 inserted 3 updated 0 unchanged 0 rejected 2",
			rows: []string{
				`ada@example.com|+442079460000|Ada Lovelace|Analytical Engines|{"City": "London", "Notes": "likes \"engines\"", "Phone": "+44 20 7946 0000"}`,
				`charles@example.com||Charles Babbage||{}`,
				`|+49301234|||{"City": "Berlin", "Notes": "no address", "Phone": "+49 (30) 1234"}`,
			},
		},
		{
			name: "hostile cells stay as they came",
			file: "email,name,company,note\na@example.com,=cmd(),+1+1,\"-1\"\nb@example.com,\"\t@SUM(A1)\",\"\rx\",\"'; drop " +
				"table contacts; --\"\n" +
				"c@example.com,\"\x1b[31mred\",\"\\N\",\"{\"\"a\"\": " +
				"\\u0000}\"\nd@example.com,\u202Eevil,\"line\r\nend\",\"\\.\"\n",
			want: "read 4 inserted 4 updated 0 unchanged 0 rejected 0",
			rows: []string{
				`a@example.com||=cmd()|+1+1|{"note": "-1"}`,
				"b@example.com||\t@SUM(A1)|\rx|" + `{"note": "'; drop table contacts; --"}`,
				"c@example.com||\x1b[31mred|\\N|" + `{"note": "{\"a\": \\u0000}"}`,
				"d@example.com||\u202Eevil|line\r\nend|" + `{"note": "\\."}`,
			},
		},
		{
			name: "names put together, further values kept",
			file: "First Name,Last Name,E-mail 1 - Value,E-mail 2 - Value,Phone\n" +
				"Ada,Lovelace,ada@example.com ::: " +
				"ada@work.example,,1\nGrace,,,grace@example.com,\n,Hopper,h@example.com,h2@example.com,\n",
			want: "read 3 inserted 3 updated 0 unchanged 0 rejected 0",
			rows: []string{
				`ada@example.com|1|Ada Lovelace||{"emails": [{"value": "ada@example.com"}, {"value": "ada@work.example"}], "last_name": "Lovelace", "first_name": "Ada"}`,
				`grace@example.com||Grace||{"first_name": "Grace"}`,
				`h@example.com||Hopper||{"emails": [{"value": "h@example.com"}, {"value": "h2@example.com"}], "last_name": "Hopper"}`,
			},
		},
		{
			name: "null markers", o: Options{Null: []string{"(blank)", "n/a"}},
			file: "email,name,city\n(blank),Ann,n/a\nb@example.com,n/a, (blank) \nc@example.com,N/A,\n",
			want: "read 3 inserted 3 updated 0 unchanged 0 rejected 0",
			rows: []string{`b@example.com||||{}`, `c@example.com||N/A||{}`, `||Ann||{}`},
		},
		{
			name: "ragged rows", file: "email,name,city\na@example.com\nb@example.com,B,Rome,,\nc@example.com,C,Rome,,x\n",
			want: "read 3 inserted 2 updated 0 unchanged 0 rejected 1",
			rows: []string{`a@example.com||||{}`, `b@example.com||B||{"city": "Rome"}`},
		},
		{
			name: "short rows rejected", o: Options{RejectShortRows: true}, file: "email,name\na@example.com\nb@example.com,B\n",
			want: "read 2 inserted 1 updated 0 unchanged 0 rejected 1", rows: []string{`b@example.com||B||{}`},
		},
		{
			name: "no header", o: Options{HeaderRow: tabular.NoHeader, Map: []string{"column 1=email", "column 2=metadata.who"}},
			file: "a@example.com,Ann\n", want: "read 1 inserted 1 updated 0 unchanged 0 rejected 0",
			rows: []string{`a@example.com||||{"who": "Ann"}`},
		},
		{name: "header only", file: "email,name\n", want: "read 0 inserted 0 updated 0 unchanged 0 rejected 0"},
		{
			name: "no two contacts alike without an address", file: "name,phone,city\n" + strings.Repeat("Ann,1,Rome\n", 2) +
				"Ann,1,Oslo\nAnn,,Rome\n",
			want: "read 4 inserted 3 updated 0 unchanged 0 rejected 0 repeated 1",
			rows: []string{`|1|Ann||{"city": "Oslo"}`, `|1|Ann||{"city": "Rome"}`, `||Ann||{"city": "Rome"}`},
		},
	}
	for _, tt := range tests {
		for path, directFrom := range paths {
			t.Run(tt.name+"/"+path, func(t *testing.T) {
				t.Parallel()
				conn, schema := crmtest.Tenant(t)
				o := tt.o
				o.Schema, o.directFrom = schema, directFrom
				r := importText(t, conn, tt.file, o)
				if tally(r) != tt.want || r.FastPath != (path == "direct") {
					t.Errorf("got %s, fast path %t, want %s", tally(r), r.FastPath, tt.want)
				}
				crmtest.SameLines(t, "contacts", sorted(contacts(t, conn, schema)), sorted(tt.rows))
				again := importText(t, conn, tt.file, o)
				if again.Inserted+again.Updated != 0 || again.Unchanged+again.Repeated+again.Rejected != again.Read {
					t.Errorf("the same again: %s", tally(again))
				}
				crmtest.SameLines(t, "contacts after the same again", sorted(contacts(t, conn, schema)), tt.rows)
			})
		}
	}
}

func TestCreatedAt(t *testing.T) {
	t.Parallel()
	for path, directFrom := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			file := "email,joined\na@example.com,2020-01-02\nb@example.com,\na@example.com,2021-01-01\nc@example.com,someday\n"
			r := importText(t, conn, file, Options{Schema: schema, directFrom: directFrom, Map: []string{"joined=created_at"}})
			if got, want := fmt.Sprint(tally(r), r.RejectedByCode),
				"read 4 inserted 2 updated 0 unchanged 0 rejected 1 repeated 1[{bad_created_at 1}]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			got := crmtest.List(t, conn, schema, "select email, created_at at time zone 'utc' = '2020-01-02', created_at "+
				"between now() - interval '1 hour' and now(), updated_at > now() - interval '1 hour' from contacts order by 1")
			crmtest.SameLines(t, "times", got, []string{"a@example.com|true|false|true", "b@example.com|false|true|true"})
		})
	}
}

func TestImportRefusesTables(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sql  []string
		want string
	}{
		"older version": {[]string{"alter table contacts drop column company"},
			"table tenant_acme.contacts has no column company"},
		"a type": {[]string{"alter table contacts alter column company type date using null"},
			"table tenant_acme.contacts has column company of type date instead of text"},
		"no key": {[]string{"drop index idx_contacts_email"},
			"table tenant_acme.contacts has no unique index on email"},
		"no table": {[]string{"drop table contacts cascade"},
			"table tenant_acme.contacts is not there"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, tt.sql...)
			_, err := Import(t.Context(), conn, strings.NewReader("email\na@example.com\n"), Options{Schema: schema})
			var tableErr *TableError
			if !errors.As(err, &tableErr) || tableErr.Error() != tt.want {
				t.Errorf("\n got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestAfterLoad(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	refuse := errors.New("no room in the audit")
	var told Result
	o := Options{Schema: schema, AfterLoad: func(ctx context.Context, q db.Querier, r Result) error {
		told = r
		if _, err := q.Exec(ctx, "insert into conversations (contact_id, channel) select id, 'email' from "+
			"contacts"); err != nil {
			return err
		}
		return refuse
	}}
	const file = "email\na@example.com\nb@example.com\nbad\n"
	o.RejectPath = filepath.Join(t.TempDir(), "r.csv")
	if _, err := Import(t.Context(), conn, strings.NewReader(file), o); !errors.Is(err, refuse) {
		t.Errorf("got %v, want %v", err, refuse)
	}
	if tally(told) != "read 3 inserted 2 updated 0 unchanged 0 rejected 1" {
		t.Errorf("told %s", tally(told))
	}
	if _, err := os.Stat(o.RejectPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a reject file of nothing: %v", err)
	}
	refuse = nil
	importText(t, conn, file, o)
	if got := crmtest.List(t, conn, schema, "select count(*) from conversations"); got[0] != "2" {
		t.Errorf("%s conversations, want 2", got[0])
	}
	told = Result{}
	o.DryRun = true
	importText(t, conn, file, o)
	if told.Read != 0 {
		t.Error("a dry run called AfterLoad")
	}
}

// watcher is an observer that checks that it is never called twice at once.
type watcher struct {
	mu     sync.Mutex
	plans  []Plan
	events []Progress
}

func (w *watcher) Planned(p Plan) {
	if !w.mu.TryLock() {
		panic("called twice at once")
	}
	defer w.mu.Unlock()
	w.plans = append(w.plans, p)
}

func (w *watcher) Progressed(p Progress) {
	if !w.mu.TryLock() {
		panic("called twice at once")
	}
	defer w.mu.Unlock()
	w.events = append(w.events, p)
}

func TestObserver(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	var w watcher
	r, err := Import(t.Context(), conn, &generated{rows: 30_000, repeats: 10, bad: 5},
		Options{Schema: schema, Observer: &w, FileName: "x.csv", directFrom: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.plans) != 1 || w.plans[0].FileName != "x.csv" || len(w.plans[0].Columns) != 8 ||
		w.plans[0].Format.Delimiter != ',' {
		t.Errorf("plans: %+v", w.plans)
	}
	// What is received before anything is loaded has a measure of its own, and is told of
	// only where it takes a while.
	loading := slices.DeleteFunc(slices.Clone(w.events), func(e Progress) bool { return e.Phase == PhaseReceive })
	if i := slices.IndexFunc(w.events, func(e Progress) bool { return e.Phase != PhaseReceive }); i != len(w.events)-len(loading) {
		t.Errorf("something is received after the loading has begun: %+v", w.events)
	}
	var phases []Phase
	for i, e := range loading {
		if i > 0 && (e.Bytes < loading[i-1].Bytes || e.Read < loading[i-1].Read || e.Elapsed < loading[i-1].Elapsed) {
			t.Errorf("event %+v after %+v", e, loading[i-1])
		}
		phases = append(phases, e.Phase)
	}
	if got, want := fmt.Sprint(slices.Compact(phases)), "[load index merge index]"; got != want {
		t.Errorf("phases %s, want %s", got, want)
	}
	last := w.events[len(w.events)-1]
	if last.Bytes != r.Bytes || last.Read != r.Read || last.Rejected != r.Rejected || r.Rejected != 30_000/1000*5 {
		t.Errorf("last event %+v, result %s", last, tally(r))
	}
	if limit := int(r.Duration/progressInterval) + 8; len(w.events) > limit {
		t.Errorf("%d events in %v", len(w.events), r.Duration)
	}
}

// An import waits for another run on the tenant, of whatever kind, as long as its
// LockTimeout says.
func TestImportWaitsForTheTenant(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	const id = "00000000-0000-7000-8000-000000000001"
	for _, sql := range []string{
		"create table public.tenants (id uuid primary key, schema_name text not null unique)",
		"insert into public.tenants values ('" + id + "', '" + schema.String() + "')",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	one := func(wait time.Duration) error {
		_, err := Import(t.Context(), conn, strings.NewReader("email\na@example.com\n"),
			Options{Schema: schema, Tenant: registry.Default().Row(id), LockTimeout: wait})
		return err
	}
	other := crmtest.Connect(t, connString(conn))
	err := db.InTx(t.Context(), other, db.Locals{Tenant: registry.Default().Row(id)},
		func(context.Context, db.Querier) error {
			if err := one(100 * time.Millisecond); !errors.Is(err, db.ErrBusy) ||
				!strings.Contains(err.Error(), fmt.Sprintf("pid %d (", other.PgConn().PID())) {
				t.Errorf("a short wait: %v", err)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	err = db.InTx(t.Context(), other, db.Locals{Tenant: registry.Default().Row(id)},
		func(ctx context.Context, q db.Querier) error {
			go func() { done <- one(time.Minute) }()
			for waiting := false; !waiting; time.Sleep(5 * time.Millisecond) {
				if err := q.QueryRow(ctx, "select exists (select from pg_locks where not granted and pid = $1)",
					conn.PgConn().PID()).Scan(&waiting); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("a long wait: %v", err)
	}
}

// Memory stays the same whatever the file's size. 200,000 rows would take some
// 60 MB if they were kept.
func TestImportMemory(t *testing.T) {
	conn, schema := crmtest.Tenant(t)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	observer := observerFunc(func() {
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
	})
	rows := 200_000
	if testing.Short() {
		rows = 20_000
	}
	r, err := Import(t.Context(), conn, &generated{rows: rows, repeats: 10, bad: 5},
		Options{Schema: schema, Observer: observer, RejectPath: filepath.Join(t.TempDir(), "r.csv")})
	if err != nil || r.Read != int64(rows) {
		t.Fatalf("%s, %v", tally(r), err)
	}
	// The filter's 32 MiB and the buffers; the collector lets as much again be
	// garbage.
	if grown := int64(most) - int64(before.HeapInuse); grown > 80<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type observerFunc func()

func (f observerFunc) Planned(Plan)        {}
func (f observerFunc) Progressed(Progress) { f() }

// JSON in Go and jsonb in PostgreSQL must agree about what was stored.
func TestMetadataSurvives(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	value := "tab\there \"quoted\" back\\slash \x01\x1f\x7f \u2028 é 漢字 \U0001F600 \uFFFD"
	importText(t, conn, "email,\"odd \"\"key\"\" \\ é\"\na@example.com,\""+strings.ReplaceAll(value, `"`, `""`)+"\"\n",
		Options{Schema: schema})
	var got map[string]string
	if err := json.Unmarshal([]byte(crmtest.List(t, conn, schema, "select metadata::text from contacts")[0]),
		&got); err != nil {
		t.Fatal(err)
	}
	if got[`odd "key" \ é`] != value {
		t.Errorf("got %q, want %q", got, value)
	}
}
