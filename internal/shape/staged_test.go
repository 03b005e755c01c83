package shape_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/shape"
)

// TestStaged tells of histories of several transactions whether their schemas can be
// renamed, and leaves nothing of what it built.
func TestStaged(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": "create type st as enum ('a');", "2_b.sql": "alter type st add value 'b';",
		"3_c.sql": "create table t (s st default 'b');\ninsert into t default values;"}
	for _, fixed := range []bool{false, true} {
		if fixed {
			files["4_d.sql"] = "-- +goose StatementBegin\ndo $$ begin execute pg_catalog.format('comment on table t is %L', " +
				"pg_catalog.current_schema()); end $$;\n-- +goose StatementEnd"
		}
		script, err := fleettest.Plan(t, fleettest.Files(files)).Build()
		if err != nil {
			t.Fatal(err)
		}
		final, err := shape.Make(t.Context(), f.Connect(t), shape.History{Script: script}, catalog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if final.Script != nil || final.Reason == "" || (final.Fixed != "") != fixed {
			t.Errorf("names itself %t: %+v", fixed, final)
		}
	}
	if n := f.Int(t, `select (select count(*) from public.tenant_builds) + (select count(*) from pg_catalog.pg_namespace
		where nspname ~ '^crmctl_|_replay$')`); n != 0 {
		t.Errorf("%d things are left", n)
	}
}
