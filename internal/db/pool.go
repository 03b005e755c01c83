package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrPooled says that a pooler stands between, where a session of its own is needed.
var ErrPooled = errors.New("a connection pooler stands between")

// RefusePooler returns ErrPooled where the server process behind conn is not the one that
// the connection began with.
func RefusePooler(ctx context.Context, conn *pgx.Conn) error {
	var pid uint32
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	if pid != conn.PgConn().PID() {
		return ErrPooled
	}
	return nil
}

// ErrPoolClosed is returned by Take once the pool is closed.
var ErrPoolClosed = errors.New("the pool of connections is closed")

// Pool lends connections, each to one borrower at a time and for one purpose, such as a
// tenant. It opens no more than so many, and lends no more than a share of them for the same
// purpose: one that is slow, or much in demand, leaves the rest to the others. It may be used
// by several goroutines at once.
type Pool struct {
	connect func(context.Context) (*pgx.Conn, error)
	limits  PoolLimits
	room    chan struct{} // one for each connection that is lent

	mu     sync.Mutex
	shares map[string]*share
	idle   []idleConn // the one that was given back last comes last
	sweeps *time.Timer
	closed bool
}

// PoolLimits bound a Pool. All are needed.
type PoolLimits struct {
	Size  int // connections that are lent at once
	Share int // of these, for one purpose
	// IdleFor is how long a connection is kept that nobody wants.
	IdleFor time.Duration
	// RecycleAfter is how often a connection is lent before it is closed: a server process
	// keeps the catalog entries of each schema that it has visited.
	RecycleAfter int
}

// share are those who have a connection for a purpose, or wait for one.
type share struct {
	room  chan struct{}
	users int
}

type idleConn struct {
	conn    *pgx.Conn
	purpose string
	lent    int
	since   time.Time
}

// Lent is a connection that was lent. It is given back once.
type Lent struct {
	Conn *pgx.Conn
	// Kept tells that it was open before, and may have been lost without anybody's notice.
	Kept bool

	pool    *Pool
	purpose string
	lent    int
}

// WaitError says that no connection became free in time.
type WaitError struct {
	Purpose string
	Limit   int
	Share   bool // all that are for this purpose are lent, otherwise all that there are
	Err     error
}

// Error says what was waited for.
func (e *WaitError) Error() string {
	if e.Share {
		return fmt.Sprintf("all %d connections that %s may have are in use: %v", e.Limit, e.Purpose, e.Err)
	}
	return fmt.Sprintf("all %d connections are in use: %v", e.Limit, e.Err)
}

// Unwrap returns why the wait ended.
func (e *WaitError) Unwrap() error { return e.Err }

// NewPool returns a pool, which opens nothing before it is asked.
func NewPool(connect func(context.Context) (*pgx.Conn, error), limits PoolLimits) *Pool {
	return &Pool{connect: connect, limits: limits, room: make(chan struct{}, limits.Size), shares: map[string]*share{}}
}

// Take lends a connection, and waits until one is free. The error is a *WaitError where ctx
// ends first.
func (p *Pool) Take(ctx context.Context, purpose string) (*Lent, error) {
	s := p.join(purpose)
	// The share comes first: who waits for it keeps no connection from others.
	if err := enter(ctx, s.room); err != nil {
		p.leave(purpose)
		return nil, &WaitError{Purpose: purpose, Limit: cap(s.room), Share: true, Err: err}
	}
	if err := enter(ctx, p.room); err != nil {
		<-s.room
		p.leave(purpose)
		return nil, &WaitError{Purpose: purpose, Limit: cap(p.room), Err: err}
	}
	l, err := p.lend(ctx, purpose)
	if err != nil {
		p.free(purpose)
		return nil, err
	}
	return l, nil
}

// enter takes a place in a room, and waits where there is none.
func enter(ctx context.Context, room chan struct{}) error {
	select {
	case room <- struct{}{}:
		return nil
	default:
	}
	select {
	case room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Pool) join(purpose string) *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[purpose]
	if s == nil {
		s = &share{room: make(chan struct{}, p.limits.Share)}
		p.shares[purpose] = s
	}
	s.users++
	return s
}

func (p *Pool) leave(purpose string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[purpose]
	if s.users--; s.users == 0 {
		delete(p.shares, purpose)
	}
}

// free ends what Take has waited for.
func (p *Pool) free(purpose string) {
	p.mu.Lock()
	s := p.shares[purpose]
	p.mu.Unlock()
	<-p.room
	<-s.room
	p.leave(purpose)
}

// lend returns a connection that is open, or opens one.
func (p *Pool) lend(ctx context.Context, purpose string) (*Lent, error) {
	for {
		kept, ok, err := p.pick(purpose)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if kept.purpose != purpose {
			// What was done for one purpose may have left something in the session.
			if _, err := kept.conn.Exec(ctx, "discard all"); err != nil {
				Retire(ctx, kept.conn)
				if ctx.Err() != nil {
					return nil, err
				}
				continue
			}
		}
		return &Lent{Conn: kept.conn, Kept: true, pool: p, purpose: purpose, lent: kept.lent}, nil
	}
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Lent{Conn: conn, pool: p, purpose: purpose}, nil
}

// pick takes an idle connection: one that served the same purpose last, or else the one that
// was used last, so that those which are not needed grow old.
func (p *Pool) pick(purpose string) (idleConn, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return idleConn{}, false, ErrPoolClosed
	}
	at := len(p.idle) - 1
	if at < 0 {
		return idleConn{}, false, nil
	}
	for i, c := range slices.Backward(p.idle) {
		if c.purpose == purpose {
			at = i
			break
		}
	}
	picked := p.idle[at]
	p.idle = slices.Delete(p.idle, at, at+1)
	return picked, true, nil
}

// Give gives the connection back. One that is closed, or in a transaction, serves nobody
// any more.
func (l *Lent) Give(ctx context.Context) {
	p := l.pool
	defer p.free(l.purpose)
	if l.Conn.IsClosed() {
		return
	}
	l.lent++
	if !idle(l.Conn) || l.lent >= p.limits.RecycleAfter || !p.keep(l) {
		Retire(ctx, l.Conn)
	}
}

// keep puts a connection among those that are idle, unless the pool is closed.
func (p *Pool) keep(l *Lent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.idle = append(p.idle, idleConn{conn: l.Conn, purpose: l.purpose, lent: l.lent, since: time.Now()})
	if p.sweeps == nil {
		p.sweeps = time.AfterFunc(p.limits.IdleFor, p.sweep)
	}
	return true
}

// sweep closes the connections that were idle for too long.
func (p *Pool) sweep() {
	p.mu.Lock()
	var old []*pgx.Conn
	next := time.Duration(-1)
	p.idle = slices.DeleteFunc(p.idle, func(c idleConn) bool {
		left := p.limits.IdleFor - time.Since(c.since)
		if left <= 0 {
			old = append(old, c.conn)
			return true
		}
		if next < 0 || left < next {
			next = left
		}
		return false
	})
	p.sweeps = nil
	if next >= 0 && !p.closed {
		p.sweeps = time.AfterFunc(next, p.sweep)
	}
	p.mu.Unlock()
	for _, conn := range old {
		Retire(context.Background(), conn)
	}
}

// Close closes the connections that are idle, and each of the others when it is given back.
func (p *Pool) Close(ctx context.Context) {
	p.mu.Lock()
	closing := p.idle
	p.idle, p.closed = nil, true
	if p.sweeps != nil {
		p.sweeps.Stop()
	}
	p.mu.Unlock()
	for _, c := range closing {
		Retire(ctx, c.conn)
	}
}
