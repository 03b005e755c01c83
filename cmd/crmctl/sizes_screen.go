package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// sizesScreen shows the sizes of tenants in every format.
type sizesScreen struct {
	p      *cli.Printer
	report stats.Report
	top    []stats.TenantSize
	rest   stats.Totals
	all    stats.Totals

	history  map[string][]stats.Past // nil unless it is wanted
	capacity int64                   // bytes, 0 unless it is wanted
}

func newSizesScreen(p *cli.Printer, r stats.Report, top int) *sizesScreen {
	s := &sizesScreen{p: p, report: r, all: stats.Sum(r.Tenants)}
	s.top, s.rest = r.Top(top)
	return s
}

// sizeRow is a tenant, or on a terminal the line below the largest that sums up
// the others.
type sizeRow struct {
	stats.TenantSize

	others int // of how many tenants this is the sum; 0 for a tenant
}

func (s *sizesScreen) rows() []sizeRow {
	rows := make([]sizeRow, 0, len(s.top)+1)
	for _, t := range s.top {
		rows = append(rows, sizeRow{TenantSize: t})
	}
	if s.rest.Tenants > 0 && s.onTerminal() && !s.p.NamesOnly() {
		rows = append(rows, sizeRow{
			TenantSize: stats.TenantSize{Known: s.rest.Unknown < s.rest.Tenants, TableBytes: s.rest.TotalBytes()},
			others:     s.rest.Tenants,
		})
	}
	return rows
}

func (s *sizesScreen) onTerminal() bool { return s.p.Terminal && s.p.IsTable() }

func (s *sizesScreen) list() cli.List[sizeRow] {
	columns := []cli.Column[sizeRow]{
		{Name: "tenant", Value: func(r sizeRow) any {
			if r.others > 0 {
				return cli.HumanCount(int64(r.others)) + " more"
			}
			return r.Slug
		}},
		{Name: "status", Wide: true, Value: func(r sizeRow) any { return statusCell(registry.Status(r.Status)) }},
		{Name: "size_bytes", Title: "TOTAL", Right: true, Value: func(r sizeRow) any {
			return sizeCell(known64(r.Known, r.TotalBytes()))
		}},
		{Name: "table_bytes", Title: "TABLES", Right: true, Value: ofTenant(func(t stats.TenantSize) any {
			return sizeCell(known64(t.Known, t.TableBytes))
		})},
		{Name: "index_bytes", Title: "INDEXES", Right: true, Value: ofTenant(func(t stats.TenantSize) any {
			return sizeCell(known64(t.Known, t.IndexBytes))
		})},
		{Name: "contacts_estimate", Title: "CONTACTS", Right: true, Value: ofTenant(func(t stats.TenantSize) any {
			if t.Contacts == nil {
				return cli.Either{Human: "?", Machine: nil}
			}
			return cli.Either{Human: humanEstimate(*t.Contacts), Machine: *t.Contacts}
		})},
	}
	columns = append(columns,
		cli.Column[sizeRow]{Name: "growth_30d_bytes", Title: "30 DAYS", Right: true, Document: !s.report.History,
			Value: ofTenant(growthCell)},
		cli.Column[sizeRow]{Name: "growth_since", Document: true, Value: ofTenant(func(t stats.TenantSize) any {
			if t.Growth == nil {
				return nil
			}
			return t.Growth.Since
		})},
		s.historyColumn(),
		cli.Column[sizeRow]{
			Name: "share", Title: s.shareTitle(), Right: true,
			Value: ofTenant(func(t stats.TenantSize) any { return cli.Either{Human: s.shareBar(t), Machine: s.share(t)} }),
		},
		cli.Column[sizeRow]{Name: "exact", Document: true, Value: ofTenant(func(t stats.TenantSize) any {
			return t.Known && t.Exact
		})},
	)
	if slices.ContainsFunc(s.report.Tenants, func(t stats.TenantSize) bool { return t.Node != "" }) { // in a cluster
		columns = append(columns, cli.Column[sizeRow]{Name: "node", Wide: true, Value: ofTenant(
			func(t stats.TenantSize) any { return t.Node })})
	}
	return cli.List[sizeRow]{
		Plural:  "sizes",
		Columns: columns,
		Name:    func(r sizeRow) string { return r.Slug },
		Summary: func() any { return s.summary() },
		Empty:   "no tenants",
		Footer: func() string {
			return strings.Join(slices.Concat([]string{s.total()}, s.forecast(), s.gaps()), "\n")
		},
	}
}

// ofTenant leaves a cell empty in the line that sums up several tenants.
func ofTenant(value func(stats.TenantSize) any) func(sizeRow) any {
	return func(r sizeRow) any {
		if r.others > 0 {
			return nil
		}
		return value(r.TenantSize)
	}
}

func known64(known bool, n int64) *int64 {
	if !known {
		return nil
	}
	return &n
}

func growthCell(t stats.TenantSize) any {
	if t.Growth == nil {
		return nil
	}
	n := t.Growth.Bytes
	text := cli.HumanSize(n)
	switch {
	case n == 0:
		text = "0"
	case n > 0:
		text = "+" + text
	}
	return cli.Either{Human: text, Machine: cli.ByteSize(n)}
}

