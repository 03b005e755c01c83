package shape

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// generation is part of every key, so that a release whose statements differ does
// not use those of another. It counts up with each such change.
const generation = "3"

// worthwhile is from how many migrations on a script is made.
const worthwhile = 10

// ReadKey returns the key of a history in this session. The error wraps
// registry.ErrOldRegistry where the registry could not keep a script.
func ReadKey(ctx context.Context, q db.Querier, reg registry.Registry, h History) (registry.ShapeKey, error) {
	type row struct {
		Ready       bool
		Major       int
		Owner       string
		Environment string
	}
	text := h.text()
	schemas, objects := names(text)
	found, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select pg_catalog.to_regclass($6) is not null and pg_catalog.to_regclass($7) is not null as ready,
			pg_catalog.current_setting('server_version_num')::integer / 10000 as major, current_user::text as owner,
			pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(E'\n', $1::text,
				pg_catalog.version(), $5::text,
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.rolname, d.defaclobjtype, d.defaclacl::text), E'\n'
					order by r.rolname, d.defaclobjtype)
				from pg_catalog.pg_default_acl d join pg_catalog.pg_roles r on r.oid = d.defaclrole where d.defaclnamespace = 0),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', e.extname, e.extversion,
					e.extnamespace::regnamespace::text), E'\n' order by e.extname)
				from pg_catalog.pg_extension e),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.evtname, t.evtevent, t.evtenabled, t.evttags::text,
					t.evtfoid::regprocedure::text), E'\n' order by t.evtname)
				from pg_catalog.pg_event_trigger t),
				(select pg_catalog.string_agg(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(' ',
					n.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes), f.prosrc, f.probin, f.proconfig::text), 'UTF8')),
						'hex'),
					'' order by n.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes))
				from pg_catalog.pg_proc f join pg_catalog.pg_namespace n on n.oid = f.pronamespace
				where n.nspname !~ '^(pg_|information_schema$|crmctl_)'
				  and not exists (select from `+reg.Tenants()+` t where t.schema_name = n.nspname)),
				(select pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.nsp, p.name, y.typtype, y.typbasetype::regtype::text,
					y.typtypmod, y.typnotnull,
					y.typdefault, (select pg_catalog.string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_catalog.pg_enum e
						where e.enumtypid = y.oid),
					(select pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ',' order by k.conname)
						from pg_catalog.pg_constraint k where k.contypid = y.oid)),
					E'\n' order by p.nsp, p.name)
				from unnest($3::text[], $4::text[]) p (nsp, name)
				join pg_catalog.pg_namespace n on n.nspname = p.nsp
				join pg_catalog.pg_type y on y.typname = p.name and y.typnamespace = n.oid),
				(select pg_catalog.string_agg(r.rolname, E'\n' order by r.rolname) from pg_catalog.pg_roles r
					where r.rolname = any ($2::text[])),
				(select pg_catalog.string_agg(o.setconfig::text, E'\n' order by o.setdatabase, o.setrole)
					from pg_catalog.pg_db_role_setting o
				where o.setdatabase in (0, (select d.oid from pg_catalog.pg_database d
					where d.datname = pg_catalog.current_database()))
				  and o.setrole in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user))),
				(select pg_catalog.string_agg(s.name || '=' || s.setting, E'\n' order by s.name) from pg_catalog.pg_settings s
				where s.name in ('bytea_output', 'datestyle', 'default_table_access_method', 'default_tablespace',
					'default_toast_compression', 'extra_float_digits', 'intervalstyle', 'lc_monetary', 'lc_numeric', 'lc_time',
					'default_text_search_config', 'session_replication_role', 'standard_conforming_strings', 'timezone',
					'transform_null_equals', 'xmlbinary', 'xmloption'))
			), 'UTF8')), 'hex') as environment`, generation, wordsOf(text), schemas, objects, h.Program,
		reg.Shapes(), reg.Pool())
	switch {
	case err != nil && db.SQLState(err) != db.CodeUndefinedTable:
		return registry.ShapeKey{}, fmt.Errorf("look at what migrations depend on: %w", err)
	case err != nil, !found[0].Ready:
		return registry.ShapeKey{}, registry.ErrOldRegistry
	}
	return registry.ShapeKey{Plan: h.Checksum, Major: found[0].Major, Owner: found[0].Owner,
		Environment: found[0].Environment}, nil
}

// Worthwhile reports whether a script is worth making: a short history is hardly longer
// than its end.
func (h History) Worthwhile() bool { return h.Length >= worthwhile }

// Get returns what is known of the end of a history. The first time it makes it, as
// Make does, and keeps it in the registry; a reason is asked for again after a day. Of a
// history that is not Worthwhile nothing is found out unless always is set. An error is
// no more than that it is not known this time.
func Get(ctx context.Context, conn *pgx.Conn, k registry.ShapeKey, h History, o catalog.Options,
	always bool) (*Final, error) {
	if !always && !h.Worthwhile() {
		return &Final{}, nil
	}
	kept, found, err := o.Registry.Shape(ctx, conn, k)
	if err != nil {
		return nil, err
	}
	if found && !kept.Stale {
		return finalOf(kept), nil
	}
	final, err := Make(ctx, conn, h, o)
	if err != nil {
		return nil, err
	}
	if err := o.Registry.KeepShape(ctx, conn, k, h.Version, keptOf(final)); err != nil {
		return nil, err
	}
	final.Known = found && kept.Reason == final.Reason
	return final, nil
}

func finalOf(kept registry.Shape) *Final {
	f := &Final{Fingerprint: kept.Fingerprint, Reason: kept.Reason, Fixed: kept.Fixed, Known: true}
	for _, sql := range kept.Script {
		f.Script = append(f.Script, db.Statement{SQL: sql})
	}
	return f
}

func keptOf(f *Final) registry.Shape {
	kept := registry.Shape{Fingerprint: f.Fingerprint, Reason: f.Reason, Fixed: f.Fixed}
	for _, s := range f.Script {
		kept.Script = append(kept.Script, s.SQL)
	}
	return kept
}
