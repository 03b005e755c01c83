-- What stands in some schemas, one row an object.
--
-- $1 are the names of the schemas, $2 their tenants' own roles ('' for none), $3
-- tells whether what is granted to those roles counts, $4 are kinds to leave out, $5
-- are the tenants' tablespaces ('' for none): whether a table stands there or in the
-- database's own is no part of its shape, that it stands in a third one is.
--
-- It is run with pg_catalog alone on the search path. Where the text of a
-- definition depends on the path, {here} puts the schema in question onto it
-- first: the names of the schema then come without it, those of every other
-- schema with it, and nothing ever has to be searched and replaced. It is part
-- of each such expression, so no plan can tear the two apart. Some things come in more
-- than one form all the same, which {said} and {same} settle: names of the schema that
-- a common table expression or a nearer function hides, and lists that a varchar is
-- compared with, whose tree is another one once they were printed and read.
--
-- What stands between /*+ and +*/ are the details that only a reader of a shape
-- wants; for a fingerprint they are the comments they look like.
with wanted as materialized (
    select n.oid as nsp, w.at, n.nspname, n.nspowner, n.nspacl, r.oid as role,
        -- Where the tenant's tables are made, 0 for the database's own tablespace.
        coalesce((select s.oid from pg_catalog.pg_tablespace s
            where s.spcname = coalesce(nullif(w.tablespace, ''), pg_catalog.current_setting('default_tablespace'))::name), 0) as home,
        pg_catalog.quote_ident(n.nspname) || ', pg_catalog, pg_temp' as path,
        'pg_catalog, ' || pg_catalog.quote_ident(n.nspname) || ', pg_temp' as rulepath,
        -- Before a dot these may be no schema: null then.
        case when not (n.nspname in ('new', 'old', 'excluded')
            or exists (select from pg_catalog.pg_class c where c.relname = n.nspname and c.relnamespace = n.oid)
            or exists (select from pg_catalog.pg_proc p where p.proname = n.nspname and p.pronamespace = n.oid))
        then pg_catalog.quote_ident(n.nspname) end as own
    from unnest($1::text[], $2::text[], $5::text[]) with ordinality as w (name, role, tablespace, at)
    join pg_catalog.pg_namespace n on n.nspname = w.name::name
    left join pg_catalog.pg_roles r on r.rolname = w.role::name
),
extension as materialized (
    select d.classid, d.objid
    from pg_catalog.pg_extension e
    join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_extension'::regclass and d.refobjid = e.oid
    where d.deptype = 'e'
),
-- pg_class and pg_proc have no index on their schema, but every object depends on
-- the schema it stands in, and that is indexed.
member as materialized (
    select w.*, d.classid, d.objid
    from wanted w
    join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_namespace'::regclass and d.refobjid = w.nsp
    where d.deptype in ('n', 'a') and d.objsubid = 0
      and not exists (select from extension x where x.classid = d.classid and x.objid = d.objid)
),
class as materialized (
    select r.nsp, r.nspname, r.nspowner, r.role, r.home, r.path, r.rulepath, r.own, c.oid as relid, c.relname, c.relkind, c.relowner, c.relacl,
        c.relname = 'goose_db_version' as versions
    from member r
    join pg_catalog.pg_class c on c.oid = r.objid
    where r.classid = 'pg_catalog.pg_class'::regclass
      -- what imports keep is no part of the application
      and not (c.relname = 'crmctl_import_undo' and c.relkind = 'r')
),
relation as materialized (
    select r.*
    from class r
    where not r.versions
      -- its identity or serial is no business of ours either
      and not (r.relkind = 'S' and exists (
        select from pg_catalog.pg_depend d
        join class t on t.relid = d.refobjid
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = r.relid
          and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i') and t.versions))
),
routine as materialized (
    select r.nsp, r.nspname, r.nspowner, r.role, r.path, p.oid as procid, p.prokind, p.proowner, p.proacl,
        case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end as kind,
        case when {here} then pg_catalog.quote_ident(p.proname) || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' end as signature
    from member r
    join pg_catalog.pg_proc p on p.oid = r.objid
    where r.classid = 'pg_catalog.pg_proc'::regclass
      -- the constructors of a range come with it
      and not exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
          and d.refclassid = 'pg_catalog.pg_type'::regclass and d.deptype = 'i')
),
datatype as materialized (
    select r.nsp, r.nspname, r.nspowner, r.role, r.path, r.own, t.oid as typid, t.typname, t.typtype, t.typrelid, t.typowner, t.typacl,
        t.typbasetype, t.typtypmod, t.typcollation, t.typnotnull, t.typdefaultbin, t.typlen, t.typinput,
        case when t.typtype = 'd' then 'domain' else 'type' end as kind
    from member r
    join pg_catalog.pg_type t on t.oid = r.objid
    where r.classid = 'pg_catalog.pg_type'::regclass
      and t.typtype in ('b', 'c', 'd', 'e', 'r')
),
object as (
    -- The version table: that it is there, and has what goose reads and writes.
    select r.nsp, 'table'::text as kind, ''::text as parent, r.relname::text as name,
        'versions (' || (
            select string_agg(a.attname, ', ' order by a.attname)
            from pg_catalog.pg_attribute a
            where a.attrelid = r.relid and a.attname in ('id', 'version_id', 'is_applied', 'tstamp')
        ) || ')' as definition
        /*+ , null::jsonb as detail +*/
    from class r
    where r.versions and r.relkind in ('r', 'p')

    union all
    select r.nsp, 'table', '', r.relname,
        concat_ws(' ', case when c.relpersistence = 'u' then 'unlogged' end,
            case when r.relkind = 'f' then 'foreign table' else 'table' end,
            'partition by ' || p.key,
            case when c.relispartition then 'partition of ' || i.parents || ' ' || p.bound else 'inherits (' || i.parents || ')' end,
            'server ' || pg_catalog.quote_ident(f.srvname) || coalesce(' options (' || f.options || ')', ''),
            'using ' || pg_catalog.quote_ident(x.method), 'tablespace ' || pg_catalog.quote_ident(x.tablespace),
            'with (' || x.options || ')',
            case c.relreplident when 'f' then 'replica identity full' when 'n' then 'replica identity nothing' end,
            case when c.relrowsecurity then 'enable row level security' end,
            case when c.relforcerowsecurity then 'force row level security' end)
        /*+ , jsonb_build_object('unlogged', c.relpersistence = 'u', 'foreign', r.relkind = 'f', 'key', p.key, 'parents', i.parents,
            'partition', c.relispartition, 'bound', p.bound, 'server', f.srvname, 'method', x.method, 'tablespace', x.tablespace,
            'options', x.options, 'identity', c.relreplident, 'rls', c.relrowsecurity, 'force_rls', c.relforcerowsecurity) +*/
    from relation r
    join pg_catalog.pg_class c on c.oid = r.relid
    cross join lateral (select
        case when r.relkind = 'p' and {here} then pg_catalog.pg_get_partkeydef(c.oid) end as key,
        case when c.relispartition and {here} then pg_catalog.pg_get_expr(c.relpartbound, c.oid) end as bound
    ) t
    cross join lateral (select {said t.key} as key, t.bound) p
    left join lateral (
        select string_agg(case when {here} then i.inhparent::regclass::text end, ', ' order by i.inhseqno) as parents
        from pg_catalog.pg_inherits i where i.inhrelid = c.oid
    ) i on true
    left join lateral (
        select s.srvname, (select string_agg(o, ', ' order by o) from unnest(f.ftoptions) o) as options
        from pg_catalog.pg_foreign_table f
        join pg_catalog.pg_foreign_server s on s.oid = f.ftserver
        where r.relkind = 'f' and f.ftrelid = c.oid
    ) f on true
    cross join lateral (select
        (select m.amname from pg_catalog.pg_am m where m.oid = c.relam and m.amname <> 'heap') as method,
        (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home) as tablespace,
        (select string_agg(o, ', ' order by o) from (
            select unnest(c.reloptions) as o
            union all
            select 'toast.' || unnest(t.reloptions) from pg_catalog.pg_class t where t.oid = c.reltoastrelid
        ) o) as options
    ) x
    where r.relkind in ('r', 'p', 'f')

    union all
    select r.nsp, 'column order', r.relname, '', string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum)
        /*+ , jsonb_agg(a.attname order by a.attnum) +*/
    from relation r
    join pg_catalog.pg_attribute a on a.attrelid = r.relid and a.attnum > 0 and not a.attisdropped
    where r.relkind in ('r', 'p', 'f')
    group by r.nsp, r.relid, r.relname

    union all
    select r.nsp, 'column', r.relname, a.attname,
        concat_ws(' ', x.type, 'collate ' || x.collation, 'storage ' || x.storage, 'compression ' || x.compression,
            'options (' || x.fdw || ')',
            case a.attgenerated when '' then 'default ' || {same e.expression}
                else 'generated always as (' || {same e.expression} || ') ' || case a.attgenerated when 's' then 'stored' else 'virtual' end end,
            'generated ' || x.identity || ' as identity' || coalesce(' (' || nullif(q.text, '') || ')', ''),
            case when a.attnotnull then 'not null' end,
            'statistics ' || x.statistics, 'with (' || x.options || ')')
        /*+ , jsonb_build_object('position', a.attnum, 'type', x.type, 'collation', x.collation, 'storage', x.storage, 'compression', x.compression,
            'expression', e.expression, 'generated', a.attgenerated, 'identity', x.identity, 'sequence', q.parameters,
            'not_null', a.attnotnull, 'not_null_name', (
                -- Since PostgreSQL 18, where it is not the name that it would get.
                select k.conname from pg_catalog.pg_constraint k
                where k.conrelid = a.attrelid and k.contype = 'n' and k.conkey[1] = a.attnum and k.conname <> r.relname || '_' || a.attname || '_not_null'),
            'statistics', x.statistics, 'options', x.options, 'fdw', x.fdw, 'inherited', a.attinhcount > 0 and not a.attislocal) +*/
    from relation r
    join pg_catalog.pg_attribute a on a.attrelid = r.relid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid
    left join pg_catalog.pg_attrdef d on a.atthasdef and d.adrelid = a.attrelid and d.adnum = a.attnum
    cross join lateral (select
        case when {here} then pg_catalog.format_type(a.atttypid, a.atttypmod) end as type,
        case when a.attcollation <> t.typcollation and {here} then a.attcollation::regcollation::text end as collation,
        case when a.attstorage <> t.typstorage then
            case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end end as storage,
        case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end as compression,
        case when d.oid is not null and {here} then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as expression,
        case a.attidentity when 'a' then 'always' when 'd' then 'by default' end as identity,
        nullif(a.attstattarget::int, -1) as statistics,
        -- Newer minor releases note when a column was last altered: nobody set that.
        (select string_agg(o, ', ' order by o) from unnest(a.attoptions) o where not starts_with(o, 'pg_attver=')) as options,
        (select string_agg(o, ', ' order by o) from unnest(a.attfdwoptions) o) as fdw
    ) x
    cross join lateral (select {said x.expression} as expression) e
    left join lateral (
        select {sequence text} as text, {sequence parameters} || jsonb_build_object('name', c.relname) as parameters
        from pg_catalog.pg_depend i
        join pg_catalog.pg_sequence s on s.seqrelid = i.objid
        join pg_catalog.pg_class c on c.oid = i.objid
        where a.attidentity <> '' and i.refclassid = 'pg_catalog.pg_class'::regclass and i.refobjid = a.attrelid
          and i.refobjsubid = a.attnum and i.classid = 'pg_catalog.pg_class'::regclass and i.deptype = 'i'
    ) q on true
    where r.relkind in ('r', 'p', 'f') or r.relkind = 'v' and a.atthasdef

    union all
    -- What a partition has from its parent goes without saying. A NOT NULL is
    -- the column's; only one that does not hold for all rows is told here. Its
    -- name says what table and column were called when it was made.
    select r.nsp, 'constraint', r.relname, case when k.contype = 'n' then 'not null of ' || (
            select pg_catalog.quote_ident(a.attname) from pg_catalog.pg_attribute a where a.attrelid = k.conrelid and a.attnum = k.conkey[1])
            else k.conname end,
        concat_ws(' ', {same x.definition},
            case when i.indisclustered then 'clustered' end, case when i.indisreplident then 'replica identity' end,
            case when not i.indisvalid then 'invalid' end,
            'with (' || (select string_agg(o, ', ' order by o) from unnest(c.reloptions) o) || ')',
            'tablespace ' || (select pg_catalog.quote_ident(s.spcname) from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home))
        /*+ , jsonb_build_object('type', k.contype, 'valid', k.convalidated, 'definition', x.definition,
            'clustered', i.indisclustered, 'identity', i.indisreplident, 'invalid', not i.indisvalid,
            'options', (select string_agg(o, ', ' order by o) from unnest(c.reloptions) o),
            'tablespace', (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home),
            'references', case when k.contype = 'f' and {here} then k.confrelid::regclass::text end) +*/
    from relation r
    join pg_catalog.pg_constraint k on k.conrelid = r.relid
    left join pg_catalog.pg_index i on k.contype in ('p', 'u', 'x') and i.indexrelid = k.conindid
    left join pg_catalog.pg_class c on c.oid = i.indexrelid
    cross join lateral (select case when {here} then pg_catalog.pg_get_constraintdef(k.oid) end as text) t
    cross join lateral (select {said t.text} as definition) x
    where (k.contype in ('p', 'u', 'x', 'c', 'f') or k.contype = 'n' and (not k.convalidated or k.connoinherit))
      and k.conparentid = 0 and (k.conislocal or k.coninhcount = 0)

    union all
    select r.nsp, 'index', r.relname, c.relname,
        concat_ws(' ', {same x.definition}, case when i.indisclustered then 'clustered' end, case when i.indisreplident then 'replica identity' end,
            case when not i.indisvalid then 'invalid' end,
            'tablespace ' || (select pg_catalog.quote_ident(s.spcname) from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home))
        /*+ , jsonb_build_object('definition', x.definition, 'unique', i.indisunique, 'partitioned', c.relkind = 'I',
            'name', pg_catalog.quote_ident(c.relname), 'rest', substr(x.definition, length(h.head) + 1),
            'clustered', i.indisclustered, 'identity', i.indisreplident, 'invalid', not i.indisvalid, 'tablespace', (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home)) +*/
    from relation r
    join pg_catalog.pg_index i on i.indrelid = r.relid
    join pg_catalog.pg_class c on c.oid = i.indexrelid and not c.relispartition
    cross join lateral (select 'CREATE ' || case when i.indisunique then 'UNIQUE ' else '' end || 'INDEX ' || pg_catalog.quote_ident(c.relname)
        || ' ON ' || case when c.relkind = 'I' then 'ONLY ' else '' end as head) h
    cross join lateral (select h.head || substr(case when {here} then pg_catalog.pg_get_indexdef(i.indexrelid) end,
        length(h.head) + length(pg_catalog.quote_ident(r.nspname)) + 2) as text) t
    cross join lateral (select {said t.text} as definition) x
    where r.relkind in ('r', 'p', 'm') and not i.indisprimary
      and not ((i.indisunique or i.indisexclusion) and exists (
        select from pg_catalog.pg_constraint k
        where k.conrelid = i.indrelid and k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')))

    union all
    select r.nsp, 'trigger', r.relname, t.tgname,
        concat_ws(' ', {same x.definition}, x.state) /*+ , jsonb_build_object('definition', x.definition, 'state', x.state) +*/
    from relation r
    join pg_catalog.pg_trigger t on t.tgrelid = r.relid and not t.tgisinternal and t.tgparentid = 0
    cross join lateral (select case when {here} then pg_catalog.pg_get_triggerdef(t.oid, true) end as text) d
    cross join lateral (select {said d.text} as definition, {enabled t.tgenabled} as state) x

    union all
    -- A foreign key is enforced by triggers that somebody may have switched off.
    select r.nsp, 'constraint triggers', r.relname, k.conname, string_agg(distinct {enabled t.tgenabled}, ', ')
        /*+ , null +*/
    from relation r
    join pg_catalog.pg_trigger t on t.tgrelid = r.relid and t.tgisinternal and t.tgenabled <> 'O'
    join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
    group by r.nsp, r.relid, r.relname, k.conname

    union all
    select r.nsp, 'policy', r.relname, p.polname,
        concat_ws(' ', case when not p.polpermissive then 'as restrictive' end,
            'for ' || case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
            'to ' || (select string_agg({grantee g}, ', ' order by {grantee g}) from unnest(p.polroles) g),
            'using (' || {same y.qual} || ')', 'with check (' || {same y.checked} || ')')
        /*+ , null +*/
    from relation r
    join pg_catalog.pg_policy p on p.polrelid = r.relid
    cross join lateral (select
        case when p.polqual is not null and {here} then pg_catalog.pg_get_expr(p.polqual, p.polrelid) end as qual,
        case when p.polwithcheck is not null and {here} then pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) end as checked
    ) x
    cross join lateral (select {said x.qual} as qual, {said x.checked} as checked) y
    where r.relkind in ('r', 'p')

    union all
    select r.nsp, 'rule', r.relname, w.rulename, concat_ws(' ', {same x.definition}, x.state)
        /*+ , jsonb_build_object('definition', x.definition, 'state', x.state) +*/
    from relation r
    join pg_catalog.pg_rewrite w on w.ev_class = r.relid and w.rulename <> '_RETURN'
    cross join lateral (select case when {here for rules} then pg_catalog.pg_get_ruledef(w.oid, true) end as text) t
    cross join lateral (select {said t.text} as definition, {enabled w.ev_enabled} as state) x

    union all
    select r.nsp, case r.relkind when 'v' then 'view' else 'materialized view' end, '', r.relname,
        concat_ws(' ', 'with (' || x.options || ')', 'using ' || x.method, 'tablespace ' || pg_catalog.quote_ident(x.tablespace), 'as' || {same x.definition})
        /*+ , jsonb_build_object('definition', x.definition, 'options', x.options, 'method', x.method, 'tablespace', x.tablespace) +*/
    from relation r
    join pg_catalog.pg_class c on c.oid = r.relid
    cross join lateral (select case when {here for rules} then pg_catalog.pg_get_viewdef(c.oid) end as text) t
    cross join lateral (select {said t.text} as definition,
        (select string_agg(o, ', ' order by o) from unnest(c.reloptions) o) as options,
        (select m.amname from pg_catalog.pg_am m where m.oid = c.relam and m.amname <> 'heap') as method,
        (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace and s.oid <> r.home) as tablespace
    ) x
    where r.relkind in ('v', 'm')

    union all
    select r.nsp, 'sequence', '', r.relname,
        concat_ws(' ', case when c.relpersistence = 'u' then 'unlogged' end, 'sequence', nullif({sequence text}, ''), 'owned by ' || o.owner)
        /*+ , {sequence parameters} || jsonb_build_object('owner', o.owner, 'unlogged', c.relpersistence = 'u') +*/
    from relation r
    join pg_catalog.pg_class c on c.oid = r.relid
    join pg_catalog.pg_sequence s on s.seqrelid = r.relid
    left join lateral (
        select d.deptype, case when {here} then d.refobjid::regclass::text || '.' || pg_catalog.quote_ident(a.attname) end as owner
        from pg_catalog.pg_depend d
        join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = r.relid
          and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')
    ) o on true
    where r.relkind = 'S' and o.deptype is distinct from 'i'

    union all
    select r.nsp, 'statistics', '', s.stxname,
        concat_ws(' ', x.definition, 'statistics ' || x.target) /*+ , jsonb_build_object('definition', x.definition, 'target', x.target) +*/
    from member r
    join pg_catalog.pg_statistic_ext s on s.oid = r.objid
    cross join lateral (select
        'CREATE STATISTICS ' || substr(case when {here} then pg_catalog.pg_get_statisticsobjdef(s.oid) end,
            length('CREATE STATISTICS ') + length(pg_catalog.quote_ident(r.nspname)) + 2) as definition,
        nullif(s.stxstattarget::int, -1) as target) x
    where r.classid = 'pg_catalog.pg_statistic_ext'::regclass

    union all
    -- The text of a function is the author's. Where it names its own schema, as a
    -- migration can make it do, that name is replaced, unless something in the
    -- schema has the same name, which it might mean as well.
    select r.nsp, r.kind, '', r.signature,
        case when strpos(x.text, r.nspname) = 0 and strpos(x.text, pg_catalog.quote_ident(r.nspname)) = 0
              or exists (select from pg_catalog.pg_class c where c.relnamespace = r.nsp and c.relname = r.nspname)
              or exists (select from relation o join pg_catalog.pg_attribute a on a.attrelid = o.relid
                         where o.nsp = r.nsp and a.attname = r.nspname) then x.text
            else regexp_replace(regexp_replace(x.text, '(?<![[:alnum:]_$.])(?:' || x.name || '|' || x.quoted || ')(?=\s*\.)', '{own schema}', 'g'),
                '^( SET search_path TO .*?)' || x.literal, '\1''{own schema}''', 'n') end
        /*+ , null +*/
    from routine r
    cross join lateral (select
        case when r.prokind <> 'a' and {here} then 'CREATE OR REPLACE ' || upper(r.kind) || ' '
            || substr(pg_catalog.pg_get_functiondef(r.procid), length('CREATE OR REPLACE ' || r.kind || ' ' || pg_catalog.quote_ident(r.nspname)) + 2)
            when {here} then (
                select concat_ws(' ', r.signature, 'returns', pg_catalog.pg_get_function_result(r.procid),
                    to_jsonb(a) - 'aggfnoid' - 'aggtranstype' - 'aggmtranstype' - 'aggsortop', a.aggtranstype::regtype,
                    a.aggmtranstype::regtype, a.aggsortop::regoperator, p.proparallel, p.procost)
                from pg_catalog.pg_aggregate a
                join pg_catalog.pg_proc p on p.oid = a.aggfnoid
                where a.aggfnoid = r.procid) end as text,
        {pattern pg_catalog.quote_ident(r.nspname)} as name, {pattern '"' || replace(r.nspname, '"', '""') || '"'} as quoted,
        {pattern pg_catalog.quote_literal(r.nspname)} as literal
    ) x

    union all
    select r.nsp, r.kind, '', r.typname,
        case r.typtype
            when 'e' then 'enum (' || coalesce((select string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
                from pg_catalog.pg_enum e where e.enumtypid = r.typid), '') || ')'
            when 'c' then 'composite (' || coalesce((select string_agg(pg_catalog.quote_ident(a.attname) || ' '
                    || case when {here} then pg_catalog.format_type(a.atttypid, a.atttypmod) end
                    || case when a.attcollation <> t.typcollation and {here} then ' collate ' || a.attcollation::regcollation::text else '' end,
                    ', ' order by a.attnum)
                from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
                where a.attrelid = r.typrelid and a.attnum > 0 and not a.attisdropped), '') || ')'
            when 'd' then concat_ws(' ', case when {here} then pg_catalog.format_type(r.typbasetype, r.typtypmod) end,
                (select 'collate ' || case when {here} then r.typcollation::regcollation::text end
                    from pg_catalog.pg_type b where b.oid = r.typbasetype and b.typcollation <> r.typcollation),
                'default ' || (select {said d.text} from (select case when {here} then pg_catalog.pg_get_expr(r.typdefaultbin, 0) end as text) d), case when r.typnotnull then 'not null' end,
                (select string_agg('constraint ' || pg_catalog.quote_ident(k.conname) || ' ' || {said d.text}, ' ' order by k.conname)
                    from pg_catalog.pg_constraint k
                    cross join lateral (select case when {here} then pg_catalog.pg_get_constraintdef(k.oid) end as text) d
                    where k.contypid = r.typid and k.contype = 'c'))
            when 'r' then (select concat_ws(' ', 'range of', case when {here} then pg_catalog.format_type(g.rngsubtype, null) end,
                case when g.rngcollation <> 0 then g.rngcollation::regcollation::text end,
                case when g.rngcanonical <> 0 then g.rngcanonical::text end, case when g.rngsubdiff <> 0 then g.rngsubdiff::text end,
                (select o.opcname from pg_catalog.pg_opclass o where o.oid = g.rngsubopc))
                from pg_catalog.pg_range g where g.rngtypid = r.typid)
            else 'base of ' || r.typlen || ' bytes, ' || case when {here} then r.typinput::text end
        end
        /*+ , jsonb_build_object('type', r.typtype) +*/
    from datatype r

    union all
    -- The rest is rare: compared, and never made by a fix.
    select r.nsp, x.kind, '', x.name, x.definition /*+ , null +*/
    from member r
    cross join lateral (
        select 'collation' as kind, c.collname::text as name,
            (to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::text[])::text as definition
        from pg_catalog.pg_collation c where r.classid = 'pg_catalog.pg_collation'::regclass and c.oid = r.objid
        union all
        select 'operator', case when {here} then o.oid::regoperator::text end, case when {here} then concat_ws(' ', o.oprresult::regtype, o.oprcode,
            o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin, o.oprcanmerge, o.oprcanhash) end
        from pg_catalog.pg_operator o where r.classid = 'pg_catalog.pg_operator'::regclass and o.oid = r.objid
        union all
        select 'operator class', o.opcname || ' using ' || m.amname, case when {here} then concat_ws(' ', o.opcintype::regtype, o.opcdefault, o.opckeytype::regtype) end
        from pg_catalog.pg_opclass o join pg_catalog.pg_am m on m.oid = o.opcmethod
        where r.classid = 'pg_catalog.pg_opclass'::regclass and o.oid = r.objid
        union all
        select 'operator family', o.opfname || ' using ' || m.amname, ''
        from pg_catalog.pg_opfamily o join pg_catalog.pg_am m on m.oid = o.opfmethod
        where r.classid = 'pg_catalog.pg_opfamily'::regclass and o.oid = r.objid
        union all
        select 'conversion', c.conname, case when {here} then concat_ws(' ', c.conforencoding, c.contoencoding, c.conproc, c.condefault) end
        from pg_catalog.pg_conversion c where r.classid = 'pg_catalog.pg_conversion'::regclass and c.oid = r.objid
        union all
        select 'text search configuration', c.cfgname, (
            select string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, case when {here} then m.mapdict::regdictionary::text end), ', ' order by m.maptokentype, m.mapseqno)
            from pg_catalog.pg_ts_config_map m where m.mapcfg = c.oid)
        from pg_catalog.pg_ts_config c where r.classid = 'pg_catalog.pg_ts_config'::regclass and c.oid = r.objid
        union all
        select 'text search dictionary', d.dictname, concat_ws(' ', t.tmplname, d.dictinitoption)
        from pg_catalog.pg_ts_dict d join pg_catalog.pg_ts_template t on t.oid = d.dicttemplate
        where r.classid = 'pg_catalog.pg_ts_dict'::regclass and d.oid = r.objid
        union all
        select 'text search parser', p.prsname, concat_ws(' ', p.prsstart, p.prstoken, p.prsend)
        from pg_catalog.pg_ts_parser p where r.classid = 'pg_catalog.pg_ts_parser'::regclass and p.oid = r.objid
        union all
        select 'text search template', t.tmplname, concat_ws(' ', t.tmplinit, t.tmpllexize)
        from pg_catalog.pg_ts_template t where r.classid = 'pg_catalog.pg_ts_template'::regclass and t.oid = r.objid
    ) x

    union all
    select r.nsp, 'comment', c.parent, c.name, c.text /*+ , null +*/
    from (
        select r.nsp, r.relname::text as parent,
            case when d.objsubid = 0 then {relation kind} || ' ' || pg_catalog.quote_ident(r.relname)
                else 'column ' || pg_catalog.quote_ident(a.attname) end as name, d.description as text
        from relation r
        join pg_catalog.pg_description d on d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = r.relid
        left join pg_catalog.pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid
        where r.relkind <> 'c' and (d.objsubid = 0 or not a.attisdropped)
        union all
        select r.nsp, r.relname, x.name, d.description
        from relation r
        cross join lateral (
            select 'pg_catalog.pg_class'::regclass as classid, i.indexrelid as objid, 'index ' || pg_catalog.quote_ident(c.relname) as name
            from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid where i.indrelid = r.relid
            union all
            select 'pg_catalog.pg_constraint'::regclass, k.oid, 'constraint ' || pg_catalog.quote_ident(k.conname)
            from pg_catalog.pg_constraint k where k.conrelid = r.relid
            union all
            select 'pg_catalog.pg_trigger'::regclass, t.oid, 'trigger ' || pg_catalog.quote_ident(t.tgname)
            from pg_catalog.pg_trigger t where t.tgrelid = r.relid and not t.tgisinternal
            union all
            select 'pg_catalog.pg_policy'::regclass, p.oid, 'policy ' || pg_catalog.quote_ident(p.polname)
            from pg_catalog.pg_policy p where p.polrelid = r.relid
            union all
            select 'pg_catalog.pg_rewrite'::regclass, w.oid, 'rule ' || pg_catalog.quote_ident(w.rulename)
            from pg_catalog.pg_rewrite w where w.ev_class = r.relid
        ) x
        join pg_catalog.pg_description d on d.classoid = x.classid and d.objoid = x.objid and d.objsubid = 0
        where r.relkind in ('r', 'p', 'f', 'm', 'v')
        union all
        select r.nsp, r.signature, r.kind || ' ' || r.signature, d.description
        from routine r
        join pg_catalog.pg_description d on d.classoid = 'pg_catalog.pg_proc'::regclass and d.objoid = r.procid and d.objsubid = 0
        union all
        select r.nsp, r.typname, r.kind || ' ' || pg_catalog.quote_ident(r.typname), d.description
        from datatype r
        join pg_catalog.pg_description d on d.classoid = 'pg_catalog.pg_type'::regclass and d.objoid = r.typid and d.objsubid = 0
        union all
        select r.nsp, r.typname, 'constraint ' || pg_catalog.quote_ident(k.conname) || ' on domain ' || pg_catalog.quote_ident(r.typname), d.description
        from datatype r
        join pg_catalog.pg_constraint k on k.contypid = r.typid
        join pg_catalog.pg_description d on d.classoid = 'pg_catalog.pg_constraint'::regclass and d.objoid = k.oid and d.objsubid = 0
        where r.typtype = 'd'
        union all
        select r.nsp, r.typname, 'column ' || pg_catalog.quote_ident(a.attname), d.description
        from datatype r
        join pg_catalog.pg_attribute a on a.attrelid = r.typrelid and a.attnum > 0 and not a.attisdropped
        join pg_catalog.pg_description d on d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = a.attrelid and d.objsubid = a.attnum
        where r.typtype = 'c'
        union all
        select r.nsp, s.stxname, 'statistics ' || pg_catalog.quote_ident(s.stxname), d.description
        from member r
        join pg_catalog.pg_statistic_ext s on s.oid = r.objid
        join pg_catalog.pg_description d on d.classoid = r.classid and d.objoid = r.objid and d.objsubid = 0
        where r.classid = 'pg_catalog.pg_statistic_ext'::regclass
    ) c
    join wanted r on r.nsp = c.nsp

    union all
    -- What differs from the rights that an object has when nobody says anything.
    -- MAINTAIN came with 17; what was granted before does not have it.
    select r.nsp, 'grant', r.parent, r.label || ' to ' || {grantee g.grantee}, g.privileges
        /*+ , jsonb_build_object('on', r.label, 'column', r.part, 'to', {grantee g.grantee}) +*/
    from (
        select r.nsp, r.nspowner, r.role, r.relname::text as parent, {relation kind} || ' ' || pg_catalog.quote_ident(r.relname) as label,
            null::text as part, r.relacl as acl,
            (case when r.relkind = 'S' then 's' else 'r' end)::"char" as class, r.relowner as owner
        from relation r where r.relacl is not null and r.relkind <> 'c'
        union all
        select r.nsp, r.nspowner, r.role, r.relname, 'column ' || pg_catalog.quote_ident(r.relname) || '.' || pg_catalog.quote_ident(a.attname),
            a.attname::text, a.attacl, 'c', r.relowner
        from relation r
        join pg_catalog.pg_attribute a on a.attrelid = r.relid and a.attacl is not null and a.attnum > 0 and not a.attisdropped
        union all
        select r.nsp, r.nspowner, r.role, r.signature, r.kind || ' ' || r.signature, null, r.proacl, 'f', r.proowner
        from routine r where r.proacl is not null
        union all
        select r.nsp, r.nspowner, r.role, r.typname, r.kind || ' ' || pg_catalog.quote_ident(r.typname), null, r.typacl, 'T', r.typowner
        from datatype r where r.typacl is not null
        union all
        select w.nsp, w.nspowner, w.role, '', 'schema', null, w.nspacl, 'n', w.nspowner
        from wanted w where w.nspacl is not null
    ) r
    cross join lateral (
        with now as (select g.grantee, {privileges} as privileges from aclexplode(r.acl) g
                where not (g.grantee = r.owner and g.privilege_type = 'MAINTAIN') group by g.grantee),
            usual as (select g.grantee, {privileges} as privileges from aclexplode(pg_catalog.acldefault(r.class, r.owner)) g
                where g.privilege_type <> 'MAINTAIN' group by g.grantee)
        select coalesce(now.grantee, usual.grantee) as grantee, coalesce(now.privileges, 'nothing') as privileges
        from now full join usual on usual.grantee = now.grantee
        where now.privileges is distinct from usual.privileges
    ) g
    where $3::bool or r.role is null or g.grantee <> r.role

    union all
    select r.nsp, 'default privileges', '', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
            when 'T' then 'types' else d.defaclobjtype::text end || case when d.defaclrole = r.nspowner then '' else ' of ' || {grantee d.defaclrole} end
            || ' to ' || {grantee g.grantee},
        {privileges}
        /*+ , jsonb_build_object('on', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
            when 'T' then 'types' end, 'of', case when d.defaclrole <> r.nspowner then {grantee d.defaclrole} end, 'to', {grantee g.grantee}) +*/
    from member r
    join pg_catalog.pg_default_acl d on d.oid = r.objid
    cross join lateral aclexplode(d.defaclacl) g
    where r.classid = 'pg_catalog.pg_default_acl'::regclass and ($3::bool or r.role is null or g.grantee <> r.role)
    group by r.nsp, r.nspowner, r.role, d.oid, d.defaclobjtype, d.defaclrole, g.grantee

    union all
    select r.nsp, 'owner', o.parent, o.name, {grantee o.owner} /*+ , null +*/
    from (
        select r.nsp, r.relname::text as parent, {relation kind} || ' ' || pg_catalog.quote_ident(r.relname) as name, r.relowner as owner
        from relation r where r.relkind <> 'c' and r.relowner <> r.nspowner
        union all
        select r.nsp, r.signature, r.kind || ' ' || r.signature, r.proowner from routine r where r.proowner <> r.nspowner
        union all
        select r.nsp, r.typname, r.kind || ' ' || pg_catalog.quote_ident(r.typname), r.typowner from datatype r where r.typowner <> r.nspowner
    ) o
    join wanted r on r.nsp = o.nsp
)
