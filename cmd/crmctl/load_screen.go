package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// loadScreen shows what tenants do, in every format.
type loadScreen struct {
	p    *cli.Printer
	load stats.Load
	sum  stats.Counters
	top  []stats.TenantLoad
}

func newLoadScreen(p *cli.Printer, l stats.Load, top int) *loadScreen {
	s := &loadScreen{p: p, load: l, sum: l.Sum(), top: l.Tenants}
	if top > 0 && top < len(s.top) {
		s.top = s.top[:top]
	}
	return s
}

func (s *loadScreen) list() cli.List[stats.TenantLoad] {
	rate := func(name, title string, of func(stats.Counters) float64) cli.Column[stats.TenantLoad] {
		return cli.Column[stats.TenantLoad]{Name: name, Title: title, Right: true,
			Value: func(t stats.TenantLoad) any { return rateCell(of(t.Counters)) }}
	}
	indexScans := rate("index_scans_per_second", "INDEX SCANS/S", func(c stats.Counters) float64 { return c.IndexScans })
	indexScans.Wide = true
	return cli.List[stats.TenantLoad]{
		Plural: "load",
		Columns: []cli.Column[stats.TenantLoad]{
			{Name: "tenant", Value: func(t stats.TenantLoad) any { return t.Slug }},
			{Name: "status", Wide: true, Value: func(t stats.TenantLoad) any {
				return statusCell(registry.Status(t.Status))
			}},
			rate("blocks_per_second", "BLOCKS/S", func(c stats.Counters) float64 { return c.Fetched }),
			{Name: "read_bytes_per_second", Title: "READ/S", Right: true, Value: func(t stats.TenantLoad) any {
				return cli.ByteSize(s.bytes(t.Read()))
			}},
			rate("rows_read_per_second", "ROWS/S", func(c stats.Counters) float64 { return c.Rows }),
			rate("rows_written_per_second", "WRITES/S", func(c stats.Counters) float64 { return c.Written }),
			rate("sequential_scans_per_second", "SCANS/S", func(c stats.Counters) float64 { return c.SeqScans }),
			indexScans,
			{Name: "share", Title: s.shareTitle(), Right: true, Value: func(t stats.TenantLoad) any {
				share := s.share(t)
				return cli.Either{Human: s.shareBar(t, share), Machine: math.Round(share*1e4) / 1e4}
			}},
			{Name: "measured_at", Document: true, Value: func(stats.TenantLoad) any { return s.load.At }},
		},
		Name:    func(t stats.TenantLoad) string { return t.Slug },
		Summary: func() any { return s.summary() },
		Empty:   "no tenant did anything in " + s.seconds(),
		Footer:  func() string { return strings.Join(append([]string{s.total()}, s.gaps()...), "\n") },
	}
}

// rateCell shows people no more digits than they read.
func rateCell(perSecond float64) any {
	human := fmt.Sprintf("%.1f", perSecond)
	switch {
	case perSecond == 0:
		human = "0"
	case perSecond >= 1e6:
		human = humanEstimate(int64(perSecond))
	case perSecond >= 10:
		human = cli.HumanCount(int64(math.Round(perSecond)))
	}
	return cli.Either{Human: human, Machine: math.Round(perSecond*1e3) / 1e3}
}

func (s *loadScreen) bytes(blocks float64) int64 { return int64(blocks * float64(s.load.BlockSize)) }

// share is the part of all blocks that a tenant asked for, those of others included.
func (s *loadScreen) share(t stats.TenantLoad) float64 {
	all := s.sum.Fetched + s.load.Outside.Fetched
	if all == 0 {
		return 0
	}
	return t.Fetched / all
}

func (s *loadScreen) shareBar(t stats.TenantLoad, share float64) string {
	percent := fmt.Sprintf("%.0f %%", share*100)
	if share > 0 && share < 0.005 {
		percent = "<1 %"
	}
	percent = fmt.Sprintf("%*s", percentWidth, percent)
	width := s.barWidth()
	if width == 0 || s.load.Tenants[0].Fetched == 0 {
		return percent
	}
	text := bar(t.Fetched/s.load.Tenants[0].Fetched, width, s.p.Unicode)
	return text + strings.Repeat(" ", width-len([]rune(text))+1) + percent
}

func (s *loadScreen) barWidth() int {
	if s.p.Width < 80 {
		return 0
	}
	return 8
}

func (s *loadScreen) shareTitle() string {
	if width := s.barWidth(); s.p.Terminal && s.p.IsTable() && width > 0 {
		return fmt.Sprintf("%-*s", width+1+percentWidth, "SHARE")
	}
	return "SHARE"
}

func (s *loadScreen) seconds() string {
	return cli.HumanDuration(time.Duration(s.load.Seconds * float64(time.Second)).Round(100 * time.Millisecond))
}

// total returns "4 tenants in 10.0 s: 1,200 blocks/s, 3.1 MB/s read, 12 writes/s".
func (s *loadScreen) total() string {
	show := func(perSecond float64) string { return s.p.Show.Human(rateCell(perSecond)) }
	line := fmt.Sprintf("%s in %s: %s blocks/s, %s/s read, %s writes/s",
		cli.Plural(len(s.load.Tenants), "tenant"), s.seconds(), show(s.sum.Fetched), cli.HumanSize(s.bytes(s.sum.Read())),
		show(s.sum.Written))
	if out := s.load.Outside; out.Fetched > 0 {
		line += fmt.Sprintf("\nother schemas: %s blocks/s, %s/s read, %s writes/s", show(out.Fetched),
			cli.HumanSize(s.bytes(out.Read())), show(out.Written))
	}
	return line
}

// gaps says for whom the figures are too low.
func (s *loadScreen) gaps() []string { return loadGaps(s.load.Back, s.load.Lost) }

func loadGaps(back int, lost []string) (lines []string) {
	if back > 0 {
		lines = append(lines, fmt.Sprintf("counters of %s went back: statistics were reset or tables dropped",
			cli.Plural(back, "tenant")))
	}
	if len(lost) > 0 {
		lines = append(lines, "not counted is what stands on "+strings.Join(lost, ", ")+": no answer")
	}
	return lines
}

// loadSummary is what JSON and YAML say about all tenants and about the other schemas.
type loadSummary struct {
	Tenants    int       `json:"tenants"`
	Seconds    float64   `json:"seconds"`
	Blocks     float64   `json:"blocks_per_second"`
	Read       int64     `json:"read_bytes_per_second"`
	Written    float64   `json:"rows_written_per_second"`
	Outside    float64   `json:"other_blocks_per_second"`
	WentBack   int       `json:"went_back"`
	MeasuredAt time.Time `json:"measured_at"`
}

func (s *loadScreen) summary() loadSummary {
	round := func(f float64) float64 { return math.Round(f*1e3) / 1e3 }
	return loadSummary{
		Tenants: len(s.load.Tenants), Seconds: round(s.load.Seconds), Blocks: round(s.sum.Fetched),
		Read: s.bytes(s.sum.Read()), Written: round(s.sum.Written), Outside: round(s.load.Outside.Fetched),
		WentBack: s.load.Back, MeasuredAt: s.load.At.UTC(),
	}
}
