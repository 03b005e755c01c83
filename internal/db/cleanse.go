package db

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// cleansing takes everything out of a session that a tenant's statements may have left
// there, in the words that a transaction takes (DISCARD ALL is none of them). Checks that
// wait for the end of the transaction come first: a trigger of theirs may leave more.
var cleansing = []string{
	"set constraints all immediate",
	"close all",
	"deallocate all",
	"unlisten *",
	"select pg_catalog.pg_advisory_unlock_all()",
	"discard temp",
	"discard sequences",
	"reset session authorization",
	"reset role",
	"reset all",
}

// mark is where a transaction goes back to before its session is cleansed.
const mark = "crmctl_session"

// Traces reports whether a script may leave something in the session.
func Traces(script []Statement) bool {
	return slices.ContainsFunc(script, func(s Statement) bool { return s.Traces })
}

// Mark adds a point in the transaction for Undo to go back to.
func (p *Pipeline) Mark() { p.Exec("savepoint " + mark) }

// Undo ends a transaction that has a Mark, after a statement of a tenant's has failed: not
// everything that such a statement leaves in the session is rolled back.
func Undo(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if conn.IsClosed() {
		return nil
	}
	var p Pipeline
	p.Exec("rollback to savepoint " + mark)
	p.Cleanse()
	// Where the transaction had not come to its mark there is nothing to undo.
	_ = p.Run(ctx, conn)
	return Rollback(ctx, conn)
}

// Cleanse adds statements that take out of the session what this transaction may have
// left in it. They come last before the commit, since they end the transaction's own
// settings too. Behind a pooler the session serves others afterwards; where none stands
// between, Retire is surer.
func (p *Pipeline) Cleanse() {
	for _, sql := range cleansing {
		p.Exec(sql)
	}
}

// Retire closes a connection whose session must serve nobody else: what a session keeps
// in its memory no statement takes out.
func Retire(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // closed in any case; the server cleans up behind it
}
