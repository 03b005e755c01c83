package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/metrics"
)

// served is a server that answers until it is stopped.
type served struct {
	url  string
	stop func() error
}

func serve(t testing.TB, o metrics.ServerOptions) served {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- metrics.NewServer(o).Serve(ctx, l) }()
	s := served{url: "http://" + l.Addr().String(), stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { _ = s.stop() })
	return s
}

// ask returns the answer's code and text.
func (s served) ask(t testing.TB, method, path string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header.Set(header[0], header[1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

func TestServe(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var collected atomic.Int32
	s := serve(t, metrics.ServerOptions{Collection: metrics.New(options(f)), MaxAge: time.Hour,
		Collected: func(metrics.Result) { collected.Add(1) }})
	var scrapers sync.WaitGroup
	for range 20 {
		scrapers.Go(func() {
			code, text, header := s.ask(t, "GET", "/metrics")
			if code != 200 || !strings.Contains(text, "\ncrmctl_tenants{status=\"active\"} 3\n") ||
				header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
				t.Errorf("%d %s %v", code, text, header)
			}
		})
	}
	scrapers.Wait()
	if n := collected.Load(); n != 1 {
		t.Errorf("%d collections for scrapes that came together", n)
	}
	for _, tt := range []struct {
		method, path string
		code         int
		text         string
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/", 200, "crmctl: metrics are at /metrics\n"},
		{"HEAD", "/metrics", 200, ""},
		{"POST", "/metrics", 405, "Method Not Allowed\n"},
		{"DELETE", "/healthz", 405, "Method Not Allowed\n"},
		{"GET", "/metrics/x", 404, "404 page not found\n"},
		{"GET", "/debug/pprof/", 404, "404 page not found\n"},
	} {
		if code, text, _ := s.ask(t, tt.method, tt.path); code != tt.code || text != tt.text {
			t.Errorf("%s %s: %d %q", tt.method, tt.path, code, text)
		}
	}
	if err := s.stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), time.Second); err == nil {
		t.Error("it still listens")
	}
}

// A scraper that gives up sooner than the collection is told so, and is in nobody's way.
func TestServeSlowly(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	o := options(f)
	goOn := make(chan struct{})
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		select {
		case <-goOn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return f.Dial(ctx)
	}
	s := serve(t, metrics.ServerOptions{Collection: metrics.New(o)})
	code, text, _ := s.ask(t, "GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "0.7")
	if code != 503 || text != "the metrics are still being collected\n" {
		t.Errorf("%d %s", code, text)
	}
	if code, _, _ := s.ask(t, "GET", "/healthz"); code != 200 {
		t.Errorf("%d", code)
	}
	close(goOn)
	if code, text, _ := s.ask(t, "GET", "/metrics"); code != 200 || !strings.Contains(text, "\ncrmctl_up 1\n") {
		t.Errorf("%d %s", code, text)
	}
}

// Clients that say nothing, say half of it, say too much, never read, or stay when they have their answer, more of
// them than there are connections, keep no scrape away for long.
func TestServeHostileClients(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := serve(t, metrics.ServerOptions{Collection: metrics.New(options(f))})
	const whole = "GET /metrics HTTP/1.1\r\nHost: x\r\n"
	const clients = 48 // of 32 connections
	says := slices.Repeat([]string{whole + "Connection: keep-alive\r\n\r\n"}, clients)
	says = append(says, "", "GET /metr", whole, whole+"\r\n", "\x16\x03\x01\x00",
		whole+"X-A: "+strings.Repeat("a", 40<<10)+"\r\n\r\n", whole+"Content-Length: 9000000\r\n\r\nx")
	for _, text := range says {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, text) // the server may have refused it already
	}
	for range 3 {
		at := time.Now()
		code, text, _ := s.ask(t, "GET", "/metrics")
		if code != 200 || !strings.Contains(text, "\ncrmctl_up 1\n") {
			t.Errorf("%d\n%.300s", code, text)
		}
		if took := time.Since(at); took > 20*time.Second {
			t.Errorf("a scrape took %s", took)
		}
	}
	if err := s.stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// A server is stopped in the middle of a collection that has no end.
func TestStopServing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	o := options(f)
	o.Timeout = time.Hour
	begun := make(chan struct{})
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	o.Drift = func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	told := 0
	s := serve(t, metrics.ServerOptions{Collection: metrics.New(o), DriftEvery: time.Hour,
		Collected: func(metrics.Result) { told++ }, Drifted: func(error) { told++ }})
	answered := make(chan int, 1)
	go func() { code, _, _ := s.ask(t, "GET", "/metrics"); answered <- code }()
	<-begun
	at := time.Now()
	if err := s.stop(); err != nil || time.Since(at) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(at))
	}
	if code := <-answered; code != 503 || told != 0 {
		t.Errorf("%d, %d told", code, told)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	var c metrics.Changes
	away, right := errors.New("unreachable"), errors.New("permission denied")
	var log bytes.Buffer
	for _, r := range []metrics.Result{
		{},
		{Failed: []metrics.Failure{{Collector: "backups", Err: right}}},
		{Failed: []metrics.Failure{{Collector: "backups", Err: right}}},
		{Up: away},
		{Up: away},
		{},
	} {
		failed, mended := c.Of(r)
		for _, one := range failed {
			fmt.Fprintf(&log, "%s: %v. ", one.Collector, one.Err)
		}
		fmt.Fprintf(&log, "%v\n", mended)
	}
	want := "[]\nbackups: permission denied. []\n[]\n: unreachable. []\n[]\n[connection]\n"
	if log.String() != want {
		t.Errorf("got\n%swant\n%s", &log, want)
	}
}
