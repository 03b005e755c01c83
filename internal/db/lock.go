package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The lock of a tenant is its row in the registry, locked for no key update: only
// who may update the registry can take it, the server frees it with the
// transaction, whatever becomes of the client, foreign keys to the tenant go on,
// and nobody who only reads ever waits for it.

// Row is the row of a tenant in a registry. The zero Row is none.
type Row struct {
	Table string // qualified and quoted, with the columns id and schema_name
	ID    string // uuid
}

// ErrBusy says that another session holds the lock of a tenant: some other run is
// at work on it right now. It is worth another try.
var ErrBusy = errors.New("another run is at work on this tenant")

// ErrNoTenant says that the registry has no tenant of that id and schema, any more.
var ErrNoTenant = errors.New("the registry has no such tenant any more")

// BusyError says who holds the lock of a tenant. It is ErrBusy for errors.Is.
type BusyError struct {
	Tenant   Row
	Schema   Schema    // that the tenant was to have, if not zero
	Blockers []Blocker // none where they had gone when somebody looked
	Err      error     // the server's, where the lock was waited for
}

// Is makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Unwrap returns the server's error, if there is one.
func (e *BusyError) Unwrap() error { return e.Err }

// Ours reports whether all that is known to be in the way is work of this program.
func (e *BusyError) Ours() bool {
	for _, b := range e.Blockers {
		if !b.Ours {
			return false
		}
	}
	return len(e.Blockers) > 0
}

// Error names the session in the way.
func (e *BusyError) Error() string {
	switch {
	case len(e.Blockers) == 0:
		return ErrBusy.Error()
	case e.Ours():
		return ErrBusy.Error() + ": " + e.Blockers[0].Describe()
	}
	return "the tenant is locked by " + e.Blockers[0].Describe()
}

// BlockedError is a lock that was not granted in time, with the sessions that are
// likely to have had it.
type BlockedError struct {
	Blockers []Blocker
	Err      error
}

// Unwrap returns the server's error.
func (e *BlockedError) Unwrap() error { return e.Err }

// Error names the session in the way.
func (e *BlockedError) Error() string {
	return e.Err.Error() + "; in the way: " + e.Blockers[0].Describe()
}

// Blocker is a session that is in the way of another.
type Blocker struct {
	PID         int32         `json:"pid"` // 0 for a prepared transaction
	Application string        `json:"application"`
	User        string        `json:"user"`
	State       string        `json:"state"` // of pg_stat_activity: "idle in transaction"
	Since       time.Duration `json:"-"`     // how long its transaction has lasted
	Query       string        `json:"query"` // its latest, at most 200 characters
	// Ours tells that it is a session of this program, as far as its application
	// name shows.
	Ours bool `json:"-"`
}

// String returns `pid 9120 (role "crm", app "report", idle in transaction 14m00s)`.
func (b Blocker) String() string {
	var about []string
	if b.User != "" {
		about = append(about, fmt.Sprintf("role %q", b.User))
	}
	if b.Application != "" {
		about = append(about, fmt.Sprintf("app %q", b.Application))
	}
	state := b.State
	if b.Since >= time.Second {
		state = strings.TrimSpace(state + " " + shortDuration(b.Since))
	}
	if state != "" {
		about = append(about, state)
	}
	who := fmt.Sprintf("pid %d", b.PID)
	if b.PID == 0 {
		who = "a prepared transaction"
	}
	if len(about) == 0 {
		return who
	}
	return who + " (" + strings.Join(about, ", ") + ")"
}

// Describe returns String and the session's query.
func (b Blocker) Describe() string {
	const most = 80
	query := []rune(strings.Join(strings.Fields(b.Query), " "))
	switch {
	case len(query) == 0:
		return b.String()
	case len(query) > most:
		query = append(query[:most], '…')
	}
	return b.String() + ": " + string(query)
}

func shortDuration(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return d.String()
}