// humanEstimate returns "9.1 M", and a number that people can take in as it is.
func humanEstimate(n int64) string {
	const exactBelow = 100_000
	switch {
	case n < exactBelow:
		return cli.HumanCount(n)
	case n < 1e9:
		return fmt.Sprintf("%.1f M", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f G", float64(n)/1e9)
}

// share returns which part of the whole a tenant takes, nil when unknown.
func (s *sizesScreen) share(t stats.TenantSize) any {
	if !t.Known || s.all.TotalBytes() == 0 {
		return nil
	}
	const digits = 1e4
	return math.Round(float64(t.TotalBytes())/float64(s.all.TotalBytes())*digits) / digits
}

// shareBar returns "████▊            20 %". The bar of the largest is full.
func (s *sizesScreen) shareBar(t stats.TenantSize) string {
	share, ok := s.share(t).(float64)
	if !ok {
		return ""
	}
	percent := fmt.Sprintf("%.0f %%", share*100)
	if share < 0.005 && t.TotalBytes() > 0 {
		percent = "<1 %"
	}
	percent = fmt.Sprintf("%*s", percentWidth, percent)
	width := s.barWidth()
	if width == 0 {
		return percent
	}
	text := bar(float64(t.TotalBytes())/float64(s.report.Tenants[0].TotalBytes()), width, s.p.Unicode)
	return text + strings.Repeat(" ", width-len([]rune(text))+1) + percent
}

const percentWidth = len("100 %")

// barWidth leaves the numbers their room on a narrow terminal.
func (s *sizesScreen) barWidth() int {
	switch {
	case s.history != nil && s.p.Width < 100:
		return 0
	case s.p.Width >= 80:
		return 16
	case s.p.Width >= 70:
		return 8
	}
	return 0
}

// shareTitle begins where the bars begin, though the column is one that is never
// cut.
func (s *sizesScreen) shareTitle() string {
	const title = "SHARE"
	if width := s.barWidth(); s.onTerminal() && width > 0 {
		return fmt.Sprintf("%-*s", width+1+percentWidth, title)
	}
	return title
}

// bar returns a bar of at most width cells, in eighths of a cell where the
// terminal can show them.
func bar(part float64, width int, unicode bool) string {
	part = min(max(part, 0), 1)
	if !unicode {
		return strings.Repeat("#", int(math.Round(part*float64(width))))
	}
	const eighths = 8
	n := int(math.Round(part * float64(width*eighths)))
	if n == 0 && part > 0 {
		n = 1
	}
	text := strings.Repeat("█", n/eighths)
	if n%eighths > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[n%eighths-1])
	}
	return text
}

// total returns "total 30.3 GB in 5,000 tenants (estimated from pg_class; --exact
// measures)".
func (s *sizesScreen) total() string {
	how := "measured"
	if s.report.Mode == stats.Estimate {
		how = "estimated from pg_class; --exact measures"
	}
	return fmt.Sprintf("total %s in %s (%s)", cli.HumanSize(s.all.TotalBytes()), cli.Plural(s.all.Tenants, "tenant"), how)
}

func notCounted(n int, one, several string) string {
	if n == 1 {
		return "1 tenant is not counted: " + one
	}
	return cli.HumanCount(int64(n)) + " tenants are not counted: " + several
}

// gaps says what the sums lack.
func (s *sizesScreen) gaps() []string {
	var lines []string
	silent := 0 // whose node does not answer
	for _, t := range s.report.Tenants {
		if !t.Known && t.Node != "" {
			silent++
		}
	}
	if silent > 0 {
		lines = append(lines, notCounted(silent, "its node does not answer", "their nodes do not answer"))
	}
	if gone := s.all.Unknown - silent; gone > 0 {
		lines = append(lines, notCounted(gone, "its schema is gone", "their schemas are gone"))
	}
	if s.report.Mode == stats.Exact {
		switch n := s.all.Estimated; {
		case n == 1:
			lines = append(lines, "1 tenant is estimated: a table of it is locked")
		case n > 1:
			lines = append(lines, cli.HumanCount(int64(n))+" tenants are estimated: tables of theirs are locked")
		}
	}
	return lines
}

// sizeSummary is what JSON and YAML say about all tenants, those beyond --top
// too.
type sizeSummary struct {
	Tenants     int       `json:"tenants"`
	Unknown     int       `json:"unknown"`
	Estimated   int       `json:"estimated"`
	TotalBytes  int64     `json:"size_bytes"`
	TableBytes  int64     `json:"table_bytes"`
	IndexBytes  int64     `json:"index_bytes"`
	RestTenants int       `json:"rest_tenants"`
	RestBytes   int64     `json:"rest_bytes"`
	MeasuredAt  time.Time `json:"measured_at"`

	GrowthPerDay *int64   `json:"growth_per_day_bytes"` // null when unknown; so are the others
	Capacity     *int64   `json:"capacity_bytes"`
	Days         *float64 `json:"days_until_capacity"`
}

func (s *sizesScreen) summary() sizeSummary {
	out := sizeSummary{
		Tenants: s.all.Tenants, Unknown: s.all.Unknown, Estimated: s.all.Estimated,
		TotalBytes: s.all.TotalBytes(), TableBytes: s.all.TableBytes, IndexBytes: s.all.IndexBytes,
		RestTenants: s.rest.Tenants, RestBytes: s.rest.TotalBytes(), MeasuredAt: s.report.At.UTC(),
	}
	if perDay, known := s.report.PerDay(); known {
		n := int64(perDay)
		out.GrowthPerDay = &n
	}
	if s.capacity > 0 {
		out.Capacity = &s.capacity
		if days, known := s.report.DaysUntil(s.capacity); known {
			days = math.Round(days*10) / 10
			out.Days = &days
		}
	}
	return out
}
