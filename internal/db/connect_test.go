package db_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
)

// TestConnectSaysWhy: a server without TLS that is about to start refuses both ways to connect,
// and the reason is told, not that it has no TLS.
func TestConnectSaysWhy(t *testing.T) {
	t.Parallel()
	const starting = "SFATAL\x00VFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"
	for name, c := range map[string]struct {
		answer string // to what follows the question for TLS, "" to hang up
		code   string
		says   string
	}{
		"starting":  {starting, "57P03", "starting up"},
		"hangs up":  {"", "", "EOF"},
		"no access": {"SFATAL\x00VFATAL\x00C28000\x00Mno entry\x00\x00", "28000", "no entry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed with the test
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					serveRefusal(conn, c.answer)
				}
			}()
			cfg, err := db.ParseConfig("postgres://u@" + listener.Addr().String() + "/d?sslmode=prefer")
			if err != nil {
				t.Fatal(err)
			}
			_, err = db.Connect(context.Background(), cfg)
			if db.SQLState(err) != c.code || err == nil || !strings.Contains(err.Error(), c.says) ||
				strings.Contains(err.Error(), "TLS") {
				t.Errorf("%v", err)
			}
			if errors.Is(err, db.ErrUnreachable) != (name != "no access") {
				t.Errorf("unreachable or not: %v", err)
			}
		})
	}
}

// serveRefusal refuses TLS, and answers what comes then.
func serveRefusal(conn net.Conn, answer string) {
	defer func() { _ = conn.Close() }()
	for {
		size := make([]byte, 4)
		if _, err := io.ReadFull(conn, size); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(size)-4)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		if len(body) == 4 { // the question for TLS
			if _, err := conn.Write([]byte("N")); err != nil {
				return
			}
			continue
		}
		if answer != "" {
			message := binary.BigEndian.AppendUint32([]byte("E"), uint32(len(answer)+4))
			_, _ = conn.Write(append(message, answer...))
		}
		return
	}
}
