package metrics

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/singleflight"

	"github.com/crmctl/crmctl/internal/db"
)

// ServerOptions say how a collection is served.
type ServerOptions struct {
	Collection *Collection
	// MaxAge is how old a collection may be that answers a scrape; 0 makes a new one for
	// each. Scrapes that come at the same time share one whatever it is.
	MaxAge time.Duration
	// DriftEvery is how often tenants are compared with their migrations; 0 is never.
	DriftEvery time.Duration
	// Collected is told each collection, one at a time; nil for nobody. Drifted is told of
	// each comparison.
	Collected func(Result)
	Drifted   func(error)
}

const (
	maxConnections = 32
	headerTimeout  = 5 * time.Second
	writeTimeout   = 30 * time.Second // beside what a collection may take
	closeTimeout   = 5 * time.Second
	// scrapeMargin is how much sooner than the scraper gives up it is answered.
	scrapeMargin = 500 * time.Millisecond
)

// HTTPServer answers scrapes.
type HTTPServer struct {
	o      ServerOptions
	flight singleflight.Group

	mu   sync.Mutex
	last []byte
	at   time.Time
}

// NewServer returns a server of a collection.
func NewServer(o ServerOptions) *HTTPServer {
	if o.Collected == nil {
		o.Collected = func(Result) {}
	}
	if o.Drifted == nil {
		o.Drifted = func(error) {}
	}
	return &HTTPServer{o: o}
}

// Serve answers on l until ctx ends, and then ends what is under way. It closes l. The
// error is nil where it was asked to end.
func (s *HTTPServer) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.handler(ctx),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout,
		WriteTimeout:   s.o.Collection.o.Timeout + writeTimeout,
		MaxHeaderBytes: 16 << 10,
		// What clients do wrong is nothing to tell.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	// Connections are few: none is kept for a client that has its answer.
	server.SetKeepAlivesEnabled(false)
	var work sync.WaitGroup
	if s.o.DriftEvery > 0 {
		work.Go(func() { s.compareDrift(ctx) })
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		cancel() // the collection that is under way
		wait, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer done()
		if err = server.Shutdown(wait); err != nil {
			err = server.Close()
		}
	}
	cancel()
	work.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

func (s *HTTPServer) compareDrift(ctx context.Context) {
	tick := time.NewTicker(s.o.DriftEvery)
	defer tick.Stop()
	for {
		err := s.o.Collection.CompareDrift(ctx)
		if ctx.Err() != nil {
			return
		}
		s.o.Drifted(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// handler answers until ctx ends.
func (s *HTTPServer) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { s.scrape(ctx, w, r) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "crmctl: metrics are at /metrics\n")
	})
	return mux
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // to a client that may be gone
}

// scrape answers with a collection. It is made for all who ask meanwhile, so it does not
// end when one of them does.
func (s *HTTPServer) scrape(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if text := s.recent(); text != nil {
		s.send(w, text)
		return
	}
	made := s.flight.DoChan("", func() (any, error) {
		if text := s.recent(); text != nil { // made while this one waited for its turn
			return text, nil
		}
		return s.collect(ctx)
	})
	patience := time.NewTimer(patienceOf(r, s.o.Collection.o.Timeout))
	defer patience.Stop()
	select {
	case found := <-made:
		text, ok := found.Val.([]byte)
		if ctx.Err() != nil {
			answer(w, http.StatusServiceUnavailable, "the server ends\n")
			return
		}
		if !ok || found.Err != nil {
			answer(w, http.StatusInternalServerError, "the metrics cannot be written\n")
			return
		}
		s.send(w, text)
	case <-patience.C:
		answer(w, http.StatusServiceUnavailable, "the metrics are still being collected\n")
	case <-r.Context().Done():
	case <-ctx.Done():
		answer(w, http.StatusServiceUnavailable, "the server ends\n")
	}
}

// patienceOf returns how long a scraper waits: what Prometheus says of itself, a little
// less, and never much longer than a collection may take.
func patienceOf(r *http.Request, timeout time.Duration) time.Duration {
	longest := timeout + time.Second
	said, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || !(said > 0) || said > longest.Seconds() {
		return longest
	}
	return max(scrapeMargin, time.Duration(said*float64(time.Second))-scrapeMargin)
}

func (s *HTTPServer) send(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", string(expfmt.FmtText))
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // to a client that may be gone
}

// recent returns the last collection where that is new enough.
func (s *HTTPServer) recent() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || time.Since(s.at) >= s.o.MaxAge {
		return nil
	}
	return s.last
}

func (s *HTTPServer) collect(ctx context.Context) ([]byte, error) {
	r := s.o.Collection.Collect(ctx)
	if ctx.Err() == nil {
		s.o.Collected(r)
	}
	var text bytes.Buffer
	if err := errors.Join(context.Cause(ctx), Write(&text, r.Families)); err != nil {
		return nil, err // a collection that the end has cut short says nothing of the server
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.at = text.Bytes(), time.Now()
	return s.last, nil
}

// Changes tells what failed now and did not before, and what works again, so that a
// failure which lasts is told once.
type Changes struct {
	failed map[string]string
}

// Of returns the changes since it was last called.
func (c *Changes) Of(r Result) (failed []Failure, mended []string) {
	now := map[string]string{}
	note := func(name string, err error) {
		now[name] = db.Text(err)
		if _, before := c.failed[name]; !before {
			failed = append(failed, Failure{name, err})
		}
	}
	if r.Up != nil {
		note("", r.Up) // the collectors fail for it
	}
	for _, f := range r.Failed {
		if !errors.Is(f.Err, errNoAnswer) {
			note(f.Collector, f.Err)
		}
	}
	for name := range c.failed {
		if _, still := now[name]; !still && (name == "" || r.Up == nil) {
			mended = append(mended, cmp.Or(name, "connection"))
		}
	}
	c.failed = now
	return failed, mended
}
