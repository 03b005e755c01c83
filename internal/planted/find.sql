-- $1 are the names of schemas, $2 those of the roles that are trusted besides.
--
-- "offset 0" has something looked up for each row. The planner takes what recursion finds
-- for billions of rows, and would put these into a hash table, in a hundred thousand
-- files, or read catalogs whole, which grow with the fleet.
with recursive {me}, wanted as materialized (
    select n.oid as nsp, n.nspname::text as schema from pg_namespace n where n.nspname = any ($1::text[]::name[])
), member as materialized (
    select w.nsp, d.classid, d.objid from wanted w
    join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = w.nsp
), relation (nsp, oid) as (
    -- The tables of the schema, with those below them and those that refer to them.
    select m.nsp, m.objid from member m where m.classid = 'pg_class'::regclass
    union
    select r.nsp, x.oid from relation r cross join lateral (
        select i.inhrelid as oid from pg_inherits i where i.inhparent = r.oid
        union all
        select k.conrelid from pg_depend d join pg_constraint k on k.oid = d.objid
        where d.refclassid = 'pg_class'::regclass and d.refobjid = r.oid and d.classid = 'pg_constraint'::regclass
          and k.contype = 'f' and k.confrelid = r.oid
    ) x
), touched (nsp, oid) as (
    -- And those that they refer to: a foreign key asks there as the owner of that
    -- table, and what runs then may leave something for the end of the transaction.
    select r.nsp, r.oid from relation r
    union
    select r.nsp, k.confrelid from relation r join pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
), rel as materialized (
    select r.nsp, c.oid, c.relkind, c.relnamespace, c.relowner as owner, c.reltype, {untrusted c.relowner} as foreign_owner
    from touched r join pg_class c on c.oid = r.oid
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
), written (nsp, rel, kind, name, owner, foreign_owner, classid, objid, tree) as materialized (
    select r.nsp, r.oid, case when a.attgenerated <> '' then 'generated column' else 'default' end, a.attname::text, r.owner, r.foreign_owner,
        -- Until PostgreSQL 14 what a generated column calls is noted at the table.
        case when x.early then 'pg_class'::regclass::oid else 'pg_attrdef'::regclass::oid end, case when x.early then r.oid else f.oid end,
        case when r.foreign_owner then f.adbin::text end
    from rel r join pg_attrdef f on f.adrelid = r.oid join pg_attribute a on a.attrelid = r.oid and a.attnum = f.adnum
        cross join lateral (select a.attgenerated <> '' and current_setting('server_version_num')::int < 150000 as early) x
    union all
    select r.nsp, r.oid, 'check', k.conname::text, r.owner, r.foreign_owner,
        'pg_constraint'::regclass::oid, k.oid, case when r.foreign_owner then k.conbin::text end
    from rel r cross join lateral (select * from pg_constraint k where k.conrelid = r.oid and k.contype = 'c' offset 0) k
    union all
    select r.nsp, r.oid, 'index', c.relname::text, r.owner, r.foreign_owner, 'pg_class'::regclass::oid, i.indexrelid,
        case when r.foreign_owner then concat(i.indexprs::text, i.indpred::text) end
    from rel r join pg_index i on i.indrelid = r.oid join pg_class c on c.oid = i.indexrelid
    where i.indexprs is not null or i.indpred is not null or exists (select from unnest(i.indclass::oid[]) o where o >= 16384)
    union all
    select r.nsp, r.oid, case when w.ev_type <> '1' then 'rule' when r.relkind = 'm' then 'materialized view' else 'view' end, w.rulename::text,
        r.owner, r.foreign_owner and r.relkind <> 'm', 'pg_rewrite'::regclass::oid, w.oid,
        case when r.foreign_owner and r.relkind <> 'm' then concat(w.ev_qual::text, w.ev_action::text) end
    from rel r join pg_rewrite w on w.ev_class = r.oid where w.ev_enabled <> 'D' or w.ev_type = '1'
    union all
    select r.nsp, r.oid, 'policy', p.polname::text, r.owner, r.foreign_owner, 'pg_policy'::regclass::oid, p.oid,
        case when r.foreign_owner then concat(p.polqual::text, p.polwithcheck::text) end
    from rel r join pg_policy p on p.polrelid = r.oid
    union all
    -- A trigger belongs to nobody: its condition may be that of whoever may make triggers.
    select r.nsp, r.oid, 'trigger', g.tgname::text, coalesce(w.grantee, r.owner), r.foreign_owner or w.grantee is not null, 'pg_trigger'::regclass::oid, g.oid,
        case when r.foreign_owner then concat(g.tgqual::text, ' :funcid ', g.tgfoid) when w.grantee is not null then g.tgqual::text end
    from rel r join pg_trigger g on g.tgrelid = r.oid left join lateral (
        select a.grantee from pg_class c cross join aclexplode(c.relacl) a
        where not r.foreign_owner and g.tgqual is not null and c.oid = r.oid and a.privilege_type = 'TRIGGER' and {untrusted a.grantee}
        order by 1 desc limit 1) w on true
    where not g.tgisinternal and g.tgenabled <> 'D'
    union all
    select r.nsp, r.oid, 'statistics', s.stxname::text, s.stxowner, {untrusted s.stxowner} or r.foreign_owner,
        'pg_statistic_ext'::regclass::oid, s.oid, case when {untrusted s.stxowner} or r.foreign_owner then s.stxexprs::text end
    from rel r join pg_statistic_ext s on s.stxrelid = r.oid where s.stxexprs is not null
    union all
    select r.nsp, r.oid, 'partition key', null, r.owner, r.foreign_owner, 'pg_class'::regclass::oid, r.oid,
        case when r.foreign_owner then p.partexprs::text end
    from rel r join pg_partitioned_table p on p.partrelid = r.oid
    where p.partexprs is not null or exists (select from unnest(p.partclass::oid[]) o where o >= 16384)
), typ (nsp, oid) as (
    -- The types that are not PostgreSQL's own, of columns, in the schema, and those
    -- that expressions convert to: a domain checks wherever a value becomes one.
    (select r.nsp, a.atttypid from rel r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
     where a.atttypid >= 16384
     union
     select m.nsp, m.objid from member m where m.classid = 'pg_type'::regclass
     union
     select w.nsp, d.refobjid from written w join pg_depend d on d.classid = w.classid and d.objid = w.objid and d.refclassid = 'pg_type'::regclass
     union
     select w.nsp, m.found[1]::oid from written w cross join lateral regexp_matches(w.tree, ':\w*typ(?:e|eid|eId|id) (\d{5,})', 'g') m (found))
    union
    select t.nsp, x.oid from typ t join pg_type y on y.oid = t.oid cross join lateral (
        select y.typbasetype as oid
        union all select y.typelem
        union all select g.rngsubtype from pg_range g where g.rngtypid = y.oid
        union all select a.atttypid from pg_attribute a where a.attrelid = y.typrelid and a.attnum > 0 and not a.attisdropped
        union all select d.refobjid from pg_depend d
            where d.classid = 'pg_type'::regclass and d.objid = y.oid and d.refclassid = 'pg_type'::regclass
        -- Checks are those of domains alone.
        union all select e.refobjid from pg_constraint k cross join lateral (
                select d.refobjid from pg_depend d where d.classid = 'pg_constraint'::regclass and d.objid = k.oid
                    and d.refclassid = 'pg_type'::regclass offset 0) e
            where y.typtype = 'd' and k.contypid = y.oid
        union all select m.found[1]::oid from pg_constraint k
            cross join lateral regexp_matches(k.conbin::text, ':\w*typ(?:e|eid|eId|id) (\d{5,})', 'g') m (found)
            where y.typtype = 'd' and k.contypid = y.oid
    ) x
    where x.oid >= 16384
), part (nsp, rel, kind, name, owner, foreign_owner, classid, objid, tree) as materialized (
    select * from written
    union all
    select t.nsp, null, 'type', null, y.typowner, {untrusted y.typowner}, 'pg_type'::regclass::oid, t.oid,
        case when {untrusted y.typowner} then y.typdefaultbin::text end
    from typ t cross join lateral (select * from pg_type y where y.oid = t.oid offset 0) y
    union all
    select t.nsp, null, 'check of type', k.conname::text, k.typowner, {untrusted k.typowner}, 'pg_constraint'::regclass::oid, k.oid,
        case when {untrusted k.typowner} then k.conbin::text end
    from typ t cross join lateral (
        select k.*, y.typowner from pg_type y join pg_constraint k on k.contypid = y.oid where y.oid = t.oid offset 0) k
), called (nsp, rel, kind, name, function, owner, objid, classid) as (
    -- What calls a function of a role that is not trusted. PostgreSQL keeps no
    -- dependency on its own functions, and those are nobody else's.
    select p.nsp, p.rel, p.kind, p.name, f.oid, f.proowner, p.objid, p.classid
    from part p
    cross join lateral (select d.refclassid, d.refobjid from pg_depend d where d.classid = p.classid and d.objid = p.objid
        and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass) offset 0) d
    cross join lateral (select f.oid, f.proowner from pg_proc f where f.oid = case d.refclassid
        when 'pg_proc'::regclass then d.refobjid
        else (select o.oprcode::oid from pg_operator o where o.oid = d.refobjid) end offset 0) f
    where {untrusted f.proowner}
    union all
    select p.nsp, p.rel, p.kind, p.name, f.oid, f.proowner, p.objid, p.classid
    from part p
    cross join lateral (select d.refobjid from pg_depend d where d.classid = p.classid and d.objid = p.objid
        and d.refclassid = 'pg_opclass'::regclass offset 0) d
    cross join lateral (select f.oid, f.proowner from pg_opclass o join pg_amproc a on a.amprocfamily = o.opcfamily
        join pg_proc f on f.oid = a.amproc::oid where o.oid = d.refobjid offset 0) f
    where {untrusted f.proowner}
), used as (
    -- The functions in expressions that a role wrote who is not trusted.
    select p.nsp, p.rel, p.kind, p.name, p.owner, p.objid, p.classid,
        case m.found[1] when 'opno' then (select o.oprcode::oid from pg_operator o where o.oid = m.found[2]::oid) else m.found[2]::oid end as function
    from part p cross join lateral regexp_matches(p.tree, ':(opno|funcid|aggfnoid|winfnoid) (\d+)', 'g') m (found)
    where p.foreign_owner and p.tree is not null
), planted (nsp, kind, rel, name, function, owner, objid, classid) as (
    select c.nsp, c.kind, c.rel, c.name, c.function, c.owner, c.objid, c.classid from called c
    union all
    select u.nsp, u.kind, u.rel, u.name, u.function, u.owner, u.objid, u.classid
    from used u cross join lateral (select * from pg_proc f where f.oid = u.function offset 0) f
    where not (case
        when f.oid < 16384 then f.provolatile = 'i'
            -- Those that are not immutable and still do nothing but return a value.
            -- The input functions of arrays and the like take any type by its number.
            or f.provolatile = 's' and f.proname !~ '_to_xml|^pg_input_|^ts_stat|^(array|domain|record|range|multirange)_in$'
            or f.proname in ('nextval', 'currval', 'lastval', 'gen_random_uuid', 'uuidv4', 'uuidv7', 'random', 'random_normal',
                'clock_timestamp', 'timeofday', 'txid_current', 'pg_current_xact_id')
            or u.kind = 'trigger' and f.prorettype = 'trigger'::regtype
        when {untrusted f.proowner} then true -- called has it
        when f.pronamespace = u.nsp then true -- the migrations made it
        -- on a table of ours a function of ours may be called, but not one of dblink's, say
        when (u.nsp, u.rel) not in (select r.nsp, r.oid from rel r where r.foreign_owner)
            and not exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = f.oid and e.deptype = 'e') and u.rel is not null then true
        else exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = f.oid and e.deptype = 'e')
            and (f.provolatile = 'i' or f.proname ~ '^uuid_generate_v|^unaccent$|^gen_random_uuid$') end)
    union all
    -- A rule puts statements in the place of another.
    select p.nsp, p.kind, p.rel, p.name, null, p.owner, p.objid, p.classid from part p where p.kind = 'rule' and p.foreign_owner
    union all
    -- What such a view reads is judged only in the schema.
    select p.nsp, p.kind, p.rel, p.name, null, p.owner, p.objid, p.classid
    from part p
    cross join lateral (select c.oid, c.relowner from pg_depend d join pg_class c on c.oid = d.refobjid
        where d.classid = p.classid and d.objid = p.objid and d.refclassid = 'pg_class'::regclass
        and c.relkind in ('v', 'm', 'f') offset 0) c
    where p.foreign_owner and p.kind in ('view', 'policy') and {untrusted c.relowner}
      and (p.nsp, c.oid) not in (select r.nsp, r.oid from relation r)
    union all
    select m.nsp, case f.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end, null, f.oid::regprocedure::text,
        null, f.proowner, f.oid, 'pg_proc'::regclass
    from member m join pg_proc f on f.oid = m.objid where m.classid = 'pg_proc'::regclass and {untrusted f.proowner}
    union all
    select m.nsp, 'operator', null, o.oid::regoperator::text, f.oid, case when {untrusted o.oprowner} then o.oprowner else f.proowner end,
        o.oid, 'pg_operator'::regclass
    from member m join pg_operator o on o.oid = m.objid join pg_proc f on f.oid = o.oprcode
    where m.classid = 'pg_operator'::regclass and ({untrusted o.oprowner} or {untrusted f.proowner})
    union all
    select t.nsp, 'cast', null, format('%s as %s', c.castsource::regtype, c.casttarget::regtype), f.oid, f.proowner, c.oid, 'pg_cast'::regclass
    from pg_cast c join pg_proc f on f.oid = c.castfunc join typ t on t.oid in (c.castsource, c.casttarget)
    where {untrusted f.proowner}
    union all
    select w.nsp, 'event trigger', null, e.evtname::text, f.oid, f.proowner, e.oid, 'pg_event_trigger'::regclass
    from wanted w cross join pg_event_trigger e join pg_proc f on f.oid = e.evtfoid
    where e.evtenabled <> 'D' and {untrusted f.proowner}
)
select distinct w.schema, p.kind, coalesce(case c.relnamespace when p.nsp then c.relname::text else p.rel::regclass::text end, '') as "table",
    coalesce(case
        when p.kind = 'type' then p.objid::regtype::text
        when p.kind = 'check of type' then (select k.contypid::regtype::text from pg_constraint k where k.oid = p.objid)
        when p.kind not in ('view', 'materialized view') then p.name end, '') as name,
    coalesce(p.function::regprocedure::text, '') as function, pg_get_userbyid(p.owner)::text as owner
from planted p join wanted w on w.nsp = p.nsp
left join lateral (select c.relname, c.relnamespace from pg_class c where c.oid = p.rel offset 0) c on true
order by 1, 2, 3, 4, 5