// LockTenant adds the lock of a tenant, which the transaction then holds to its end.
// The row must have that schema, unless s is zero. Without wait ErrBusy says at once
// that somebody else has it (*BusyError); with wait that is said when lock_timeout
// is over. ErrNoTenant says that there is no such row. After either nothing behind
// it in the pipeline has run.
//
// The statements behind it begin when the lock is held, so they see what its last
// holder has committed.
func (p *Pipeline) LockTenant(t Row, s Schema, wait bool) {
	row := `select from ` + t.Table + ` where id operator(pg_catalog.=) $1::pg_catalog.uuid
			and ($2::pg_catalog.text operator(pg_catalog.=) '' or schema_name operator(pg_catalog.=) $2::pg_catalog.text)`
	// 0 divides by zero and 2 is out of range: two errors to tell apart.
	sql := `select 1 operator(pg_catalog./) s.v, 2147483647 operator(pg_catalog.*) s.v from (select case
			when (select pg_catalog.count(*) from (` + row + ` for no key update`
	if wait {
		sql += `) l) operator(pg_catalog.>) 0 then 1 else 2 end as v offset 0) s`
	} else {
		sql += ` skip locked) l) operator(pg_catalog.>) 0 then 1 when exists (` + row + `) then 0 else 2 end as v offset 0) s`
	}
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		switch SQLState(rows.Err()) {
		case CodeDivisionByZero:
			return &BusyError{Tenant: t, Schema: s}
		case codeOutOfRange:
			return ErrNoTenant
		case CodeLockNotAvailable:
			return &BusyError{Tenant: t, Schema: s, Err: rows.Err()}
		}
		return rows.Err()
	}, sql, t.ID, s.name)
}

// Claim adds a statement that puts a tenant into the registry. Of two that claim one
// name the second waits in the unique index for the end of the first; where that takes
// longer than lock_timeout the error is ErrBusy.
func (p *Pipeline) Claim(sql string, args ...any) {
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if SQLState(rows.Err()) == CodeLockNotAvailable {
			return &BusyError{Err: rows.Err()}
		}
		return rows.Err()
	}, sql, args...)
}

// tryTenant is LockTenant without wait, for work that is done in a whole fleet: it costs
// half as much, and a row that is gone looks like one that is locked until NameBlockers
// has looked.
func (p *Pipeline) tryTenant(t Row, s Schema) {
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		switch SQLState(rows.Err()) {
		case CodeDivisionByZero:
			return &BusyError{Tenant: t, Schema: s}
		case CodeLockNotAvailable:
			return &BusyError{Tenant: t, Schema: s, Err: rows.Err()}
		}
		return rows.Err()
	}, `select 1 operator(pg_catalog./) pg_catalog.count(*) from (select from `+t.Table+
		` where id operator(pg_catalog.=) $1::pg_catalog.uuid
		and schema_name operator(pg_catalog.=) $2::pg_catalog.text for no key update skip locked) l`, t.ID, s.name)
}

// lookTimeout bounds the search for whoever is in the way: an answer without a name
// is better than none.
const lookTimeout = 3 * time.Second

// NameBlockers completes err with the sessions in the way where it is about a lock:
// that of a tenant (ErrBusy), or any other in the schema s that was not granted in
// time. conn must have rolled back; it costs a round trip or two then, and nothing
// otherwise. Where nobody is found any more err comes back as it is, or as ErrNoTenant
// where there is no tenant to be locked.
func NameBlockers(ctx context.Context, conn *pgx.Conn, s Schema, err error) error {
	var busy *BusyError
	tenant := errors.As(err, &busy) && len(busy.Blockers) == 0 && busy.Tenant != (Row{})
	var blocked *BlockedError
	other := busy == nil && SQLState(err) == CodeLockNotAvailable && !s.IsZero() && !errors.As(err, &blocked)
	if !tenant && !other || conn.IsClosed() || !idle(conn) || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if tenant {
		if found, lookErr := Holders(ctx, conn, busy.Tenant); lookErr == nil {
			busy.Blockers = found
		}
		if len(busy.Blockers) == 0 && !there(ctx, conn, busy) {
			return ErrNoTenant
		}
		return err
	}
	found, lookErr := lockers(ctx, conn, s)
	if lookErr != nil || len(found) == 0 {
		return err
	}
	return &BlockedError{Blockers: found, Err: err}
}

