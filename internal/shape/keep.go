package shape

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
)

// generation is part of every key, so that a release whose statements differ does
// not use those of another. It counts up with each such change.
const generation = "3"

// worthwhile is from how many migrations on a script is made.
const worthwhile = 10

// Key says what a script was made from and for. Where any of it changes, the same
// migrations may make another schema.
type Key struct {
	Plan  string // History.Checksum
	Major int    // of the server
	Owner string // the role that runs the migrations
	// Environment is SHA-256, in hexadecimal, over what else of the database and the
	// session migrations depend on: default privileges, extensions, event triggers,
	// functions that no tenant has, types and roles that the migrations name,
	// settings, the server's full version (what stands in a catalog may change in a
	// minor release) and this program's.
	Environment string
}

// String returns a digest of the key, 64 hexadecimal digits: what is not of the same
// key has another.
func (k Key) String() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q", k.Plan, k.Major, k.Owner, k.Environment))
	return hex.EncodeToString(sum[:])
}

// ErrOldRegistry says that the registry has no tables for scripts and the pool.
var ErrOldRegistry = errors.New("the registry has no tables for final shapes and the pool yet")

// ReadKey returns the key of a history in this session. The error wraps
// ErrOldRegistry where the registry could not keep a script.
func ReadKey(ctx context.Context, q db.Querier, h History) (Key, error) {
	type row struct {
		Ready       bool
		Major       int
		Owner       string
		Environment string
	}
	text := h.text()
	schemas, objects := names(text)
	found, err := db.Select(ctx, q, pgx.RowToStructByPos[row], `
		select pg_catalog.to_regclass('public.tenant_shapes') is not null and pg_catalog.to_regclass('public.tenant_pool') is not null,
			pg_catalog.current_setting('server_version_num')::integer / 10000, current_user::text,
			pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(E'\n', $1::text, pg_catalog.version(), $5::text,
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.rolname, d.defaclobjtype, d.defaclacl::text), E'\n' order by r.rolname, d.defaclobjtype)
				from pg_catalog.pg_default_acl d join pg_catalog.pg_roles r on r.oid = d.defaclrole where d.defaclnamespace = 0),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', e.extname, e.extversion, e.extnamespace::regnamespace::text), E'\n' order by e.extname)
				from pg_catalog.pg_extension e),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.evtname, t.evtevent, t.evtenabled, t.evttags::text, t.evtfoid::regprocedure::text), E'\n' order by t.evtname)
				from pg_catalog.pg_event_trigger t),
				(select pg_catalog.string_agg(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(' ',
					n.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes), f.prosrc, f.probin, f.proconfig::text), 'UTF8')), 'hex'),
					'' order by n.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes))
				from pg_catalog.pg_proc f join pg_catalog.pg_namespace n on n.oid = f.pronamespace
				where n.nspname !~ '^(pg_|information_schema$|crmctl_)'
				  and not exists (select from public.tenants t where t.schema_name = n.nspname)),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.nsp, p.name, y.typtype, y.typbasetype::regtype::text, y.typtypmod, y.typnotnull,
					y.typdefault, (select pg_catalog.string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = y.oid),
					(select pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ',' order by k.conname) from pg_catalog.pg_constraint k where k.contypid = y.oid)),
					E'\n' order by p.nsp, p.name)
				from unnest($3::text[], $4::text[]) p (nsp, name)
				join pg_catalog.pg_namespace n on n.nspname = p.nsp
				join pg_catalog.pg_type y on y.typname = p.name and y.typnamespace = n.oid),
				(select pg_catalog.string_agg(r.rolname, E'\n' order by r.rolname) from pg_catalog.pg_roles r where r.rolname = any ($2::text[])),
				(select pg_catalog.string_agg(o.setconfig::text, E'\n' order by o.setdatabase, o.setrole) from pg_catalog.pg_db_role_setting o
				where o.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))
				  and o.setrole in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user))),
				(select pg_catalog.string_agg(s.name || '=' || s.setting, E'\n' order by s.name) from pg_catalog.pg_settings s
				where s.name in ('bytea_output', 'datestyle', 'default_table_access_method', 'default_tablespace',
					'default_toast_compression', 'extra_float_digits', 'intervalstyle', 'lc_monetary', 'lc_numeric', 'lc_time',
					'default_text_search_config', 'session_replication_role', 'standard_conforming_strings', 'timezone',
					'transform_null_equals', 'xmlbinary', 'xmloption'))
			), 'UTF8')), 'hex')`, generation, wordsOf(text), schemas, objects, h.Program)
	switch {
	case err != nil && db.SQLState(err) != db.CodeUndefinedTable:
		return Key{}, fmt.Errorf("look at what migrations depend on: %w", err)
	case err != nil, !found[0].Ready:
		return Key{}, ErrOldRegistry
	}
	return Key{Plan: h.Checksum, Major: found[0].Major, Owner: found[0].Owner, Environment: found[0].Environment}, nil
}

