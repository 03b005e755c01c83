package migrate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// seen is a table of what settings a file saw.
const seen = "create table seen (what text, zone text default current_setting('timezone'), wait text default " +
	"current_setting('lock_timeout'), " +
	"run text default current_setting('statement_timeout'));"

// sight has a statement of a file tell what it sees.
func sight(what string) string { return "insert into seen values ('" + what + "');\n" }

// checkSeen compares what a tenant's files have seen of a setting.
func checkSeen(t *testing.T, f *fleettest.Fleet, schema, column string, want map[string]string) {
	t.Helper()
	for what, value := range want {
		var got string
		f.Scan(t, []any{&got}, "select string_agg(distinct "+column+", ',') from "+schema+".seen where what = $1", what)
		if got != value {
			t.Errorf("%s: %s of %s is %q, want %q", schema, column, what, got, value)
		}
	}
}

// TestSettingsEndWithTheirFile has a file without a transaction set something for
// itself, for tenants of a run and for new ones.
func TestSettingsEndWithTheirFile(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]string{
		"set":   "set timezone = 'Asia/Tokyo';\n",
		"block": "-- +goose StatementBegin\ndo $$ begin set timezone = 'Asia/Tokyo'; end $$;\n-- +goose StatementEnd\n",
		"call":  "create procedure p() language plpgsql as 'begin commit; end';\ncall p();\nset timezone = 'Asia/Tokyo';\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			f.Exec(t, "do $$ begin execute format('alter database %I set timezone to ''Europe/Paris''', current_database()); "+
				"end $$")
			old, plan := plans(t, map[string]string{
				"1_a.sql": seen, "2_b.sql": noTx + sight("before") + set + sight("within"),
				"3_c.sql": noTx + sight("after"), "4_d.sql": sight("later"),
			})
			want := map[string]string{"before": "Europe/Paris", "within": "Asia/Tokyo", "after": "Europe/Paris",
				"later": "Europe/Paris"}
			report := run(t, f, plan, f.Create(t, old, "acme"), migrate.RunOptions{})
			if report.Count(migrate.Migrated) != 1 {
				t.Fatalf("outcome %+v", report.Outcomes[0])
			}
			f.Create(t, plan, "fresh")
			checkSeen(t, f, "tenant_acme", "zone", want)
			checkSeen(t, f, "tenant_fresh", "zone", want)
		})
	}
}

// TestFileSetsItsOwnLimits: ours hold until the file sets its own, and again when it
// gives them up.
func TestFileSetsItsOwnLimits(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": seen, "2_b.sql": noTx + sight("ours") + "set lock_timeout = '7s';\nset statement_timeout = '50min';\n" +
			sight("own") +
			"create index concurrently i on seen (what);\n" + sight("still") +
			"reset lock_timeout;\nset statement_timeout to default;\n" + sight("back"),
		"3_c.sql": noTx + "select set_config('lock_timeout', '9s', false);\n" + sight("by call"), "4_d.sql": noTx +
			sight("next"),
	})
	report := run(t, f, plan, f.Create(t, old, "acme"), migrate.RunOptions{LockTimeout: 3 * time.Second,
		StatementTimeout: time.Hour})
	if report.Count(migrate.Migrated) != 1 {
		t.Fatalf("outcome %+v", report.Outcomes[0])
	}
	checkSeen(t, f, "tenant_acme", "wait", map[string]string{"ours": "3s", "own": "7s", "still": "7s", "back": "3s",
		"by call": "9s", "next": "3s"})
	checkSeen(t, f, "tenant_acme", "run", map[string]string{"ours": "1h", "own": "50min", "still": "50min", "back": "1h",
		"next": "1h"})
}

// TestResumedFileHasItsSettings fails in the middle of a file: what the statements
// before have set is there for those after it, in the session that goes on.
func TestResumedFileHasItsSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  string
		uses string
		lost string // what cannot be had again
	}{
		"set": {set: "set timezone = 'Asia/Tokyo';\nset lock_timeout = '7s';"},
		"prepared": {set: "set timezone = 'Asia/Tokyo';\nprepare p as select 1;\nset lock_timeout = '7s';",
			uses: "execute p;"},
		"call": {set: "select set_config('timezone', 'Asia/Tokyo', false), set_config('lock_timeout', '7s', " +
			"false);"},
		"temporary": {set: "create temp table s as select 1;", uses: "insert into seen (what) select 's' from s;",
			lost: "a temporary object"},
		"temporary unused": {set: "set timezone = 'Asia/Tokyo';\ncreate temp table s as select 1;\nset lock_timeout = '7s';"},
		"block": {set: "-- +goose StatementBegin\ndo $$ begin set timezone = 'Asia/Tokyo'; end $$;\n-- +goose " +
			"StatementEnd", lost: "a setting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			old, plan := plans(t, map[string]string{
				"1_a.sql": seen + "\ncreate table gate (x int);",
				"2_b.sql": noTx + c.set + "\nselect 1 / (select count(*) from gate);\n" + c.uses + "\n" + sight("rest"),
			})
			tenants := f.Create(t, old, "acme")
			out := run(t, f, plan, tenants, migrate.RunOptions{LockTimeout: 3 * time.Second}).Outcomes[0]
			if db.SQLState(out.Err) != db.CodeDivisionByZero {
				t.Fatalf("outcome %+v", out)
			}
			f.Exec(t, "insert into tenant_acme.gate values (1)")
			out = run(t, f, plan, tenants, migrate.RunOptions{LockTimeout: 3 * time.Second}).Outcomes[0]
			if c.lost != "" {
				err, ok := errors.AsType[*migrate.LostSessionError](out.Err)
				if !ok || err.Left != c.lost || err.Statement.Line == 0 {
					t.Errorf("outcome %+v", out)
				}
				if n := f.Int(t, "select count(*) from tenant_acme.seen"); n != 0 {
					t.Errorf("the rest of the file ran (%d)", n)
				}
				return
			}
			if out.State != migrate.Migrated {
				t.Fatalf("outcome %+v", out)
			}
			checkSeen(t, f, "tenant_acme", "zone", map[string]string{"rest": "Asia/Tokyo"})
			checkSeen(t, f, "tenant_acme", "wait", map[string]string{"rest": "7s"})
		})
	}
}