// there reports whether the registry has the tenant, as far as it tells.
func there(ctx context.Context, q Querier, e *BusyError) bool {
	found, err := Select(ctx, q, pgx.RowTo[bool], `select exists (select from `+e.Tenant.Table+
		` where id = $1::uuid and ($2 = '' or schema_name = $2))`,
		e.Tenant.ID, e.Schema.name)
	return err != nil || found[0]
}

// blockerColumns describe a session a of pg_stat_activity, or the prepared
// transaction g of pg_prepared_xacts.
const blockerColumns = `coalesce(a.pid, 0), coalesce(a.application_name, ''), coalesce(a.usename::text, g.owner::text,
	''),
	case when g.gid is not null then 'prepared as ' || g.gid else coalesce(a.state,
		case a.backend_type when 'client backend' then '' else a.backend_type end, '') end,
	coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, g.prepared)), 0)::float8,
		left(coalesce(a.query, ''), 200),
	coalesce(a.application_name in ('` + applicationName + `', current_setting('application_name')), false)`

func scanBlocker(rows pgx.CollectableRow, first ...any) (b Blocker, err error) {
	var seconds float64
	err = rows.Scan(append(first, &b.PID, &b.Application, &b.User, &b.State, &seconds, &b.Query, &b.Ours)...)
	b.Since = time.Duration(seconds * float64(time.Second))
	return b, err
}

// rowHolders finds the transactions that hold rows of a registry's table, whose ids are
// $1: the row's xmax is the holder's transaction, or stands for several (a
// multixact), of which those with only a key share are in nobody's way. Which of the
// two it is no query can tell, so both are looked for: a holder has its transaction
// in pg_locks, and with it a lock on the table. Who has locked the table itself is
// a holder of every row.
func rowHolders(table string) string {
	return `
	locks as materialized (select * from pg_locks where granted),
	home as (
		select c.oid, mxid_age(c.relminmxid) as oldest, (select d.oid from pg_database d
			where d.datname = current_database()) as database
		from pg_class c where c.oid = ` + Literal(table) + `::regclass
	),
	asked as (select t.id, t.xmax as xid from ` + table + ` t where t.id = any ($1::uuid[])),
	lockers as (
		select id, xid from asked
		union
		select asked.id, m.xid from asked cross join home
		cross join lateral pg_get_multixact_members(case when mxid_age(asked.xid) between 1 and home.oldest then asked.xid
			end) m
		where m.mode <> 'keysh'
	),
	holders as (
		select k.id, x.pid, x.transactionid from lockers k
		join locks x on x.locktype = 'transactionid' and x.transactionid = k.xid
		where exists (select from locks r cross join home where r.locktype = 'relation' and r.relation = home.oid
			and r.database = home.database and r.virtualtransaction = x.virtualtransaction)
		union
		select asked.id, r.pid, null from asked cross join home
		join locks r on r.locktype = 'relation' and r.relation = home.oid and r.database = home.database
			and r.mode in ('ExclusiveLock', 'AccessExclusiveLock')
	)`
}