// Worthwhile tells whether a script is worth making: a short history is hardly longer
// than its end.
func (h History) Worthwhile() bool { return h.Length >= worthwhile }

// Get returns what is known of the end of a history. The first time it makes it, as
// Make does, and keeps it in the registry; a reason is asked for again after a day. Of a
// history that is not Worthwhile nothing is found out unless always is set. An error is
// no more than that it is not known this time.
func Get(ctx context.Context, conn *pgx.Conn, k Key, h History, o catalog.Options, always bool) (*Final, error) {
	if !always && !h.Worthwhile() {
		return &Final{}, nil
	}
	kept, err := db.Select(ctx, conn, scanFinal, `
		select script, coalesce(fingerprint, ''), coalesce(reason, ''), coalesce(fixed, '')
		from public.tenant_shapes
		where plan_checksum = $1 and server_major = $2 and owner = $3 and environment = $4
		  and (script is not null or made_at > pg_catalog.now() - interval '1 day')`, k.Plan, k.Major, k.Owner, k.Environment)
	if err != nil {
		return nil, fmt.Errorf("look for the final shape of the migrations: %w", err)
	}
	if len(kept) > 0 {
		return kept[0], nil
	}
	final, err := Make(ctx, conn, h, o)
	if err != nil {
		return nil, err
	}
	if err := keep(ctx, conn, k, h, final); err != nil {
		return nil, err
	}
	return final, nil
}

func scanFinal(row pgx.CollectableRow) (*Final, error) {
	var (
		f      Final
		script []string
	)
	if err := row.Scan(&script, &f.Fingerprint, &f.Reason, &f.Fixed); err != nil {
		return nil, err
	}
	for _, sql := range script {
		f.Script = append(f.Script, db.Statement{SQL: sql})
	}
	return &f, nil
}

// keep remembers a result, and forgets the oldest of the same owner and server. A
// script that is still asked for and forgotten is made again.
func keep(ctx context.Context, conn *pgx.Conn, k Key, h History, f *Final) error {
	var script []string
	for _, s := range f.Script {
		script = append(script, s.SQL)
	}
	err := db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		p.Exec(`insert into public.tenant_shapes
				(plan_checksum, server_major, owner, environment, version, script, fingerprint, reason, fixed)
			values ($1, $2, $3, $4, $5, $6, nullif($7, ''), nullif($8, ''), nullif($9, ''))
			on conflict (plan_checksum, server_major, owner, environment) do update
			set script = excluded.script, fingerprint = excluded.fingerprint, reason = excluded.reason, fixed = excluded.fixed, made_at = pg_catalog.now()`,
			k.Plan, k.Major, k.Owner, k.Environment, h.Version, script, f.Fingerprint, f.Reason, f.Fixed)
		p.Exec(`delete from public.tenant_shapes where (plan_checksum, server_major, owner, environment) in (
				select plan_checksum, server_major, owner, environment from public.tenant_shapes
				where server_major = $1 and owner = $2
				order by made_at desc, plan_checksum offset 50)`, k.Major, k.Owner)
		return p.Run(ctx, q)
	})
	if err != nil {
		return fmt.Errorf("keep the final shape of the migrations: %w", err)
	}
	return nil
}
