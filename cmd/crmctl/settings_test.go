//go:build unix

package main

import (
	"crypto/rand"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// odd are settings that decide how values and names are written and read, and what
// queries find, each unlike its default.
var odd = map[string]string{
	"datestyle": "German", "intervalstyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-15",
	"timezone": "Asia/Kathmandu", "xmloption": "document", "array_nulls": "off", "quote_all_identifiers": "on",
	"standard_conforming_strings": "off", "backslash_quote": "off", "escape_string_warning": "off",
	"client_encoding":     "LATIN1",
	"client_min_messages": "debug1", "gin_fuzzy_search_limit": "1", "default_transaction_isolation": "serializable",
	"default_transaction_deferrable": "on", "plan_cache_mode": "force_generic_plan", "check_function_bodies": "off",
	"search_path": "nowhere", "transform_null_equals": "on", "lc_messages": "C", "synchronous_commit": "off",
	"default_toast_compression": "pglz", "constraint_exclusion": "on", "enable_hashjoin": "off",
}

// short are limits that end what takes its time. An idle session is only spared by being
// used again soon, which a loaded machine may not do.
var short = map[string]string{
	"statement_timeout": "400ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "150ms",
	"idle_session_timeout": "5s", "transaction_timeout": "400ms",
}

// everyKind are the commands of each kind, those that change something first.
func everyKind(backups string) [][]string {
	return [][]string{
		{"tenant", "create", "acme", "globex", "umbra"},
		{"tenant", "exec", "--all", "--write", "--yes", "-c", "insert into odd (id) select g from generate_series(1, 50) g",
			"-c", "select pg_sleep(0.5)"},
		{"migrate", "all-tenants", "--statement-timeout", "0"},
		{"migrate", "status", "--verify"},
		{"migrate", "drift"},
		{"migrate", "runs"},
		{"tenant", "pool", "fill", "--count", "1"},
		{"tenant", "clone", "acme", "acme-test"},
		{"backup", "create", "acme", "--registry", "--dir", backups},
		{"backup", "verify", filepath.Join(backups, "acme-*")},
		{"backup", "restore", filepath.Join(backups, "acme-*"), "--as", "again"},
		{"tenant", "suspend", "globex", "--yes"},
		{"tenant", "rename", "globex", "glob", "--schema"},
		{"tenant", "set", "glob", "seats=5"},
		{"tenant", "delete", "umbra", "--confirm", "umbra", "--retention", "0s"},
		{"tenant", "purge", "--backup-dir", backups, "--yes"},
		{"stats", "sizes"}, {"stats", "sizes", "--exact"}, {"stats", "load", "--interval", "1s"},
		{"stats", "top", "--interval", "1s", "--count", "1"},
		{"tenant", "history", "umbra"}, {"audit", "list"}, {"tenant", "show", "acme"}, {"tenant", "list", "-o", "json"},
		{"doctor"},
	}
}

// oddTable has a value of each type whose text a setting decides.
const oddTable = `create table odd (id integer primary key, at timestamp default '2026-02-03 04:05:06.789',
	zoned timestamptz default '2026-02-03 04:05:06+00',
	day date default date '2026-02-03', span interval default '-1 days +02:03:04',
		ratio double precision default 0.1::float8 + 0.2,
	small real default 1.1, raw bytea default '\x00ff5c', note xml default xmlparse(content '<a/><b/>'),
		tags text[] default array['a', null, 'NULL', 'b\c'],
	name text default 'über');
create view wide as select "select", o.id from (select 1 as "select") s, odd o where span < interval '1 day';
create function twice(n integer) returns integer language sql as 'select 2 * n';`

// TestSettingsOfOthers sets what a database, a role and the environment may have, and
// expects of every command what it does and says without.
func TestSettingsOfOthers(t *testing.T) {
	t.Parallel()
	plain := livesThrough(t, "plain", nil)
	for name, settings := range map[string]map[string]string{"odd": odd, "short": short} {
		for _, place := range []string{"database", "role", "options"} {
			t.Run(name+" "+place, func(t *testing.T) {
				t.Parallel()
				got := livesThrough(t, place, settings)
				for what, want := range plain {
					if got[what] != want {
						t.Errorf("%s: got\n%s\nwant\n%s", what, got[what], want)
					}
				}
			})
		}
	}
}

// livesThrough runs everyKind on a fleet with settings at a place, and returns what is
// left of the values.
func livesThrough(t *testing.T, place string, settings map[string]string) map[string]string {
	t.Helper()
	f := fleettest.New(t)
	admin := &fleettest.Fleet{DSN: f.DSN}
	admin.Exec(t, "revoke create on schema public from public") // doctor minds it, before PostgreSQL 15
	options := setAt(t, f, place, settings)
	dir := writeFiles(t, map[string]string{"00001_odd.sql": oddTable,
		"00002_more.sql": "alter table odd add column more text default E'it''s \\\\ x';"})
	env := []string{"PGOPTIONS=" + options, "CRMCTL_MIGRATIONS_DIR=" + dir}
	for _, args := range everyKind(filepath.Join(t.TempDir(), "backups")) {
		if args[0] == "migrate" && args[1] == "all-tenants" {
			if err := os.WriteFile(filepath.Join(dir, "00003_slow.sql"), []byte("-- +goose Up\nselect pg_sleep(0.5);\n"),
				0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i, arg := range args {
			if strings.HasSuffix(arg, "*") {
				args[i] = one(t, arg)
			}
		}
		cmd := program(t, f, args...)
		cmd.Env = append(cmd.Env, env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	left := map[string]string{}
	for _, schema := range []string{"tenant_acme", "tenant_acme_test", "tenant_again", "tenant_glob"} {
		var digest string
		admin.Scan(t, []any{&digest}, `select concat_ws(' ', count(*), (array_agg(concat_ws(' ', extract(epoch
			from at), extract(epoch from zoned), extract(epoch from day),
			extract(epoch from span), ratio = 0.1::float8 + 0.2, small = 1.1::real, encode(raw, 'hex'), note::text,
				tags[2] is null, tags[3], tags[4], name = U&'\00fcber', more)))[1])
			from `+schema+`.odd`)
		left[schema] = digest
	}
	cmd := program(t, f, "tenant", "exec", "acme", "-o", "json", "-c",
		"select at, day, span, ratio, small, raw, tags, name, to_regclass('odd') as rel from odd order by id limit 1")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.Output()
	if err != nil {
		t.Error(err)
	}
	left["exec"] = string(out)
	return left
}

// setAt sets the settings that the server knows, makes f's connections meet them, and
// returns what PGOPTIONS is to be.
func setAt(t *testing.T, f *fleettest.Fleet, place string, settings map[string]string) (options string) {
	t.Helper()
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	target := `database "` + database + `"`
	if place == "role" {
		role := "settings_" + strings.ToLower(rand.Text())
		admin := &fleettest.Fleet{DSN: f.DSN}
		admin.Exec(t, "create role "+role+" superuser login")
		t.Cleanup(func() { admin.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
		u, err := url.Parse(f.DSN)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.User(role)
		f.DSN, target = u.String(), "role "+role
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		switch {
		case f.Int(t, "select count(*) from pg_settings where lower(name) = '"+name+"'") == 0: // of a newer server
		case place == "options":
			options += " -c " + name + "=" + value
		default:
			f.Exec(t, "alter "+target+" set "+name+" = '"+value+"'")
		}
	}
	return options
}
