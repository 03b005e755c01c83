package lint_test

import (
	"maps"
	"testing"
	"testing/fstest"

	"github.com/crmctl/crmctl/internal/lint"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/sqltext"
	"github.com/crmctl/crmctl/internal/sqltext/sqltexttest"
)

// What a run refuses is an error of lint under the same rule, in Up and in Down, and what
// it takes breaks none of these rules.
func TestLintAndARunAgree(t *testing.T) {
	commands := map[string]sqltext.Rule{}
	maps.Copy(commands, sqltexttest.Refused)
	for _, sql := range sqltexttest.Taken {
		commands[sql] = ""
	}
	enforced := map[string]bool{}
	for _, r := range lint.Rules() {
		enforced[r.Name] = r.Enforced
	}
	wrap := func(sql string) string { return "-- +goose StatementBegin\n" + sql + ";\n-- +goose StatementEnd\n" }
	for sql, want := range commands {
		for name, text := range map[string]string{
			"up":             "-- +goose Up\n" + wrap(sql),
			"down":           "-- +goose Up\nselect 1;\n-- +goose Down\n" + wrap(sql),
			"no transaction": "-- +goose NO TRANSACTION\n-- +goose Up\n" + wrap(sql),
		} {
			_, err := migrate.Compile(t.Context(), fstest.MapFS{"1_x.sql": {Data: []byte(text)}})
			said := ""
			for _, f := range check(t, lint.Options{}, file("1_x.sql", text)) {
				if enforced[f.Rule] {
					said = f.Rule
				}
			}
			if (err != nil) != (said != "") {
				t.Errorf("%s, %s: a run says %v, lint says %q", sql, name, err, said)
			}
			if name == "up" && said != string(want) {
				t.Errorf("%s: lint says %q, want %q", sql, said, want)
			}
		}
	}
}

// What a run refuses by the names of files, lint refuses in the same words.
func TestLintAndARunAgreeAboutNames(t *testing.T) {
	for _, name := range []string{"00001-init.sql", "init.sql", "00000_zero.sql", "-5_x.sql", "9223372036854775808_x.sql",
		"2_x.SQL", "2_go.go", "001_twice.sql", "+2_x.sql", "2_.sql", "2_x.sql", "2_x_test.go"} {
		files := fstest.MapFS{"1_a.sql": {Data: []byte(up("select 1;"))}, name: {Data: []byte(up("select 2;"))}}
		_, err := migrate.Compile(t.Context(), files)
		message := ""
		for _, f := range check(t, lint.Options{}, file("1_a.sql", up("select 1;")), file(name, up("select 2;"))) {
			if f.Severity == lint.Error && f.Rule != "goose" {
				message = f.Message
			}
		}
		if name == "2_x_test.go" { // no migration for either; who lists files leaves it out
			message = ""
		}
		if (err != nil) != (message != "") || err != nil && message != err.Error() {
			t.Errorf("%s: a run says %v, lint says %q", name, err, message)
		}
	}
}

// A comment lifts a guard for lint where it lifts it for a run.
func TestLintAndARunAgreeAboutAllow(t *testing.T) {
	const guard = "insert into t select 1 where exists (select from pg_tables where tablename = 'x');"
	for text, lifted := range map[string]bool{
		up(guard): false,
		up("-- crmctl:allow catalog-guard we count\n" +
			guard): true,
		up("-- crmctl:allow catalog-guard\n" + guard):     false,
		up("-- crmctl:allow truncate we count\n" + guard): false,
		up("select 1;\n-- crmctl:allow catalog-guard we count\n" + guard + "\n" +
			guard): false,
		up("select 1;\n-- crmctl:allow catalog-guard we count\n\n-- more\n" +
			guard): true,
		up("select 1;\n" + guard + " -- crmctl:allow catalog-guard we count"): true,
		up("select 1;\ninsert into t select 1\n-- crmctl:allow catalog-guard we count\nwhere exists (select from " +
			"pg_tables);"): true,
		"-- crmctl:allow catalog-guard all of them count\n" + up("select 1;\n"+guard+"\n"+
			guard): true,
		up("select '-- crmctl:allow catalog-guard no comment';\n" +
			guard): false,
		up("select 1;\n-- +goose StatementBegin\n-- crmctl:allow catalog-guard we count\n" + guard +
			"\n-- +goose StatementEnd"): true,
	} {
		_, err := migrate.Compile(t.Context(), fstest.MapFS{"1_x.sql": {Data: []byte(text)}})
		said := rules(check(t, lint.Options{}, file("1_x.sql", text)))
		if (err == nil) != lifted {
			t.Errorf("%q: a run says %v, want lifted %t", text, err, lifted)
		}
		if lifted != (said == "") {
			t.Errorf("%q: lint says %q, want lifted %t", text, said, lifted)
		}
	}
}
