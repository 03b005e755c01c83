package db

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// Engine is what a server does with the schemas of tenants: PostgreSQL, the zero Engine,
// keeps them, and Citus spreads them over the nodes of a cluster. All that differs for it
// is asked of an Engine, or is a statement of a Pipeline that PostgreSQL is not sent.
type Engine struct {
	// Citus is the version of the extension, "13.2-1"; "" is PostgreSQL.
	Citus string
	// NoBlocks tells that not everybody may use PL/pgSQL here, or that the server's log is to
	// have each statement that changes a schema or a role: it has none of those in a block.
	NoBlocks bool
}

// noBlocks is what EngineSQL answers of a PostgreSQL that is to be sent no blocks.
const noBlocks = "without blocks"

// EngineSQL is an expression for whoever reads the catalog before anything else is done: its
// text is for Recognize. So it takes no round trip to find out.
const EngineSQL = `coalesce((select e.extversion from pg_catalog.pg_extension e
	where e.extname operator(pg_catalog.=) 'citus'), case when exists (select from pg_catalog.pg_language l
		where l.lanname operator(pg_catalog.=) 'plpgsql'
			and pg_catalog.has_language_privilege('public', l.oid, 'usage'))
		and pg_catalog.current_setting('log_statement') operator(pg_catalog.=) any (array['none', 'all']::pg_catalog.text[])
		then '' else '` + noBlocks + `' end)`

// Distributed reports whether schemas stand on several nodes.
func (e Engine) Distributed() bool { return e.Citus != "" }

// Blocks reports whether statements of ours may stand in a DO block: any role can run one, what
// it does reaches all nodes, and nobody misses them in the server's log.
func (e Engine) Blocks() bool { return !e.Distributed() && !e.NoBlocks }

// String returns "PostgreSQL" or "Citus 13.2-1".
func (e Engine) String() string {
	if e.Citus == "" {
		return "PostgreSQL"
	}
	return "Citus " + e.Citus
}

// WorkerError says that a connection leads to a node that holds tenants, and not to the
// coordinator. Locks are the node's own, so nothing may be done there.
type WorkerError struct {
	Coordinator string // "host:port", "" where the node does not know
}

// Error says which node is wanted.
func (e *WorkerError) Error() string {
	return "this is a worker of a Citus cluster, and its coordinator is wanted"
}

// engineCell is shared by all connections that are made from one configuration.
type engineCell struct{ engine atomic.Pointer[Engine] }

// EngineOf returns the engine behind a connection, as Recognize found it.
func EngineOf(q Querier) Engine {
	if w := wireOf(q); w != nil && w.cell != nil {
		if e := w.cell.engine.Load(); e != nil {
			return *e
		}
	}
	return Engine{}
}

// ShareEngine makes what is found out about connections of one configuration count for
// those of another, which leads to the same server another way.
func ShareEngine(to, from *pgx.ConnConfig) { to.DialFunc = from.DialFunc }

// Recognize keeps what EngineSQL answered, for conn and every connection made from a copy
// of its configuration. On PostgreSQL it asks nothing more. The error is a *WorkerError on a
// node that must not be worked on.
func Recognize(ctx context.Context, conn Querier, answer string) error {
	if answer == "" {
		return nil
	}
	engine := &Engine{Citus: answer}
	if answer == noBlocks {
		engine = &Engine{NoBlocks: true}
	}
	if w := wireOf(conn); w != nil && w.cell != nil {
		w.cell.engine.Store(engine)
	}
	if !engine.Distributed() {
		return nil
	}
	type place struct {
		Coordinator bool
		Host        *string
		Port        *int32
	}
	found, err := Select(ctx, conn, pgx.RowToStructByName[place], `
		select citus_is_coordinator() as coordinator, n.nodename::text as host, n.nodeport as port
		from (select) one left join pg_dist_node n on n.groupid = 0 and n.noderole = 'primary'`)
	if err != nil {
		return fmt.Errorf("look which node of the cluster this is: %w", err)
	}
	if found[0].Coordinator {
		return nil
	}
	worker := &WorkerError{}
	if n := found[0]; n.Host != nil && n.Port != nil {
		worker.Coordinator = net.JoinHostPort(*n.Host, strconv.Itoa(int(*n.Port)))
	}
	return worker
}

// distributed adds a statement that only an engine with several nodes is sent.
func (p *Pipeline) distributed(sql string) {
	p.add(step{statement: Statement{SQL: sql}, distributed: true}, nil)
}

// LockToRead adds that tables, quoted, keep their form until the transaction ends. A cluster
// would lock them on every node, and fail with any of them: every change of a table begins on
// the node where the session is, so that one is enough.
func (p *Pipeline) LockToRead(tables ...string) {
	p.distributed("set local citus.enable_ddl_propagation = off")
	p.Apart("lock table " + strings.Join(tables, ", ") + " in access share mode")
	p.distributed("set local citus.enable_ddl_propagation = default")
}

// CreateScratch adds the making of a schema that is taken back by the end of the
// transaction: it stays on the node where the transaction is.
func (p *Pipeline) CreateScratch(name string) {
	p.distributed("set local citus.enable_ddl_propagation = off")
	p.Exec("create schema " + Quoted(name))
}
