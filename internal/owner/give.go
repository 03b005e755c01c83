package owner

import (
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// giveSQL makes a role the owner of a schema and of all in it that is the session's, and
// the one whose later objects the default privileges are for. It is a block, since the server
// has no statement for the objects of one schema.
const giveSQL = `do $crmctl$
declare
	new_owner text := {owner};
	schema_name text := current_setting('crmctl.given');
	me oid;
	inherits bool;
	schema_oid oid;
	o record;
begin
	select r.oid into strict me from pg_roles r where r.rolname = current_user;
	select n.oid into strict schema_oid from pg_namespace n where n.nspname = schema_name::name;
	inherits := pg_has_role(new_owner::name, 'usage');
	if not inherits then
		execute format('grant usage, create on schema %I to %I', schema_name, new_owner);
	else
		execute format('alter schema %I owner to %I', schema_name, new_owner);
	end if;
	for o in
		select case i.type when 'statistics object' then 'statistics' when 'composite type' then 'type'
			else i.type end as kind,
			i.identity
		from pg_depend d cross join lateral pg_identify_object(d.classid, d.objid, 0) i
		where d.refclassid = 'pg_namespace'::regclass and d.refobjid = schema_oid and d.classid in (
				'pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_collation'::regclass,
				'pg_conversion'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass,
				'pg_statistic_ext'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass)
			and i.type not in ('index', 'toast table')
			and not exists (select from pg_depend e where e.classid = d.classid and e.objid = d.objid
				and (e.deptype = 'e' or e.deptype in ('a', 'i') and e.refclassid = 'pg_class'::regclass
					and d.classid = 'pg_class'::regclass and exists (
						select from pg_class c where c.oid = d.objid and c.relkind = 'S')))
			and not exists (select from pg_type t where d.classid = 'pg_type'::regclass and t.oid = d.objid and t.typtype = 'm')
			and me = case d.classid -- pg_shdepend does not know what the first superuser owns
				when 'pg_class'::regclass then (select x.relowner from pg_class x where x.oid = d.objid)
				when 'pg_proc'::regclass then (select x.proowner from pg_proc x where x.oid = d.objid)
				when 'pg_type'::regclass then (select x.typowner from pg_type x where x.oid = d.objid)
				when 'pg_collation'::regclass then (select x.collowner from pg_collation x where x.oid = d.objid)
				when 'pg_conversion'::regclass then (select x.conowner from pg_conversion x where x.oid = d.objid)
				when 'pg_operator'::regclass then (select x.oprowner from pg_operator x where x.oid = d.objid)
				when 'pg_opclass'::regclass then (select x.opcowner from pg_opclass x where x.oid = d.objid)
				when 'pg_opfamily'::regclass then (select x.opfowner from pg_opfamily x where x.oid = d.objid)
				when 'pg_statistic_ext'::regclass then (select x.stxowner from pg_statistic_ext x where x.oid = d.objid)
				when 'pg_ts_config'::regclass then (select x.cfgowner from pg_ts_config x where x.oid = d.objid)
				when 'pg_ts_dict'::regclass then (select x.dictowner from pg_ts_dict x where x.oid = d.objid)
			end
		order by i.identity
	loop
		execute format('alter %s %s owner to %I', o.kind, o.identity, new_owner);
	end loop;
	for o in
		select format('on %s', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
				else 'types' end) as kind,
			case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee,
			a.privilege_type as privilege, case when a.is_grantable then ' with grant option' else '' end as option
		from pg_default_acl d cross join aclexplode(d.defaclacl) a
		where d.defaclnamespace = schema_oid and d.defaclrole = me and a.grantee <> d.defaclrole
	loop
		execute format('alter default privileges in schema %I revoke %s %s from %s', schema_name, o.privilege, o.kind,
			o.grantee);
		perform set_config('role', new_owner, true);
		execute format('alter default privileges in schema %I grant %s %s to %s%s', schema_name, o.privilege, o.kind,
			o.grantee, o.option);
		reset role;
	end loop;
	if not inherits then
		execute format('alter schema %I owner to %I', schema_name, new_owner);
	end if;
end $crmctl$`

// QueueGive adds to a transaction that has made a schema, as the session's role, that all
// of it belongs to another role; "" adds nothing. What checks where the transaction stands
// comes before: the session's role need not see the schema any more.
func QueueGive(p *db.Pipeline, s db.Schema, role string) {
	if role == "" {
		return
	}
	p.Exec("set constraints all immediate") // a table with checks to come cannot be given
	p.Exec(`select pg_catalog.set_config('crmctl.kept_path', pg_catalog.current_setting('search_path'), true),
		pg_catalog.set_config('crmctl.given', $1::pg_catalog.text, true)`, s.String())
	p.OwnPath()
	p.Block("give schema "+s.Quoted()+" to role "+db.Quoted(role), strings.ReplaceAll(giveSQL, "{owner}",
		db.Literal(role)))
	p.Exec(`select pg_catalog.set_config('search_path', pg_catalog.current_setting('crmctl.kept_path'), true)`)
}
