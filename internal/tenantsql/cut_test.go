package tenantsql_test

import (
	"bytes"
	"context"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
)

// cutCommit makes a connection end at its first COMMIT: after the server has got it,
// and has answered, or before it is sent.
func cutCommit(cfg *pgx.ConnConfig, sent bool) {
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, sent: sent}, nil
	}
}

type cutConn struct {
	net.Conn

	sent bool
	cut  bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if !bytes.Contains(b, []byte("commit\x00")) {
		return c.Conn.Write(b)
	}
	c.cut = true
	if !c.sent {
		_ = c.Conn.Close()
		return len(b), nil
	}
	n, err := c.Conn.Write(b)
	_, _ = c.Conn.Read(make([]byte, 1)) // the answer is there, and lost
	return n, err
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.cut {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return c.Conn.Read(b)
}
