package db

import (
	"context"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Sent is a statement on its way to the server.
type Sent struct {
	SQL     string
	Args    []any
	Foreign bool // it stands in a file or came from a user: it is not ours
	Alone   bool // an engine with several nodes is not sent it
}

// Tracer is shown every statement that goes out over a connection made with
// ParseConfig, just before it is sent: those of a pipeline together.
type Tracer func(conn *pgx.Conn, statements []Sent)

// Trace sets the tracer of connections that are made from now on. It is for tests,
// which look at what is sent; it is called before the first connection is made.
func Trace(t Tracer) { tracer.Tracer = t }

// tracer is what Trace set.
var tracer pgxTracer //nolint:gochecknoglobals // for tests only, see Trace

// pgxTracer is a Tracer as pgx wants it.
type pgxTracer struct{ Tracer }

type marksKey struct{}

// AsWritten marks a context: a statement that is sent with it, past a pipeline, stands
// in a file or came from a user.
func AsWritten(ctx context.Context) context.Context {
	if tracer.Tracer == nil {
		return ctx
	}
	return context.WithValue(ctx, marksKey{}, []traits{{foreign: true}})
}

// traced marks which statements of the pipeline are not ours.
func (p *Pipeline) traced(ctx context.Context, e Engine) context.Context {
	if tracer.Tracer == nil {
		return ctx
	}
	marks := make([]traits, 0, len(p.steps))
	for s := range p.to(e) {
		marks = append(marks, traits{s.foreign, s.block && s.inside == "", s.inside})
	}
	return context.WithValue(ctx, marksKey{}, marks)
}

// traits are what a pipeline knows about a statement.
type traits struct {
	foreign, alone bool
	inside         string
}

func sent(ctx context.Context, i int, sql string, args []any) Sent {
	marks, _ := ctx.Value(marksKey{}).([]traits)
	if i >= len(marks) {
		return Sent{SQL: sql, Args: args}
	}
	if inside := marks[i].inside; inside != "" {
		sql, args = inside, nil
	}
	return Sent{SQL: sql, Args: args, Foreign: marks[i].foreign, Alone: marks[i].alone}
}

// TraceQueryStart is called by pgx for a single statement.
func (t pgxTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t.Tracer(conn, []Sent{sent(ctx, 0, data.SQL, data.Args)})
	return ctx
}

// TraceQueryEnd is called by pgx and does nothing.
func (pgxTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart is called by pgx for a pipeline.
func (t pgxTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	all := make([]Sent, len(data.Batch.QueuedQueries))
	for i, q := range data.Batch.QueuedQueries {
		all[i] = sent(ctx, i, q.SQL, q.Arguments)
	}
	t.Tracer(conn, all)
	return ctx
}

// TraceBatchQuery is called by pgx and does nothing.
func (pgxTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd is called by pgx and does nothing.
func (pgxTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceCopyFromStart is called by pgx for CopyFrom.
func (t pgxTracer) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn,
	data pgx.TraceCopyFromStartData) context.Context {
	t.Tracer(conn, []Sent{{SQL: "copy " + data.TableName.Sanitize() + " from stdin"}})
	return ctx
}

// TraceCopyFromEnd is called by pgx and does nothing.
func (pgxTracer) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// CopyFrom sends a COPY ... FROM STDIN statement and what r holds, as it is.
func CopyFrom(ctx context.Context, conn *pgx.Conn, r io.Reader, sql string) (pgconn.CommandTag, error) {
	if tracer.Tracer != nil {
		tracer.Tracer(conn, []Sent{{SQL: sql}})
	}
	return conn.PgConn().CopyFrom(ctx, r, sql)
}

// CopyTo sends a COPY ... TO STDOUT statement and writes what comes back to w, as it is.
func CopyTo(ctx context.Context, conn *pgx.Conn, w io.Writer, sql string) (pgconn.CommandTag, error) {
	if tracer.Tracer != nil {
		tracer.Tracer(conn, []Sent{{SQL: sql}})
	}
	return conn.PgConn().CopyTo(ctx, w, sql)
}