// likelyHolders adds, where nobody is found that way, who may be it: the lock of a
// savepoint that was released belongs to its transaction, but nothing tells to which.
// It is one that has begun before and has a lock on the table.
const likelyHolders = `
	next as (select pg_snapshot_xmax(pg_current_snapshot())::text::numeric as xid),
	released as (
		select k.id, k.xid from lockers k cross join next
		cross join lateral (select k.xid::text::numeric + floor(next.xid / 4294967296) * 4294967296 as xid) now
		where not exists (select from holders h where h.id = k.id) and now.xid >= 3
		  and case when age(k.xid) between 1 and 2000000000 then pg_xact_status(now.xid::text::xid8) = 'in progress' else
		  	false end
	),
	likely as (
		select r.id, x.pid, x.transactionid from released r cross join home
		join locks x on x.locktype = 'transactionid' and age(x.transactionid) >= age(r.xid)
		where exists (select from locks l where l.locktype = 'relation' and l.relation = home.oid
			and l.database = home.database and l.virtualtransaction = x.virtualtransaction)
	)`

// Holders returns the sessions that hold the lock of a tenant, the oldest first.
func Holders(ctx context.Context, q Querier, t Row) ([]Blocker, error) {
	return Select(ctx, q, func(r pgx.CollectableRow) (Blocker, error) { return scanBlocker(r) }, `
		with `+rowHolders(t.Table)+`,`+likelyHolders+`
		select `+blockerColumns+` from (
			select distinct on (pid, case when pid is null then transactionid::text end) pid, transactionid
			from (select * from holders union all select * from likely) every
		) h
		left join pg_stat_activity a on a.pid = h.pid
		left join pg_prepared_xacts g on h.pid is null and g.transaction = h.transactionid
		where h.pid is distinct from pg_backend_pid()
		order by coalesce(a.xact_start, g.prepared)`, []string{t.ID})
}

// lockers returns the sessions that hold a lock on anything in a schema, the oldest
// first. A prepared transaction has no process: its locks are known by the virtual
// transaction that they share with the lock on its id, which is -1 and the id only after a
// restart.
func lockers(ctx context.Context, q Querier, s Schema) ([]Blocker, error) {
	return Select(ctx, q, func(r pgx.CollectableRow) (Blocker, error) { return scanBlocker(r) }, `
		with locks as materialized (select * from pg_locks where granted),
		held as (
			select distinct l.pid, l.virtualtransaction from locks l
			join pg_class c on c.oid = l.relation
			where l.locktype = 'relation' and c.relnamespace = (select n.oid from pg_namespace n where n.nspname = $1)
			  and l.database = (select d.oid from pg_database d where d.datname = current_database())
		)
		select `+blockerColumns+` from held h
		left join pg_stat_activity a on a.pid = h.pid
		left join locks x on h.pid is null and x.pid is null and x.locktype = 'transactionid'
			and x.virtualtransaction = h.virtualtransaction
		left join pg_prepared_xacts g on g.transaction = x.transactionid
		where h.pid is distinct from pg_backend_pid()
		order by coalesce(a.xact_start, g.prepared)`, s.name)
}

// Waiting returns what sessions of ours wait for. table is that of the registry. They are known by the tenant whose
// lock they hold (the way behind a pooler too, where a client does not know its
// server process), or by their process: ids and pids have the same length, and an
// entry of pids that is not 0 counts. The result is by the tenant's id.
func Waiting(ctx context.Context, q Querier, table string, ids []string, pids []int32) (map[string][]Blocker, error) {
	found := map[string][]Blocker{}
	_, err := Select(ctx, q, func(r pgx.CollectableRow) (Blocker, error) {
		var id string
		b, err := scanBlocker(r, &id)
		found[id] = append(found[id], b)
		return b, err
	}, `
		with `+rowHolders(table)+`,
		ours as (
			select h.id, h.pid from holders h where h.pid is not null
			union select * from unnest($1::uuid[], $2::int4[]) as t (id, pid) where t.pid <> 0
		)
		select o.id::text, `+blockerColumns+` from (select distinct o.id, b.pid from ours o cross
			join lateral unnest(pg_blocking_pids(o.pid)) b (pid)) o
		left join pg_stat_activity a on a.pid = o.pid
		left join pg_prepared_xacts g on false
		order by a.xact_start`, ids, pids)
	return found, err
}
