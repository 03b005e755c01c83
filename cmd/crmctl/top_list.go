package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// The orders of tenants.
const (
	topByLoad        = "load"
	topBySize        = "size"
	topByConnections = "connections"
	topByWaiting     = "waiting"
	topByName        = "name"
)

func topOrders() []string {
	return []string{topByLoad, topBySize, topByConnections, topByWaiting, topByName}
}

// orderTop returns tenants in an order: those that are equal in it by load, by size, and by
// name at the end.
func orderTop(tenants []app.TopTenant, order string) []app.TopTenant {
	compare := map[string]func(a, b app.TopTenant) int{
		topByLoad: func(a, b app.TopTenant) int { return 0 },
		topBySize: func(a, b app.TopTenant) int { return cmp.Compare(b.Size.TotalBytes(), a.Size.TotalBytes()) },
		topByConnections: func(a, b app.TopTenant) int {
			return cmp.Compare(b.Connections.Connections, a.Connections.Connections)
		},
		topByWaiting: func(a, b app.TopTenant) int { return cmp.Compare(b.Connections.Waiting, a.Connections.Waiting) },
		topByName:    func(a, b app.TopTenant) int { return strings.Compare(a.Slug, b.Slug) },
	}[order]
	out := slices.Clone(tenants)
	slices.SortStableFunc(out, func(a, b app.TopTenant) int {
		return cmp.Or(compare(a, b), cmp.Compare(b.Load.Fetched, a.Load.Fetched),
			cmp.Compare(b.Size.TotalBytes(), a.Size.TotalBytes()), strings.Compare(a.Slug, b.Slug))
	})
	return out
}

// topList shows tenants in every format.
func topList(p *cli.Printer, look app.TopLook) cli.List[app.TopTenant] {
	type row = app.TopTenant
	rate := func(of func(row) float64) func(row) any {
		return func(t row) any {
			switch perSecond := of(t); {
			case t.LoadIsUnknown:
				return cli.Either{Human: "", Machine: nil}
			case perSecond == 0:
				return cli.Either{Human: "", Machine: 0}
			default:
				return rateCell(perSecond)
			}
		}
	}
	count := func(of func(stats.TenantConnections) int) func(row) any {
		return func(t row) any {
			if n := of(t.Connections); n > 0 {
				return n
			}
			return cli.Either{Human: "", Machine: 0}
		}
	}
	// As wide as what stands below it may become: columns stay where they are.
	wide := func(title string) string {
		if !p.Terminal {
			return title
		}
		return fmt.Sprintf("%8s", title)
	}
	return cli.List[row]{
		Plural: "tenants",
		Columns: []cli.Column[row]{
			{Name: "tenant", Value: func(t row) any { return t.Slug }},
			{Name: "status", Wide: true, Value: func(t row) any { return statusCell(registry.Status(t.Status)) }},
			{Name: "blocks_per_second", Title: "BLOCKS/S", Right: true,
				Value: rate(func(t row) float64 { return t.Load.Fetched })},
			{Name: "read_bytes_per_second", Title: wide("READ/S"), Right: true, Spare: true, Value: func(t row) any {
				switch n := t.ReadBytes(); {
				case t.LoadIsUnknown:
					return cli.Either{Human: "", Machine: nil}
				case n == 0:
					return cli.Either{Human: "", Machine: 0}
				default:
					return cli.ByteSize(n)
				}
			}},
			{Name: "rows_written_per_second", Title: "WRITES/S", Right: true, Spare: true,
				Value: rate(func(t row) float64 { return t.Load.Written })},
			{Name: "size_bytes", Title: wide("SIZE"), Right: true, Value: func(t row) any {
				if !t.Size.Known {
					return cli.Either{Human: "", Machine: nil}
				}
				return cli.ByteSize(t.Size.TotalBytes())
			}},
			{Name: "connections", Title: "CONN", Right: true,
				Value: count(func(c stats.TenantConnections) int { return c.Connections })},
			{Name: "active", Title: "RUN", Right: true, Spare: true,
				Value: count(func(c stats.TenantConnections) int { return c.Active })},
			{Name: "waiting", Title: "WAIT", Right: true, Value: func(t row) any {
				return styledIf(t.Connections.Waiting > 0, count(func(c stats.TenantConnections) int { return c.Waiting })(t),
					cli.Yellow)
			}},
			{Name: "longest_transaction_seconds", Document: true, Value: func(t row) any {
				return secondsCell(t.Connections.LongestTransaction)
			}},
			{Name: "measured_at", Document: true, Value: func(row) any { return look.At }},
		},
		Name:    func(t row) string { return t.Slug },
		Summary: func() any { return summarizeTop(look) },
		Empty:   "no tenants",
		Footer:  footerOf(topGaps(look)),
	}
}

// topSummary stands beside the tenants in JSON.
type topSummary struct {
	MeasuredAt  time.Time  `json:"measured_at"`
	Seconds     float64    `json:"seconds"`
	LookSeconds float64    `json:"look_seconds"`
	Tenants     int        `json:"tenants"`
	Connections int        `json:"server_connections"`
	Most        int        `json:"max_connections"`
	Waiting     int        `json:"waiting"`
	Run         *topRunSum `json:"run"`
}

type topRunSum struct {
	Run       int64   `json:"run"`
	Kind      string  `json:"kind"`
	Tenants   int     `json:"tenants"`
	Succeeded int     `json:"succeeded"`
	Failed    int     `json:"failed"`
	Seconds   float64 `json:"seconds"`
}

func summarizeTop(look app.TopLook) topSummary {
	round := func(f float64) float64 { return math.Round(f*1e3) / 1e3 }
	out := topSummary{MeasuredAt: look.At.UTC(), Seconds: round(look.Seconds), LookSeconds: seconds(look.Took),
		Tenants: len(look.Tenants), Connections: look.Sessions.Room.Used, Most: look.Sessions.Room.Most,
		Waiting: summarizeLocks(look.Sessions).Waiting}
	if r := look.Run; r != nil {
		out.Run = &topRunSum{Run: r.ID, Kind: r.Kind, Tenants: r.Tenants, Succeeded: r.Succeeded, Failed: r.Failed,
			Seconds: round(r.Seconds)}
	}
	return out
}

// topGaps say what a look lacks.
func topGaps(look app.TopLook) []string {
	lines := gapLines(look.Sessions)
	if look.RunErr != nil {
		lines = append(lines, "no run is shown: "+cli.Visible(textOf(look.RunErr)))
	}
	if look.SizesErr != nil {
		lines = append(lines, "sizes are not up to date: "+cli.Visible(textOf(look.SizesErr)))
	}
	return append(lines, loadGaps(look.Back, look.Lost)...)
}
