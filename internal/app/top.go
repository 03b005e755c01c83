package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

const (
	// topTimeout bounds each statement of a look, topLookTimeout the whole of it.
	topTimeout     = 5 * time.Second
	topLookTimeout = 15 * time.Second
	// sizesEvery is how old sizes may be: they cost most, and change slowly.
	sizesEvery = time.Minute
)

// Top looks at the fleet again and again, on one connection. Its methods may not be called
// by several goroutines at once.
type Top struct {
	a         *App
	selection *Selection
	conn      *pgx.Conn // nil where it was lost
	selected  stats.Selected
	earlier   *stats.LoadSample
	sizes     []stats.TenantSize
	sizesErr  error
	sized     time.Time
	last      time.Time // of the latest sizes, or of the try
}

// TopLook is what was seen.
type TopLook struct {
	At       time.Time     // by the server's clock
	Took     time.Duration // the look itself
	Seconds  float64       // between the two samples of the load, 0 at the first look
	Tenants  []TopTenant   // by slug
	Sessions stats.Sessions
	Chosen   func(slug string) bool // whose sessions are meant; nil for all
	Back     int                    // tenants whose counters went back
	Lost     []string               // nodes of a cluster that did not answer
	SizedAt  time.Time              // when the sizes were found, by the server's clock
	Run      *registry.RunProgress  // the newest that is under way; nil for none
	// RunErr and SizesErr say why the run and the sizes are not known.
	RunErr, SizesErr error
}

// TopTenant is what is known of a tenant.
type TopTenant struct {
	Slug, Status  string
	BlockSize     int64
	Load          stats.Counters // a second
	Size          stats.TenantSize
	Connections   stats.TenantConnections
	LoadIsUnknown bool // at the first look
}

// ReadBytes is what it reads a second that does not stand in shared buffers.
func (t TopTenant) ReadBytes() int64 { return int64(t.Load.Read() * float64(t.BlockSize)) }

// OpenTop connects, and finds out which tenants are meant. skip is told the selected rows
// of the registry that are not valid.
func (a *App) OpenTop(ctx context.Context, s *Selection, skip func([]registry.InvalidRow)) (*Top, error) {
	conn, selected, err := a.looking(ctx, s, skip)
	if err != nil {
		return nil, err
	}
	selected.Timeout = topTimeout
	return &Top{a: a, selection: s, conn: conn, selected: selected}, nil
}

// Close closes the connection.
func (t *Top) Close(ctx context.Context) {
	if t.conn != nil {
		closeConn(ctx, t.conn)
		t.conn = nil
	}
}

// Look looks once. Where the connection was lost, the next look opens another.
func (t *Top) Look(ctx context.Context) (TopLook, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, topLookTimeout,
		fmt.Errorf("the database took longer than %s", topLookTimeout))
	defer cancel()
	look, err := t.look(ctx)
	if t.conn != nil && t.conn.IsClosed() {
		t.Close(ctx)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = cause
	}
	return look, err
}

func (t *Top) look(ctx context.Context) (TopLook, error) {
	begun := time.Now()
	if t.conn == nil {
		var err error
		if t.conn, err = t.a.Connect(ctx); err != nil {
			return TopLook{}, err
		}
	}
	var out TopLook
	later, err := stats.SampleLoad(ctx, t.conn, t.selected)
	if err != nil {
		return out, t.a.noRegistry(err)
	}
	load := stats.Load{At: later.At, BlockSize: later.BlockSize}
	if t.earlier != nil {
		load = stats.LoadBetween(*t.earlier, later)
	}
	t.earlier = &later
	out.At, out.Seconds, out.Back, out.Lost = load.At, load.Seconds, load.Back, load.Lost
	if out.Sessions, err = stats.ReadSessions(ctx, t.conn, t.a.Registry); err != nil {
		return out, err
	}
	if !t.selection.Everything() {
		out.Chosen = t.selection.Selects
	}
	// A role that may not read the ledger sees everything else.
	if out.Run, out.RunErr = t.a.Registry.Running(ctx, t.conn); out.RunErr != nil && t.conn.IsClosed() {
		return out, out.RunErr
	}
	if time.Since(t.last) >= sizesEvery {
		t.measure(ctx)
	}
	out.SizedAt, out.SizesErr = t.sized, t.sizesErr
	out.Tenants = joinTop(t.sizes, load, out.Sessions.ByTenant(), t.selection.Selects)
	out.Took = time.Since(begun)
	return out, nil
}

// measure finds the sizes. Those that were found before stay where that fails.
func (t *Top) measure(ctx context.Context) {
	t.last = time.Now()
	report, err := stats.Sizes(ctx, t.conn, stats.SizeOptions{Registry: t.a.Registry, Slugs: t.selected.Slugs,
		NoGrowth: true, Timeout: topTimeout})
	if t.sizesErr = err; err == nil {
		t.sizes, t.sized = report.Tenants, report.At
	}
}

// joinTop puts together what is known of each tenant.
func joinTop(sizes []stats.TenantSize, load stats.Load, connections []stats.TenantConnections,
	selects func(string) bool) []TopTenant {
	at := make(map[string]int, len(sizes))
	out := make([]TopTenant, 0, len(sizes))
	of := func(slug string) *TopTenant {
		i, found := at[slug]
		if !found {
			i = len(out)
			at[slug] = i
			out = append(out, TopTenant{Slug: slug, BlockSize: load.BlockSize, LoadIsUnknown: load.Seconds <= 0})
		}
		return &out[i]
	}
	for _, s := range sizes {
		t := of(s.Slug)
		t.Size, t.Status = s, s.Status
	}
	for _, l := range load.Tenants {
		t := of(l.Slug)
		t.Load, t.Status = l.Counters, l.Status
	}
	for _, c := range connections {
		if c.Tenant != "" && selects(c.Tenant) {
			of(c.Tenant).Connections = c
		}
	}
	slices.SortFunc(out, func(a, b TopTenant) int { return strings.Compare(a.Slug, b.Slug) })
	return out
}
