package db

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier is what runs SQL: a *pgx.Conn, a pgx.Tx or the transaction InTx
// hands on. The caller owns the transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

// Pipeline is a list of single statements that travel to the server together
// and cost one round trip. The server runs them in order and skips the rest
// after the first that fails; outside a transaction block they are one implicit
// transaction. The zero Pipeline is empty and ready for use.
//
// Each statement is a message of its own, never glued to others in one string:
// an error keeps its statement, and a distributed engine refuses glued ones.
type Pipeline struct {
	steps []step

	begins      bool   // a transaction
	transaction string // its id, where Locals.Follow asks for it
	limits      bool   // the run of each statement
	limit       time.Duration
}

type step struct {
	statement   Statement
	sent        string // "" = the statement's text
	args        []any
	foreign     bool   // stands in a file or came from a user
	distributed bool   // only for an engine with several nodes
	alone       bool   // only for an engine with a single node
	block       bool   // only for an engine that runs blocks
	spelled     bool   // only for an engine that runs none
	inside      string // the statement that a block runs, "" where that is in its own text
	read        func(pgx.Rows) error
}

// Exec adds a statement whose result does not matter.
func (p *Pipeline) Exec(sql string, args ...any) {
	p.add(step{statement: Statement{SQL: sql}}, args)
}

// Script adds statements that take no parameters, and that stand in files or were
// made of what files have made: their names are found on the path of the transaction.
func (p *Pipeline) Script(script []Statement) {
	for _, s := range script {
		if !s.Apart {
			p.add(step{statement: s, foreign: true}, nil)
			continue
		}
		p.add(step{statement: s, foreign: true, block: true, sent: inBlock(s.SQL)}, nil)
		p.add(step{statement: s, foreign: true, spelled: true}, nil)
	}
}

// Query adds a query; read gets its rows, or their error, and need not
// close them.
func (p *Pipeline) Query(read func(pgx.Rows) error, sql string, args ...any) {
	p.add(step{statement: Statement{SQL: sql}, read: read}, args)
}

// QueryStatement adds a statement that stands in a file or came from a user, and reads
// its rows as Query does.
func (p *Pipeline) QueryStatement(s Statement, read func(pgx.Rows) error) {
	p.add(step{statement: s, read: read, foreign: true}, nil)
}

// QueryRow adds a query for at most one row, which is scanned into dest. A
// missing row is pgx.ErrNoRows.
func (p *Pipeline) QueryRow(dest []any, sql string, args ...any) {
	p.Query(func(rows pgx.Rows) error {
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				return err
			}
			return pgx.ErrNoRows
		}
		return rows.Scan(dest...)
	}, sql, args...)
}

// Len returns the number of statements.
func (p *Pipeline) Len() int { return len(p.steps) }

func (p *Pipeline) add(s step, args []any) {
	s.args = args
	p.steps = append(p.steps, s)
}

// to returns the steps that an engine is sent.
func (p *Pipeline) to(e Engine) iter.Seq[step] {
	return func(yield func(step) bool) {
		for _, s := range p.steps {
			many, blocks := e.Distributed(), e.Blocks()
			if s.distributed && !many || s.alone && many || s.block && !blocks || s.spelled && blocks {
				continue
			}
			if !yield(s) {
				return
			}
		}
	}
}

// Run sends the pipeline and reads every result. The error is a
// *StatementError. All statements have run by the time a read function refuses
// a result, so a check must not share a pipeline with the commit it guards.
func (p *Pipeline) Run(ctx context.Context, q Querier) error {
	if len(p.steps) == 0 {
		return nil
	}
	engine := EngineOf(q)
	batch := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, len(p.steps))}
	for s := range p.to(engine) {
		batch.Queue(cmp.Or(s.sent, s.statement.SQL), s.args...)
	}
	w := wireOf(q)
	w.pipeline(p)
	results := q.SendBatch(p.traced(ctx, engine), batch)
	var failed error
	for s := range p.to(engine) {
		if err := s.readFrom(results); err != nil {
			failed = &StatementError{Statement: s.statement, Err: err}
			break
		}
	}
	if err := results.Close(); err != nil && failed == nil {
		failed = &StatementError{Statement: p.steps[len(p.steps)-1].statement, Err: err}
	}
	if failed == nil {
		p.keepTransaction(q)
	}
	w.done(p.limits && idle(q))
	return failed
}

func (s step) readFrom(results pgx.BatchResults) error {
	if s.read == nil {
		_, err := results.Exec()
		return err
	}
	// A failed query's rows carry its error, which read meets and may explain.
	rows, _ := results.Query()
	defer rows.Close()
	if err := s.read(rows); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}
