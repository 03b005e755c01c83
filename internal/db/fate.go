package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What became of a commit whose answer was lost.
var (
	// ErrNotCommitted says that the connection was lost and the transaction was rolled back.
	ErrNotCommitted = errors.New("nothing was changed")
	// ErrCommitUnknown says that nobody could be asked, or that the server was not done
	// with it yet: the commit may have taken place or may still do so.
	ErrCommitUnknown = errors.New("the answer to the commit was lost: it may have taken place")
)

const (
	// commitGrace is how long an answer to COMMIT is waited for when the context is gone.
	commitGrace = 10 * time.Second
	// fateTimeout bounds the search for what became of a commit: a server that restarts
	// is back by then.
	fateTimeout = 10 * time.Second
	fatePause   = 200 * time.Millisecond
)

// transactionKey is where a connection keeps the id of its transaction.
const transactionKey = "crmctl.transaction"

// follow adds the question for the id of the transaction, which Commit needs where its
// answer is lost.
func (p *Pipeline) follow() {
	p.Query(func(rows pgx.Rows) (err error) {
		p.transaction, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
		return err
	}, `select pg_catalog.pg_current_xact_id()::pg_catalog.text`)
}

// keepTransaction leaves the id of the transaction that p has begun with its connection.
func (p *Pipeline) keepTransaction(q Querier) {
	if conn, ok := q.(*pgx.Conn); ok && p.begins {
		conn.PgConn().CustomData()[transactionKey] = p.transaction
	}
}

// takeTransaction returns the id of the transaction under way, once; "" where it is not
// known.
func takeTransaction(conn *pgx.Conn) string {
	data := conn.PgConn().CustomData()
	id, _ := data[transactionKey].(string)
	delete(data, transactionKey)
	return id
}

// unhurried returns a context that outlives ctx by commitGrace: to give up the wait for
// a commit does not undo it.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(commitGrace):
			cancel()
		case <-out.Done():
		}
	})
	return out, func() {
		stop()
		cancel()
	}
}

// fateOf finds out, on a connection of its own, what became of a transaction whose
// connection was lost in its commit. It is nil where that took place, and otherwise
// wraps lost and ErrNotCommitted or ErrCommitUnknown.
func fateOf(ctx context.Context, cfg *pgx.ConnConfig, id string, lost error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fateTimeout)
	defer cancel()
	for {
		switch status, err := askFate(ctx, cfg, id); {
		case err == nil && status == "committed":
			return nil
		case err == nil && status == "aborted":
			return fmt.Errorf("%w: %w", ErrNotCommitted, lost)
		case err != nil && !Retryable(err), ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrCommitUnknown, lost)
		}
		select {
		case <-time.After(fatePause):
		case <-ctx.Done():
		}
	}
}

// askFate returns "committed", "aborted", "in progress", or "" for a transaction so old
// that the server has forgotten it.
func askFate(ctx context.Context, cfg *pgx.ConnConfig, id string) (string, error) {
	conn, err := Connect(ctx, cfg.Copy())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	status, err := Select(ctx, conn, pgx.RowTo[string],
		`select coalesce(pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8), '')`, id)
	if err != nil {
		return "", err
	}
	return status[0], nil
}
