package lint_test

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/lint"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// noServer are rules for which no file alone is an example: those of another server
// (check_citus.go), and that of a setting (shared_test.go).
func noServer(r lint.Rule) bool { return r.Target != "" || r.Name == "shared-name" }

// history are the files of a tree, by name. Every one begins with a tenant at version 1.
type history map[string]string

func tree(files history) history {
	out := history{"1_before.sql": up(before)}
	maps.Copy(out, files)
	return out
}

func second(sql string) history { return tree(history{"2_x.sql": up(sql)}) }

func block(sql string) string {
	return "-- +goose StatementBegin\n" + sql + "\n-- +goose StatementEnd"
}

// refused has a tree for each rule whose findings are errors.
func refused() map[string]history {
	return map[string]history{
		"syntax":            second("alter table t ad column x int;"),
		"goose":             second("create function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend $$;"),
		"file-name":         tree(history{"00002-x.sql": up("select 1;")}),
		"duplicate-version": tree(history{"2_x.sql": up("select 1;"), "002_y.sql": up("select 2;")}),
		"changed-file":      {"1_before.sql": up(before + "\nselect 1;"), "2_x.sql": up("select 1;")},
		"other-schema":      second("create table public.x (id int);"),
		"cluster-object":    second("create role x;"),
		"extension":         second("alter extension plpgsql update;"),
		"search-path":       second("set search_path to x;"),
		"session-setting":   second("reset all;"),
		"pg-dump":           second("\\restrict abc"),
		"transaction":       second("commit;"),
		"catalog-guard": second(block("do $$ begin if not exists (select from pg_indexes where indexname = 'i') " +
			"then create index i on t (a); end if; end $$;")),
		"needs-no-transaction": second("create index concurrently i on t (a);"),
	}
}

// taken has a tree for each rule whose findings are warnings.
func taken() map[string]history {
	long := strings.Repeat("x", 64)
	return map[string]history{
		"empty-file":   tree(history{"2_x.sql": "-- +goose Up\n-- to do\n-- +goose Down\n"}),
		"missing-down": tree(history{"2_x.sql": "-- +goose Up\nselect 1;\n"}),
		"unchecked":    second("select " + strings.Repeat("1+", 300) + "1;"),
		"allow":        second("-- crmctl:allow nothing\nselect 1;"),
		"unused-allow": second("-- crmctl:allow truncate a cache\nselect 1;"),
		"schema-guard": second(block("do $$ begin if not exists (select from pg_indexes where schemaname = " +
			"'public' and indexname = 'i') then create index i on t (a); end if; end $$;")),
		"schema-name":      second("select count(*) from crm.y;"),
		"shared-object":    second("create table x (a crm.money);"),
		"temporary-object": second("create temp table x (a int);"),
		"setting-of-file":  tree(history{"2_x.sql": up("set local datestyle = 'ISO, DMY';"), "3_y.sql": up("select 1;")}),
		"enum-value": tree(history{"2_x.sql": up("create type mood as enum ('old');"),
			"3_y.sql": up("alter type mood add value 'new';"), "4_z.sql": up("select 'new'::mood;")}),
		"call-no-transaction": tree(history{"2_x.sql": up("create procedure p() language sql as 'select 1';"),
			"3_y.sql": noTx("call p();")}),
		"owner":               second("alter table t owner to current_user;"),
		"name-length":         second("alter table t add column " + long + " int;"),
		"derived-name-length": second("create table " + long[:60] + " (a int primary key);"),
		"unnamed-constraint":  second("create table x (a int check (a > 0));"),
		"one-statement": tree(history{"2_x.sql": noTx("create index concurrently i on t (a);\ncreate index " +
			"concurrently j on t (a);")}),
		"index-blocks":         second("create index i on t (a);"),
		"index-if-not-exists":  tree(history{"2_x.sql": noTx("create index concurrently if not exists i on t (a);")}),
		"not-null":             second("alter table t alter column a set not null;"),
		"type-change":          second("alter table t alter column a type bigint;"),
		"volatile-default":     second("alter table t add column x uuid default gen_random_uuid();"),
		"constraint-not-valid": second("alter table t add constraint c check (a > 0);"),
		"validate-same-file": second("alter table t add constraint c check (a > 0) not valid; alter table t validate " +
			"constraint c;"),
		"lock-table":   second("lock table t in share mode;"),
		"update-all":   second("alter table t add column x int; update t set x = 1;"),
		"drop-table":   second("drop table t;"),
		"drop-column":  second("alter table t drop column a;"),
		"truncate":     second("truncate t;"),
		"delete-all":   second("delete from t;"),
		"drop-cascade": second("drop table t cascade;"),
		"rename":       second("alter table t rename to u;"),
	}
}

// TestErrorsAreWhatARunRefuses: a run refuses a tree for each rule whose findings are errors,
// and takes one for each rule whose findings are warnings.
func TestErrorsAreWhatARunRefuses(t *testing.T) {
	f := fleettest.New(t)
	f.Exec(t, "create schema crm", "create table crm.y (id int)", "create domain crm.money as numeric")
	start := fleettest.Plan(t, fleettest.Files(map[string]string{"1_before.sql": up(before)}))
	refused, taken := refused(), taken()
	for _, r := range lint.Rules() {
		if noServer(r) {
			continue
		}
		files := taken[r.Name]
		if r.Severity == lint.Error {
			files = refused[r.Name]
		}
		if files == nil {
			t.Errorf("%s, %s: no tree shows it", r.Severity, r.Name)
			continue
		}
		opts := lint.Options{Applied: map[int64]string{1: start.Migrations[0].Checksum}}
		if says := worst(t, opts, files, r.Name); says != r.Severity {
			t.Errorf("%s: lint says %q of its tree", r.Name, says)
		}
		tenants := f.Create(t, start, strings.ReplaceAll("is_"+r.Name, "-", "_"))
		f.Exec(t, "truncate public.migration_files",
			"insert into public.migration_files (version, file, checksum) values (1, '1_before.sql', '"+
				start.Migrations[0].Checksum+"')")
		if err := run(t, f, tenants, fleettest.Files(files)); (err != nil) != (r.Severity == lint.Error) {
			t.Errorf("%s %s: a run says %v", r.Severity, r.Name, err)
		}
	}
}

// worst returns the severity of what is found in files: of a rule's own findings, unless
// others are errors.
func worst(t *testing.T, opts lint.Options, files history, rule string) (says lint.Severity) {
	t.Helper()
	var list []lint.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		one := file(name, files[name])
		if plan, err := migrate.Compile(t.Context(), fleettest.Files(map[string]string{name: files[name]})); err == nil {
			one.Checksum = plan.Migrations[0].Checksum
		}
		list = append(list, one)
	}
	for _, found := range check(t, opts, list...) {
		if found.Rule == rule || found.Severity == lint.Error {
			says = found.Severity
		}
		if found.Severity == lint.Error && found.Rule != rule {
			t.Errorf("%s: its tree has the error %s too", rule, found.Rule)
		}
	}
	return says
}

// run takes tenants to the end of the files.
func run(t *testing.T, f *fleettest.Fleet, tenants []registry.Tenant, files fs.FS) error {
	t.Helper()
	plan, err := migrate.Compile(t.Context(), files)
	if err != nil {
		return err
	}
	report, err := plan.Run(t.Context(), f.Connect(t), f.Dial, tenants, migrate.RunOptions{Actor: "test"})
	if err != nil {
		return err
	}
	return report.Outcomes[0].Err
}
