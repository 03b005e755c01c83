package pgtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Proxy stands between clients and a server, on TCP, and does to their
// connections what networks do.
type Proxy struct {
	// DSN connects through the proxy.
	DSN string

	server  string // address of the server
	network string
	delay   time.Duration // each way

	mu       sync.Mutex
	cutAfter []byte // a client's message that holds it is answered by a cut
	cuts     int    // how many more
	before   bool   // the message does not reach the server
	refuse   bool
	swallow  bool
	turns    int
	stalled  int // connections, of conns, that answer nothing any more
	conns    []net.Conn
}

// NewProxy starts a proxy before a database. Everything takes delay longer, each
// way. It stops with the test.
func NewProxy(t testing.TB, dsn string, delay time.Duration) *Proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{delay: delay, network: "tcp", server: net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))}
	if strings.HasPrefix(cfg.Host, "/") {
		p.network, p.server = "unix", cfg.Host+"/.s.PGSQL."+strconv.Itoa(int(cfg.Port))
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			_ = c.Close()
		}
	})
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: listener.Addr().String(), Path: "/" +
			cfg.Database,
		RawQuery: "sslmode=disable",
	}
	p.DSN = u.String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// CutAfter lets the server have the next n messages of clients that hold text,
// waits for its answer, and cuts the connection instead of handing it on.
func (p *Proxy) CutAfter(text string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAfter, p.cuts, p.before = []byte(text), n, false
}

// CutBefore cuts the connection instead of handing on the next n messages of clients
// that hold text.
func (p *Proxy) CutBefore(text string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAfter, p.cuts, p.before = []byte(text), n, true
}

// RefuseAfterCut lets nobody connect any more once a cut was made.
func (p *Proxy) RefuseAfterCut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
}

// refuses reports whether nobody may connect.
func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuse && p.cuts == 0
}

// Cuts returns how many of the cuts asked for are still to come.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Swallow makes everything disappear from now on, without a word.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = true
}

// Stall makes everything disappear that belongs to the connections there are. New ones
// are served.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = len(p.conns)
}

// disappears reports whether what comes on the connection with the given number does.
func (p *Proxy) disappears(number int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallow || number < p.stalled
}

// Trips returns how often a client has sent something after the server's last word: the
// round trips that its clients have waited for, those of connecting included.
func (p *Proxy) Trips() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turns
}

// speaks counts a turn where the client speaks, and did not do so last.
func (p *Proxy) speaks(client bool, last *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if client && !*last {
		p.turns++
	}
	*last = client
}

func (p *Proxy) serve(client net.Conn) {
	if p.refuses() {
		_ = client.Close()
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	number := len(p.conns)
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	cut := make(chan struct{})
	var once sync.Once
	clientLast := false
	go func() {
		p.pass(number, client, server, func(data []byte) bool {
			p.speaks(true, &clientLast)
			took, before := p.takeCut(data)
			if took && before {
				_ = client.Close()
				return false
			}
			if took {
				once.Do(func() { close(cut) })
			}
			return true
		})
		_ = server.Close()
	}()
	p.pass(number, server, client, func([]byte) bool {
		p.speaks(false, &clientLast)
		select {
		case <-cut:
			return false // the answer is here: what was asked for is done
		default:
			return true
		}
	})
	_ = client.Close()
	_ = server.Close()
}

func (p *Proxy) takeCut(data []byte) (took, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cuts == 0 || !bytes.Contains(data, p.cutAfter) {
		return false, false
	}
	p.cuts--
	return true, p.before
}

// pass copies what comes, later by the delay, as long as look agrees.
func (p *Proxy) pass(number int, from io.Reader, to io.Writer, look func([]byte) bool) {
	type packet struct {
		data []byte
		due  time.Time
	}
	packets := make(chan packet, 1024)
	go func() {
		defer close(packets)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if n > 0 {
				packets <- packet{data[:n], time.Now().Add(p.delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for packet := range packets {
		if !look(packet.data) {
			return
		}
		time.Sleep(time.Until(packet.due))
		if p.disappears(number) {
			continue
		}
		if _, err := to.Write(packet.data); err != nil {
			return
		}
	}
}
