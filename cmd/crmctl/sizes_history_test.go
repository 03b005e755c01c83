package main

import (
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "5": 5, "50GB": 50e9, "1.5 TiB": 3 << 39, "2kb": 2000} {
		if n, err := parseSize("--capacity", text); err != nil || n != want {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"GB", "-1GB", "0", "5 apples", "1e9", "99999999TB"} {
		if n, err := parseSize("--capacity", text); err == nil {
			t.Errorf("%q: %d, and no error", text, n)
		}
	}
}

func TestSparkline(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]int64{"": {5}, "▁█": {1, 9}, "▁▁▁": {4, 4, 4},
		"█▅▁": {100, 50, 0}} {
		if got := sparkline(values, true); got != want {
			t.Errorf("%v: %s, want %s", values, got, want)
		}
	}
	if got := sparkline([]int64{0, 1, 2, 3, 4}, false); got != "_.-=^" {
		t.Error(got)
	}
}

func TestSizesScreenWithHistory(t *testing.T) {
	t.Parallel()
	r := fleetSizes()
	for i := range r.Tenants {
		r.Tenants[i].ID = r.Tenants[i].Slug
	}
	var out strings.Builder
	p := &cli.Printer{Out: &out, Format: "table", Terminal: true, Width: 80, Unicode: true,
		Show: cli.Presentation{Loc: time.UTC, Now: r.At}}
	s := newSizesScreen(p, r, 2)
	s.capacity = 50e9
	s.history = map[string][]stats.Past{"acme-corp": {{Bytes: 11_000_000_000}, {Bytes: 12_000_000_000}}, "globex": nil}
	if err := cli.PrintList(p, s.list(), s.rows()); err != nil {
		t.Fatal(err)
	}
	const want = `
TENANT       TOTAL  TABLES  INDEXES  CONTACTS  30 DAYS  HISTORY  SHARE
acme-corp  12.4 GB  8.1 GB   4.3 GB     9.1 M  +1.2 GB  ▁▆█       67 %
globex      6.0 GB  3.9 GB   2.1 GB     4.0 M  -100 MB            32 %
3 more      221 MB

total 18.6 GB in 5 tenants (estimated from pg_class; --exact measures)
50.0 GB will be reached in 879 days, at +36 MB a day, on 2029-04-20
1 tenant is not counted: its schema is gone
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}
