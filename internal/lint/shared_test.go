package lint_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/lint"
)

// TestSharedNames is about names that lead past a tenant's schema, where others stand
// behind it on the path.
func TestSharedNames(t *testing.T) {
	first := file("1_a.sql", "-- +goose Up\ncreate table users (id serial primary key);\n-- +goose Down\ndrop table "+
		"users;\n")
	last := file("3_c.sql", "-- +goose Up\ncreate table later (id int);\n-- +goose Down\ndrop table later;\n")
	for sql, want := range map[string]string{
		"insert into countries values (1);":                                                     "shared-name",
		"alter table if exists later add x int;":                                                "shared-name",
		"create view v as select * from later;":                                                 "shared-name",
		"alter table users add constraint fk foreign key (id) references later (id) not valid;": "shared-name",
		"create type m as enum ('a');\nalter table users rename to people;\ncreate view v as select * from " +
			"users;": "rename shared-name",

		"create view v as select * from users join countries using (id);":     "",
		"create view v as select * from app.things;":                          "",
		"alter sequence users_id_seq restart;\ncreate table x (n app.money);": "",
		"with c as (select 1) insert into users select * from c;":             "",
	} {
		down := "\n-- +goose Down\nselect 1;\n"
		files := []lint.File{first, file("2_b.sql", "-- +goose Up\n"+sql+down), last}
		if got := rules(check(t, lint.Options{Shared: []string{"public", "app"}, Since: 1}, files...)); got != want {
			t.Errorf("%s: got %q, want %q", sql, got, want)
		}
		for _, f := range check(t, lint.Options{Since: 1}, files...) {
			if f.Rule == "shared-name" {
				t.Errorf("%s: %s without shared schemas", sql, f.Message)
			}
		}
	}
	for _, sql := range []string{
		"create index by_id on users (id);\n-- +goose Down\ndrop index by_id;\n",
		"create unique index concurrently by_id on users (id);\n-- +goose Down\ndrop index concurrently if exists by_id;\n",
		"create index on users (id);\n-- +goose Down\ndrop index users_id_idx;\n",
		"alter index users_pkey rename to users_key;\n-- +goose Down\nalter index users_key rename to users_pkey;\n",
		"create table m (n int constraint one unique);\nalter index one rename to two;\n-- +goose Down\ndrop table m;\n",
	} {
		for _, f := range check(t, lint.Options{Shared: []string{"public"}, Since: 1}, first,
			file("2_b.sql", "-- +goose Up\n"+sql)) {
			if f.Rule == "shared-name" {
				t.Errorf("%s: %s", sql, f.Message)
			}
		}
	}
	for _, drop := range []string{"countries_idx", "countries_pkey", "by_id"} {
		if got := rules(check(t, lint.Options{Shared: []string{"public"}, Since: 1}, first,
			file("2_b.sql", up("drop index "+drop+";")))); got != "shared-name" {
			t.Errorf("drop index %s: got %q", drop, got)
		}
	}
	down := file("2_b.sql", "-- +goose Up\nselect 1;\n-- +goose Down\ndrop table if exists countries;\n")
	if got := rules(check(t, lint.Options{Shared: []string{"public"}, Since: 1}, first, down)); got != "shared-name" {
		t.Errorf("Down: got %q", got)
	}
}
