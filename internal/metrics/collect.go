package metrics

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	dto "github.com/prometheus/client_model/go"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Options say what is collected.
type Options struct {
	Registry registry.Registry
	Version  string // of the program
	// Connect opens a connection; each collection uses one, and closes it.
	Connect func(context.Context) (*pgx.Conn, error)
	// Newest returns the version of the newest migration file.
	Newest func(context.Context) (int64, error)
	// Drift, if not nil, compares all tenants with their migrations and returns how many
	// differ. Only Collection.CompareDrift calls it: it may take minutes.
	Drift func(context.Context) (int, error)

	// Pinned reports whether a tenant is always among the selected; nil for none. The
	// first maxPinned of them are.
	Pinned func(slug string) bool
	// Top are that many of the largest tenants, which are selected too. One that was
	// selected stays so while it is among twice as many, so that a series does not come and
	// go; Former are those that an earlier process had selected.
	Top    int
	Former []string
	// Timeout bounds a collection, 0 takes DefaultTimeout. No collector may take more than
	// half of it.
	Timeout time.Duration
	Now     func() time.Time // nil is time.Now
}

const (
	// DefaultTimeout is what Prometheus waits for a scrape unless it is told otherwise.
	DefaultTimeout = 10 * time.Second
	maxPinned      = 100
	lockTimeout    = 200 * time.Millisecond
)

// errNoAnswer is the failure of a collector that did not get to work.
var errNoAnswer = errors.New("the database does not answer")

// Collection is what is collected again and again. It may be used by several goroutines;
// only one of them collects at a time.
type Collection struct {
	o     Options
	known map[string]Family

	mu       sync.Mutex
	last     map[string]result
	selected map[string]bool
	newest   *int64 // nil while it is not known

	driftMu sync.Mutex
	drift   *result
}

// result is what a collector has found.
type result struct {
	samples *samples
	err     error
	at      time.Time
	took    time.Duration
}

// New returns a collection.
func New(o Options) *Collection {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	c := &Collection{o: o, known: map[string]Family{}, last: map[string]result{}, selected: map[string]bool{}}
	for _, f := range Families() {
		c.known[f.Name] = f
	}
	for _, slug := range o.Former {
		c.selected[slug] = true
	}
	return c
}

// Failure is a collector that failed.
type Failure struct {
	Collector string
	Err       error
}

// Result is a collection.
type Result struct {
	At       time.Time
	Families []*dto.MetricFamily
	Up       error // why the database did not answer; nil where it did
	Failed   []Failure
}

// collector makes the samples of one kind.
type collector struct {
	name string
	// every is how long its samples stand: what costs more than a glance, and changes
	// slowly, is not collected for each scrape.
	every   time.Duration
	offline bool // works without the database
	// collect is called outside of a transaction where alone is set, and otherwise in one
	// that reads only.
	alone   bool
	collect func(ctx context.Context, conn *pgx.Conn, s *samples) error
}

func (c *Collection) collectors() []collector {
	const rarely = time.Minute
	return []collector{
		// Sizes decide which tenants are selected, and migrations who is behind.
		{name: Sizes, every: rarely, alone: true, collect: c.sizes},
		{name: Migrations, every: 5 * rarely, offline: true, collect: c.migrations},
		{name: Tenants, collect: c.tenants},
		{name: Sessions, alone: true, collect: c.sessions},
		{name: Server, alone: true, collect: c.server},
		{name: Runs, collect: c.runs},
		{name: Backups, every: rarely, collect: c.backups},
	}
}

// Collect makes a collection. Nothing makes it fail as a whole: what is missing is told in
// its samples and in the result.
func (c *Collection) Collect(ctx context.Context) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	r := Result{At: c.o.Now()}
	conn, err := c.o.Connect(ctx)
	if err != nil {
		r.Up = err
	}
	now := map[string]result{}
	for _, one := range c.collectors() {
		if former, ok := c.last[one.name]; ok && former.err == nil && r.At.Sub(former.at) < one.every &&
			(one.offline || r.Up == nil) {
			now[one.name] = former
			continue
		}
		if conn != nil && conn.IsClosed() && !one.offline {
			// The collector before it lost the connection; this one may have better luck.
			if conn, err = c.o.Connect(ctx); err != nil {
				conn, r.Up = nil, err
			}
		}
		now[one.name] = c.run(ctx, conn, one)
	}
	if conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	c.last = now
	c.assemble(&r)
	return r
}

func (c *Collection) run(ctx context.Context, conn *pgx.Conn, one collector) result {
	r := result{samples: newSamples(c.known), at: c.o.Now()}
	limit := c.o.Timeout / 2
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begun := time.Now()
	switch {
	case conn == nil && !one.offline:
		r.err = errNoAnswer
	case one.alone || one.offline:
		r.err = one.collect(ctx, conn, r.samples)
	default:
		l := db.Locals{Snapshot: true, LockTimeout: lockTimeout, StatementTimeout: limit}
		r.err = db.InTx(ctx, conn, l, func(ctx context.Context, _ db.Querier) error {
			return one.collect(ctx, conn, r.samples)
		})
	}
	r.took = time.Since(begun)
	if r.err != nil {
		r.samples = newSamples(c.known)
	}
	return r
}

// CompareDrift compares all tenants with their migrations, and keeps the result for the
// collections from now on.
func (c *Collection) CompareDrift(ctx context.Context) error {
	r := result{samples: newSamples(c.known), at: c.o.Now()}
	begun := time.Now()
	n, err := c.o.Drift(ctx)
	r.took = time.Since(begun)
	if r.err = err; err == nil {
		r.samples.gauge("crmctl_drifted_tenants", float64(n))
	}
	c.driftMu.Lock()
	c.drift = &r
	c.driftMu.Unlock()
	return err
}

// assemble puts the samples of all collectors together.
func (c *Collection) assemble(r *Result) {
	all := newSamples(c.known)
	up := 1.0
	if r.Up != nil {
		up = 0
	}
	all.gauge("crmctl_up", up)
	all.gauge("crmctl_build_info", 1, c.o.Version)
	add := func(name string, one result) {
		success := 1.0
		if one.err != nil {
			success = 0
			r.Failed = append(r.Failed, Failure{name, one.err})
		}
		all.gauge("crmctl_collector_success", success, name)
		all.gauge("crmctl_collector_duration_seconds", one.took.Seconds(), name)
		all.gauge("crmctl_collector_timestamp_seconds", seconds(one.at), name)
		maps.Copy(all.of, one.samples.of)
	}
	for _, one := range c.collectors() {
		add(one.name, c.last[one.name])
	}
	c.driftMu.Lock()
	if c.drift != nil {
		add(Drift, *c.drift)
	}
	c.driftMu.Unlock()
	r.Families = all.sorted()
}

// seconds returns a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// number writes a number as Prometheus does.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
