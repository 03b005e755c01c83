package stats_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/stats"
)

// What is due is told by autovacuum's own rules, the settings of a table included.
func TestUpkeepGoesByAutovacuumsThresholds(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 20, "contacts")
	f.Exec(t, `do $$ begin for i in 1..20 loop
		execute format('alter table tenant_%s.contacts set (autovacuum_enabled = false)', i);
	end loop; end $$`,
		"alter table tenant_3.contacts set (autovacuum_vacuum_threshold = 5000)",
		"alter table tenant_4.contacts set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10)")
	// A session hands in its counts at its end: what analyze sets back comes in another.
	var filled, kept []string
	for _, n := range []string{"1", "2", "3", "4", "5"} {
		filled = append(filled, "insert into tenant_"+n+".contacts select i, 'x' from generate_series(1, 900) i")
		kept = append(kept, "vacuum analyze tenant_"+n+".contacts")
	}
	work(t, f, filled...)
	work(t, f, kept...)
	work(t, f,
		"delete from tenant_1.contacts where id <= 231",                                  // 50 + 20 % of 900 = 230
		"delete from tenant_2.contacts where id <= 141",                                  // 50 + 10 % for analyze = 140
		"delete from tenant_3.contacts where id <= 231",                                  // below its own threshold
		"delete from tenant_4.contacts where id <= 11",                                   // past its own
		"insert into tenant_5.contacts select i, 'x' from generate_series(1001, 2181) i", // 1000 + 20 % = 1180
		"insert into tenant_6.contacts values (1, 'x')")
	work(t, f, "analyze tenant_3.contacts", "analyze tenant_5.contacts (id)")
	conn := f.Connect(t)
	due, err := stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{Due: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range due {
		line := u.Slug
		for _, what := range []struct {
			is   bool
			name string
		}{{u.Vacuum, "vacuum"}, {u.Analyze, "analyze"}, {u.Freeze, "freeze"}} {
			if what.is {
				line += " " + what.name
			}
		}
		if !u.Off || !u.May || u.Age < 1 || u.LastVacuum == nil || u.LastAnalyze == nil {
			t.Errorf("not told well: %+v", u)
		}
		got = append(got, line)
	}
	// t5 has 2081 rows by now: 1000 and 20 % of these are more than the 1181 that were inserted.
	want := []string{"t1 vacuum analyze", "t2 analyze", "t4 vacuum", "t5 analyze"}
	if !slices.Equal(got, want) {
		t.Errorf("due: %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	all, err := stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{})
	if err != nil || len(all) != 20 || all[0].Slug != "t1" || all[0].Dead != 231 {
		t.Errorf("all: %d, %v", len(all), err)
	}
}

// A role sees which tables the server would pass by.
func TestUpkeepKnowsWhatARoleMay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Crowd(t, 3, "contacts")
	keeper := role(t, f, "keeper")
	f.Exec(t, "grant usage on schema public to "+keeper, "grant select on all tables in schema public to "+keeper,
		"alter table tenant_2.contacts owner to "+keeper)
	conn := f.Connect(t)
	if _, err := conn.Exec(t.Context(), "set session authorization "+keeper); err != nil {
		t.Fatal(err)
	}
	all, err := stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{})
	if err != nil || len(all) != 3 || all[0].May || !all[1].May || all[2].May {
		t.Errorf("%+v, %v", all, err)
	}
	if f.Int(t, "select current_setting('server_version_num')::int") < 170000 {
		return
	}
	f.Exec(t, "grant maintain on tenant_3.contacts to "+keeper)
	if all, err = stats.ReadUpkeep(t.Context(), conn, stats.UpkeepOptions{}); err != nil || !all[2].May {
		t.Errorf("with the right: %+v, %v", all, err)
	}
}
