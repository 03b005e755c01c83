package stats

// roomQuery counts connections as max_connections does: those of clients. Where the
// kind of a session is hidden, one with a user is a client.
const roomQuery = `
	select pg_catalog.count(*)::int, (pg_catalog.count(*) filter (where datname = pg_catalog.current_database()))::int,
		pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int
			- coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0),
		(select greatest(d.datconnlimit, 0) from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
	from pg_catalog.pg_stat_activity
	where datid is not null and (backend_type = 'client backend' or backend_type is null and usesysid is not null)`

// sessionsQuery finds all sessions of the database, and those elsewhere that are in the
// way of one of them. $1 is how many schemas of a session are told, $2 how much of its
// statement, $3 for how many that wait it is asked who is in their way.
//
// The lock table is read once. The schemas of locked relations are looked up one by one,
// by their ids: the planner would otherwise read the whole of pg_class. What a session
// waits for counts as locked. Whoever may not see a session sees its locks all the
// same, so these say who waits, and not the session's wait event.
const sessionsQuery = `
	with me as materialized (
		select d.oid, d.datname from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
	),
	locks as materialized (
		select l.pid, l.virtualtransaction, l.locktype, l.database, l.relation, l.mode, l.granted, l.waitstart,
			l.transactionid
		from pg_catalog.pg_locks l
	),
	touched as (
		select h.pid, h.virtualtransaction, (pg_catalog.array_agg(distinct c.nspname::text))[1:$1::int] as schemas
		from (
			select distinct l.pid, l.virtualtransaction, l.relation from locks l
			where l.locktype in ('relation', 'tuple', 'extend', 'page') and l.database = (select me.oid from me)
		) h
		cross join lateral (
			select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
			where c.oid = h.relation and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' offset 0
		) c
		group by h.pid, h.virtualtransaction
	),
	waits as materialized (
		select w.*, case when pg_catalog.row_number() over (order by w.waitstart nulls last, w.pid) <= $3::int
			then pg_catalog.pg_blocking_pids(w.pid) end as blockers
		from (
			select distinct on (l.pid) l.pid, l.waitstart, l.mode || case
				when l.locktype in ('relation', 'tuple', 'extend', 'page') then coalesce(' on ' || (
					select case when n.nspname = 'pg_catalog' then '' else n.nspname || '.' end || c.relname
					from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
					where c.oid = l.relation), '')
				when l.locktype in ('transactionid', 'virtualxid') then ' on the end of a transaction'
				else ' on ' || l.locktype end as wants
			from locks l where not l.granted and l.pid <> pg_catalog.pg_backend_pid()
			order by l.pid, l.waitstart nulls last
		) w
	)
	select a.pid, '', coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
		coalesce(pg_catalog.host(a.client_addr), ''),
		case when a.datid = me.oid then '' else coalesce(a.datname::text, '-') end,
		coalesce(a.backend_type, ''), coalesce(r.rolsuper, false),
		a.state is null and a.backend_type is null and a.backend_start is null as hidden,
		coalesce(a.state, ''),
		case when a.backend_start is null and a.backend_type is null then '' else
			pg_catalog.left(pg_catalog.regexp_replace(pg_catalog.btrim(coalesce(a.query, '')), '\s+', ' ', 'g'), $2::int) end,
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.backend_start), 0)::float8,
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.state_change), 0)::float8,
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start), 0)::float8,
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.query_start), 0)::float8,
		coalesce(a.wait_event_type, ''), coalesce(a.wait_event, ''), w.pid is not null, coalesce(w.wants, ''),
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - w.waitstart), 0)::float8, w.blockers,
		coalesce(extract(epoch from a.backend_start)::text, ''), coalesce(t.schemas, '{}')
	from pg_catalog.pg_stat_activity a
	cross join me
	left join touched t on t.pid = a.pid
	left join waits w on w.pid = a.pid
	left join pg_catalog.pg_roles r on r.oid = a.usesysid
	where (a.datid = me.oid or exists (select from waits b where a.pid = any (b.blockers)))
		and a.pid <> pg_catalog.pg_backend_pid()
	union all
	select 0, g.gid, g.owner::text, '', '', '', '', false as internal, false as
		hidden, 'prepared', '', 0::float8, 0::float8,
		coalesce(extract(epoch from pg_catalog.clock_timestamp() - g.prepared), 0)::float8, 0::float8, '', '', false, '',
		0::float8, null, '', coalesce(t.schemas, '{}')
	from pg_catalog.pg_prepared_xacts g
	cross join me
	left join locks x on x.pid is null and x.locktype = 'transactionid' and x.transactionid = g.transaction
	left join touched t on t.pid is null and t.virtualtransaction = x.virtualtransaction
	where g.database = me.datname
	order by 1, 2`

// preparedQuery finds the prepared transactions that hold a lock on what a session waits
// for. They have no process: a lock of theirs is known by the virtual transaction that it
// shares with the lock on their transaction's id.
const preparedQuery = `
	with locks as materialized (select l.* from pg_catalog.pg_locks l)
	select distinct w.pid, g.gid
	from locks w
	join locks h on h.pid is null and h.granted and h.locktype = w.locktype
		and (h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid::text, h.classid, h.objid, h.objsubid)
			is not distinct from
			(w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid::text, w.classid, w.objid, w.objsubid)
	join locks x on x.pid is null and x.locktype = 'transactionid' and x.virtualtransaction = h.virtualtransaction
	join pg_catalog.pg_prepared_xacts g on g.transaction = x.transactionid
	where not w.granted
	order by 1, 2`
