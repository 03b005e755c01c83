package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience says how long a server may be silent that has taken what was sent to it, as
// one does whose processes are stopped, or a network that swallows packets behind a
// proxy. TCP itself notices only a peer that acknowledges nothing.
type patience struct {
	// after so long, and then every so often, the server is asked on another connection
	// whether it answers at all; so many times it may not.
	after, every, answer time.Duration
	failures             int
	// grace is added to the time that the server's own limits give a statement.
	grace time.Duration
}

func usualPatience() patience {
	return patience{after: time.Minute, every: 10 * time.Second, answer: 5 * time.Second, failures: 3,
		grace: 30 * time.Second}
}

// silentError says that a server was given up. It is a lost connection.
type silentError struct {
	after  time.Duration
	nobody bool // nobody answered on another connection either
}

// Error says how long nothing came.
func (e *silentError) Error() string {
	text := fmt.Sprintf("the server took what was sent and did not answer for %s", e.after.Round(time.Second))
	if e.nobody {
		return text + ", nor on another connection"
	}
	return text + ", longer than it lets a statement run"
}

// Timeout and Temporary make it a net.Error. After one that is no timeout pgx would lose
// what it says, and report a closed connection.
func (e *silentError) Timeout() bool   { return true }
func (e *silentError) Temporary() bool { return false }

// Is makes a server of which nobody answers one that is not reachable.
func (e *silentError) Is(target error) bool { return e.nobody && target == ErrUnreachable }

// wire is a connection that knows what a silent server is, and whose peer is heard to
// the end: a server that ends a session says why before it closes, and only what is sent
// afterwards fails. So that failure is kept back, and the next read has the reason, or
// fails itself.
type wire struct {
	net.Conn
	patience
	cell   *engineCell
	redial func(ctx context.Context) (net.Conn, error)

	mu          sync.Mutex
	read, write time.Time     // deadlines as pgx has set them
	heard, sent time.Time     // when something last came, and was sent
	limit       time.Duration // of the server, for a statement; 0 is none
	statements  int           // whose answers may come together
	busy        bool          // a pipeline is under way
	gone        error         // why it was given up, for every read after that
	asked       time.Time     // when another connection was last tried
	failed      int           // times in a row that it was in vain
}

// SetDeadline is pgx's.
func (c *wire) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read, c.write = t, t
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is pgx's.
func (c *wire) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is pgx's.
func (c *wire) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	return c.Conn.SetWriteDeadline(t)
}

// Read waits as long as there is a reason to.
func (c *wire) Read(b []byte) (int, error) {
	for {
		begun := time.Now()
		if err := c.arm(c.Conn.SetReadDeadline, &c.read); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if n > 0 || !c.ours(err, &c.read) {
			c.mu.Lock()
			c.heard, c.failed, c.asked = time.Now(), 0, time.Time{}
			c.mu.Unlock()
			return n, err
		}
		if err := c.judge(begun); err != nil {
			return 0, err
		}
	}
}

// Write takes a peer that has closed for one that still listens.
func (c *wire) Write(b []byte) (int, error) {
	written := 0
	for {
		begun := time.Now()
		if err := c.arm(c.Conn.SetWriteDeadline, &c.write); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(b[written:])
		written += n
		if n > 0 {
			c.mu.Lock()
			c.sent = time.Now()
			c.mu.Unlock()
		}
		switch {
		case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET):
			return len(b), nil
		case !c.ours(err, &c.write):
			return written, err
		}
		if err := c.judge(begun); err != nil {
			return written, err
		}
	}
}

// arm sets the deadline of the next wait: pgx's, or when silence is to be judged.
func (c *wire) arm(set func(time.Time) error, asked *time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return c.gone
	}
	next := time.Now().Add(c.every)
	if limit := c.allowed(); limit > 0 {
		next = earlier(next, time.Now().Add(max(limit-c.silence(), time.Millisecond)))
	}
	if !asked.IsZero() {
		next = earlier(next, *asked)
	}
	return set(next)
}

// ours reports whether err is that of a deadline which pgx has not set.
func (c *wire) ours(err error, asked *time.Time) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return asked.IsZero() || time.Now().Before(*asked)
}

// silence is how long an answer has been waited for; 0 where none is due.
func (c *wire) silence() time.Duration {
	if !c.busy && !c.sent.After(c.heard) {
		return 0
	}
	return time.Since(later(c.sent, c.heard))
}

// allowed is how long the server may take, 0 for no limit.
func (c *wire) allowed() time.Duration {
	if c.limit <= 0 {
		return 0
	}
	return time.Duration(max(1, c.statements))*c.limit + c.grace
}

// judge gives a server up that was silent for longer than it may be. A statement that is
// not limited may take its time, as long as the server answers others. begun is when the
// wait began that is over.
func (c *wire) judge(begun time.Time) error {
	err := c.judged(begun)
	if err != nil {
		c.mu.Lock()
		c.gone = err
		c.mu.Unlock()
	}
	return err
}

func (c *wire) judged(begun time.Time) error {
	c.mu.Lock()
	// No wait is longer than every: this process was stopped itself (Ctrl-Z), and what came
	// meanwhile has not been read.
	if time.Since(begun) > 2*c.every && c.silence() > 0 {
		c.sent = time.Now()
	}
	silence, limit := c.silence(), c.allowed()
	ask := silence >= c.after && time.Since(c.asked) >= c.every
	c.mu.Unlock()
	if limit > 0 && silence >= limit {
		return &silentError{after: silence}
	}
	if !ask {
		return nil
	}
	answers := c.answers()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Now()
	c.failed++
	if answers {
		c.failed = 0
	}
	if c.failed >= c.failures {
		return &silentError{after: silence, nobody: true}
	}
	return nil
}

// answers reports whether anything answers at the address: to the question whether it
// speaks TLS, a server and a pooler give one byte, and want nothing else.
func (c *wire) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.answer)
	defer cancel()
	conn, err := c.redial(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(c.answer))
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wireOf returns the wire below a connection, nil where that is another's.
func wireOf(q Querier) *wire {
	if s, ok := q.(*scratchQuerier); ok {
		q = s.Querier
	}
	conn, ok := q.(*pgx.Conn)
	if !ok {
		return nil
	}
	below := conn.PgConn().Conn()
	if secure, ok := below.(*tls.Conn); ok {
		below = secure.NetConn()
	}
	w, _ := below.(*wire)
	return w
}

// pipeline tells the wire of a pipeline: its limit, where it sets one, and how many
// answers may come together.
func (c *wire) pipeline(p *Pipeline) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.statements = true, len(p.steps)
	if p.limits {
		c.limit = p.limit
	}
	if c.limit > 0 && p.liftsLimit() {
		c.limit = 0
	}
}

// done ends a pipeline.
func (c *wire) done(over bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.statements = false, 1
	if over {
		c.limit = 0
	}
}

// liftsLimit reports whether a statement of a file or a user may set the limit itself.
func (p *Pipeline) liftsLimit() bool {
	for _, s := range p.steps {
		if s.foreign && strings.Contains(strings.ToLower(s.statement.SQL), "statement_timeout") {
			return true
		}
	}
	return false
}
