package migrate_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// preamble is how pg_dump begins, but for the path, and what may stand beside it.
const preamble = `SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
set time zone 'Asia/Tokyo';
SET SESSION app.tenant TO 'x';
`

// settingsEnd fails where a setting of the preamble is still in force, or where one of the
// run's own is not back.
const settingsEnd = `do $$ begin
	if pg_catalog.current_setting('check_function_bodies') <> 'on' or pg_catalog.current_setting('client_min_messages') <> 'notice'
	or pg_catalog.current_setting('timezone') = 'Asia/Tokyo' or pg_catalog.current_setting('app.tenant', true) <> '' then
		raise exception 'a setting is still in force';
	end if;
	if pg_catalog.current_setting('lock_timeout') <> '1234ms' then raise exception 'lock_timeout is %', pg_catalog.current_setting('lock_timeout'); end if;
	if pg_catalog.current_setting('statement_timeout') <> '54321ms' then raise exception 'statement_timeout is %', pg_catalog.current_setting('statement_timeout'); end if;
end $$;`

// TestPlainSettingsEndWithTheirFile runs files that begin as pg_dump writes them: what
// they set holds in them, and neither in the next file nor in the next tenant, on one
// session and behind a pooler.
func TestPlainSettingsEndWithTheirFile(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	files := map[string]string{"1_a.sql": "create table t (id int, at timestamptz);"}
	old := fleettest.Plan(t, fleettest.Files(files))
	tenants := f.Create(t, old, fleettest.Names(6)...)
	block := func(sql string) string { return "-- +goose StatementBegin\n" + sql + "\n-- +goose StatementEnd\n" }
	files["2_b.sql"] = block(settingsEnd) + preamble +
		"insert into t (id, at) values (1, '2024-01-01 09:00');\nreset time zone;\ninsert into t (id, at) values (2, " +
		"'2024-01-01 00:00');"
	files["3_c.sql"] = block(settingsEnd) + "insert into t (id, at) values (3, '2024-01-01 00:00');"
	plan := fleettest.Plan(t, fleettest.Files(files))
	if plan.Session() {
		t.Error("a connection of its own for each tenant is asked for")
	}
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	one := migrate.RunOptions{
		Fleet: fleet.Options{Concurrency: 1}, LockTimeout: 1234 * time.Millisecond,
		StatementTimeout: 54321 * time.Millisecond,
	}
	outcomes := run(t, f, plan, tenants[:3], one).Outcomes
	outcomes = append(outcomes, run(t, pooled, plan, tenants[3:], one).Outcomes...)
	for i, out := range outcomes {
		if out.State != migrate.Migrated {
			t.Errorf("%s: %s: %v", out.Tenant.Slug, out.State, out.Err)
			continue
		}
		// 9 in Tokyo is 0 in UTC, which the test's server has.
		if n := f.Int(t, "select count(*) from "+tenants[i].Schema.Quoted()+".t where at = '2024-01-01 00:00Z'"); n != 3 {
			t.Errorf("%s: %d of 3 rows are right", out.Tenant.Slug, n)
		}
	}
}

// TestSettingsInTheBuildOfATenant makes tenants of histories with settings, in files with
// and without a transaction: none reaches the files after it.
func TestSettingsInTheBuildOfATenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	const still = "do $$ begin if pg_catalog.current_setting('timezone') = 'Asia/Tokyo' then raise exception 'still " +
		"set'; end if; end $$;"
	files := map[string]string{
		"1_a.sql": preamble + "create table t (id int, at timestamptz);",
		"2_b.sql": "-- +goose StatementBegin\n" + still + "\n-- +goose StatementEnd\n",
		"3_c.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nset timezone = 'Asia/Tokyo';\ncreate index concurrently t_id " +
			"on t (id);",
		"4_d.sql": "-- +goose StatementBegin\n" + still + "\n-- +goose StatementEnd\n",
	}
	plan := fleettest.Plan(t, fleettest.Files(files))
	f.Create(t, plan, "acme", "bolt")
	if n := f.Int(t, "select count(*) from pg_indexes where indexname = 't_id'"); n != 2 {
		t.Errorf("%d indexes", n)
	}
}
