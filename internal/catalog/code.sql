-- What the expressions of a schema call and read, where that is not plainly harmless,
-- from the parsed form in which the server keeps them: an oid cannot be spelled in two
-- ways. $1 is the schema, $2 are functions that may be called although they are not
-- immutable.
with own as materialized (
    select n.oid from pg_namespace n where n.nspname = $1::text
),
rel as materialized (
    select c.oid, c.relname::text as name, c.relkind, c.relpartbound, c.relispartition
    from pg_depend d join pg_class c on c.oid = d.objid
    where d.refclassid = 'pg_namespace'::regclass and d.refobjid = (select oid from own) and d.classid = 'pg_class'::regclass
),
expression as (
    select 'column' as kind, r.name as parent, a.attname::text as name, d.adbin::text as tree
    from rel r join pg_attrdef d on d.adrelid = r.oid join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    union all
    select 'constraint', r.name, k.conname::text, k.conbin::text
    from rel r join pg_constraint k on k.conrelid = r.oid where k.conbin is not null
    union all
    select 'index', r.name, i.relname::text, concat_ws(' ', x.indexprs::text, x.indpred::text)
    from rel r join pg_index x on x.indrelid = r.oid join pg_class i on i.oid = x.indexrelid
    where x.indexprs is not null or x.indpred is not null
    union all
    select 'policy', r.name, p.polname::text, concat_ws(' ', p.polqual::text, p.polwithcheck::text)
    from rel r join pg_policy p on p.polrelid = r.oid
    union all
    select 'trigger', r.name, t.tgname::text, t.tgqual::text
    from rel r join pg_trigger t on t.tgrelid = r.oid where t.tgqual is not null
    union all
    select case r.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'rule' end,
        case when r.relkind in ('v', 'm') then '' else r.name end,
        case when r.relkind in ('v', 'm') then r.name else w.rulename::text end, concat_ws(' ', w.ev_action::text, w.ev_qual::text)
    from rel r join pg_rewrite w on w.ev_class = r.oid
    union all
    select 'table', '', r.name, concat_ws(' ', p.partexprs::text, r.relpartbound::text)
    from rel r left join pg_partitioned_table p on p.partrelid = r.oid
    where p.partexprs is not null or r.relpartbound is not null
    union all
    select 'statistics', '', s.stxname::text, s.stxexprs::text
    from pg_statistic_ext s where s.stxnamespace = (select oid from own) and s.stxexprs is not null
    union all
    select 'domain', '', t.typname::text, concat_ws(' ', t.typdefaultbin::text, (
        select string_agg(k.conbin::text, ' ') from pg_constraint k where k.contypid = t.oid))
    from pg_type t where t.typnamespace = (select oid from own) and t.typtype = 'd'
),
mention as (
    select distinct e.kind, e.parent, e.name, m.found[1] as what, m.found[2]::oid as oid
    from expression e
    cross join lateral regexp_matches(e.tree,
        ':(funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid|opno|eqop|sortop|relid|tsmhandler) ([1-9][0-9]*)', 'g') as m (found)
    union
    select e.kind, e.parent, e.name, 'opno', o.oid::oid
    from expression e
    cross join lateral regexp_matches(e.tree, ':opnos \(o ([0-9 ]+)\)', 'g') as m (found)
    cross join lateral unnest(string_to_array(m.found[1], ' ')) as o (oid)
),
called as (
    select m.kind, m.parent, m.name, p.oid, p.proname, p.pronamespace, p.provolatile
    from mention m
    left join pg_operator o on m.what in ('opno', 'eqop', 'sortop') and o.oid = m.oid
    join pg_proc p on p.oid = case when m.what in ('opno', 'eqop', 'sortop') then o.oprcode::oid when m.what <> 'relid' then m.oid end
),
-- The types of columns, of domains and composites, and those that expressions make
-- values of: a domain of others runs their check.
typed as (
    select case r.relkind when 'c' then 'type' else 'column' end as kind, case r.relkind when 'c' then '' else r.name end as parent,
        case r.relkind when 'c' then r.name else a.attname::text end as name, a.atttypid as oid
    from rel r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    where r.relkind in ('r', 'p', 'f', 'c')
    union
    select 'domain', '', t.typname::text, t.typbasetype
    from pg_type t where t.typnamespace = (select oid from own) and t.typtype = 'd'
    union
    select e.kind, e.parent, e.name, m.found[1]::oid
    from expression e cross join lateral regexp_matches(e.tree, ':\w*typ(?:e|eid|eId|id) ([0-9]{5,})', 'g') as m (found)
    union
    select e.kind, e.parent, e.name, o.oid::oid
    from expression e cross join lateral regexp_matches(e.tree, ':\w*coltypes \(o ([0-9 ]+)\)', 'g') as m (found)
    cross join lateral unnest(string_to_array(m.found[1], ' ')) as o (oid)
)
select c.kind, c.parent, c.name, 'calls ' || c.proname as uses
from called c
where not ((c.provolatile = 'i' or c.proname = any ($2::text[]))
    and (c.pronamespace = 'pg_catalog'::regnamespace
        or exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = c.oid and d.deptype = 'e')))
  -- comparisons of the system that mind the locale or the time zone
  and not (c.pronamespace = 'pg_catalog'::regnamespace and c.provolatile = 's' and exists (select from pg_operator o where o.oprcode = c.oid))
  and not (c.pronamespace = 'pg_catalog'::regnamespace and c.provolatile = 's' and exists (select from pg_cast k where k.castfunc = c.oid))
union
select m.kind, m.parent, m.name, 'reads ' || r.oid::regclass
from mention m join pg_class r on m.what = 'relid' and r.oid = m.oid
where r.relnamespace <> (select oid from own)
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype = 'e')
union
select d.kind, d.parent, d.name, 'uses type ' || y.oid::regtype
from typed d join pg_type t on t.oid = d.oid join pg_type y on y.oid = case when t.typelem <> 0 and t.typlen = -1 then t.typelem else t.oid end
where y.oid >= 16384 and y.typnamespace <> (select oid from own) and y.typnamespace <> 'pg_catalog'::regnamespace
  and not exists (select from pg_depend e where e.classid = 'pg_type'::regclass and e.objid = y.oid and e.deptype = 'e')
union
-- a default that names a relation of another schema, such as its sequence
select 'column', t.name, a.attname::text, 'reads ' || r.oid::regclass
from rel t
join pg_attrdef d on d.adrelid = t.oid
join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
join pg_depend x on x.classid = 'pg_attrdef'::regclass and x.objid = d.oid and x.refclassid = 'pg_class'::regclass
join pg_class r on r.oid = x.refobjid
where r.relnamespace <> (select oid from own)
order by 1, 2, 3, 4
