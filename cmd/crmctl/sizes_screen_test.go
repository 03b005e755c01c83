package main

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

func TestStatsSizesOptions(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]statsSizesOptions{
		"sizes":                           {},
		"sizes --top 4 --exact":           {top: 4, exact: true},
		"sizes --estimate --record":       {estimate: true, record: true},
		"sizes --tenant a,b* --exclude c": {selection: selection{tenants: []string{"a", "b*"}, exclude: []string{"c"}}},
		"sizes --tenants-from names.txt":  {selection: selection{from: "names.txt"}},
	} {
		var got statsSizesOptions
		newBench(t).parse(t, func(f *factory) *cobra.Command {
			return newStatsSizesCmd(f, func(_ context.Context, _ *factory, o *statsSizesOptions) error {
				got = *o
				return nil
			})
		}, strings.Fields(args)...)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", args, got, want)
		}
	}
	for o, want := range map[*statsSizesOptions]stats.Mode{
		{}:               stats.Auto,
		{exact: true}:    stats.Exact,
		{estimate: true}: stats.Estimate,
	} {
		if got := o.mode(); got != want {
			t.Errorf("%+v: mode %d, want %d", *o, got, want)
		}
	}
}

// fleetSizes are the sizes of the five tenants that the screens show.
func fleetSizes() stats.Report {
	contacts := func(n int64) *int64 { return &n }
	tenant := func(slug string, tables, indexes int64, n *int64, growth int64) stats.TenantSize {
		return stats.TenantSize{
			Slug: slug, Status: "active", Known: true, TableBytes: tables, IndexBytes: indexes, Contacts: n,
			Growth: &stats.Growth{Bytes: growth, Since: time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC)},
		}
	}
	r := stats.Report{
		At: time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC), Mode: stats.Estimate, History: true,
		Tenants: []stats.TenantSize{
			tenant("acme-corp", 8_100_000_000, 4_300_000_000, contacts(9_100_000), 1_200_000_000),
			tenant("globex", 3_900_000_000, 2_100_000_000, contacts(4_012_345), -100_000_000),
			tenant("initech", 140_000_000, 80_000_000, contacts(16_539), 0),
			tenant("hooli", 700_000, 400_000, nil, 0),
			{Slug: "gone", Status: "deleted"},
		},
	}
	r.Tenants[3].Growth = nil
	return r
}

func TestSizesScreen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		top     int
		width   int
		unicode bool
		change  func(*stats.Report)
		want    string
	}{
		{"all", 0, 100, true, nil, `
TENANT       TOTAL  TABLES  INDEXES  CONTACTS  30 DAYS  SHARE
acme-corp  12.4 GB  8.1 GB   4.3 GB     9.1 M  +1.2 GB  ████████████████  67 %
globex      6.0 GB  3.9 GB   2.1 GB     4.0 M  -100 MB  ███████▊          32 %
initech     220 MB  140 MB    80 MB    16,539        0  ▎                  1 %
hooli       1.1 MB  700 kB   400 kB         ?           ▏                 <1 %
gone             ?       ?        ?         ?

total 18.6 GB in 5 tenants (estimated from pg_class; --exact measures)
1 tenant is not counted: its schema is gone
`},
		{"the largest", 1, 100, true, nil, `
TENANT       TOTAL  TABLES  INDEXES  CONTACTS  30 DAYS  SHARE
acme-corp  12.4 GB  8.1 GB   4.3 GB     9.1 M  +1.2 GB  ████████████████  67 %
4 more      6.2 GB

total 18.6 GB in 5 tenants (estimated from pg_class; --exact measures)
1 tenant is not counted: its schema is gone
`},
		{"without history, ASCII, narrow", 2, 72, false, func(r *stats.Report) {
			r.History, r.Mode = false, stats.Exact
			for i := range 2 {
				r.Tenants[i].Exact = true
			}
		}, `
TENANT       TOTAL  TABLES  INDEXES  CONTACTS  SHARE
acme-corp  12.4 GB  8.1 GB   4.3 GB     9.1 M  ########  67 %
globex      6.0 GB  3.9 GB   2.1 GB     4.0 M  ####      32 %
3 more      221 MB

total 18.6 GB in 5 tenants (measured)
1 tenant is not counted: its schema is gone
2 tenants are estimated: tables of theirs are locked
`},
		{"very narrow", 1, 60, true, func(r *stats.Report) { r.History, r.Tenants = false, r.Tenants[:4] }, `
TENANT       TOTAL  TABLES  INDEXES  CONTACTS  SHARE
acme-corp  12.4 GB  8.1 GB   4.3 GB     9.1 M   67 %
3 more      6.2 GB

total 18.6 GB in 4 tenants (estimated from pg_class; --exact
measures)
`},
		{"nothing known", 1, 100, true, func(r *stats.Report) {
			r.History, r.Mode, r.Tenants = false, stats.Exact, r.Tenants[4:]
			r.Tenants = append(r.Tenants, r.Tenants[0])
		}, `
TENANT  TOTAL  TABLES  INDEXES  CONTACTS  SHARE
gone        ?       ?        ?         ?
1 more      ?

total 0 B in 2 tenants (measured)
2 tenants are not counted: their schemas are gone
`},
		{"nothing stored", 0, 100, true, func(r *stats.Report) {
			r.History, r.Mode, r.Tenants = false, stats.Exact,
				[]stats.TenantSize{{Slug: "empty", Status: "active", Known: true, Exact: true}}
		}, `
TENANT  TOTAL  TABLES  INDEXES  CONTACTS  SHARE
empty     0 B     0 B      0 B         ?

total 0 B in 1 tenant (measured)
`},
	} {
		r := fleetSizes()
		if c.change != nil {
			c.change(&r)
		}
		var out, errOut bytes.Buffer
		p := &cli.Printer{
			Out: &out, ErrOut: &errOut, Format: "table", Terminal: true, Width: c.width, Unicode: c.unicode,
			Show: cli.Presentation{Loc: time.UTC},
		}
		s := newSizesScreen(p, r, c.top)
		if err := cli.PrintList(p, s.list(), s.rows()); err != nil {
			t.Fatal(err)
		}
		equal(t, c.name, out.String(), strings.TrimPrefix(c.want, "\n"))
	}
}

func TestSizesForPrograms(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"table": "TENANT\tTOTAL\tTABLES\tINDEXES\tCONTACTS\t30 DAYS\tSHARE\n" +
			"acme-corp\t12400000000\t8100000000\t4300000000\t9100000\t1200000000\t0.6659\n" +
			"globex\t6000000000\t3900000000\t2100000000\t4012345\t-100000000\t0.3222\n",
		"csv": "tenant,status,size_bytes,table_bytes,index_bytes,contacts_estimate,growth_30d_bytes,share\n" +
			"acme-corp,active,12400000000,8100000000,4300000000,9100000,1200000000,0.6659\n" +
			"globex,active,6000000000,3900000000,2100000000,4012345,-100000000,0.3222\n",
		"ndjson": `{"tenant":"acme-corp","status":"active","size_bytes":12400000000,"table_bytes":8100000000,"index_bytes":4300000000,` +
			`"contacts_estimate":9100000,"growth_30d_bytes":1200000000,"growth_since":"2026-10-24T00:00:00Z","share":0.6659,"exact":false}` + "\n" +
			`{"tenant":"globex","status":"active","size_bytes":6000000000,"table_bytes":3900000000,"index_bytes":2100000000,` +
			`"contacts_estimate":4012345,"growth_30d_bytes":-100000000,"growth_since":"2026-10-24T00:00:00Z","share":0.3222,"exact":false}` + "\n",
	} {
		var out, errOut bytes.Buffer
		p := &cli.Printer{Out: &out, ErrOut: &errOut, Format: format, Width: 80}
		s := newSizesScreen(p, fleetSizes(), 2)
		if err := cli.PrintList(p, s.list(), s.rows()); err != nil {
			t.Fatal(err)
		}
		equal(t, format, out.String(), want)
	}
}

func TestShareBar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		part    float64
		width   int
		unicode bool
		want    string
	}{
		{1, 4, true, "████"},
		{0.5, 4, true, "██"},
		{0.53125, 4, true, "██▏"},
		{0.97, 4, true, "███▉"},
		{0.0001, 4, true, "▏"},
		{0, 4, true, ""},
		{-1, 4, true, ""},
		{7, 4, true, "████"},
		{0.5, 4, false, "##"},
		{0.0001, 4, false, ""},
	} {
		if got := bar(c.part, c.width, c.unicode); got != c.want {
			t.Errorf("bar(%v, %d, %v) = %q, want %q", c.part, c.width, c.unicode, got, c.want)
		}
	}
}

func TestListSummary(t *testing.T) {
	t.Parallel()
	l := cli.List[string]{
		Plural:  "names",
		Record:  func(s string) any { return s },
		Columns: []cli.Column[string]{{Name: "name", Value: func(s string) any { return s }}},
		Summary: func() any { return map[string]int{"all": 7} },
	}
	for _, c := range []struct {
		format string
		rows   []string
		want   string
	}{
		{"json", []string{"a", "b"}, "{\n  \"version\": 1,\n  \"names\": [\n    \"a\",\n    \"b\"\n  ],\n  \"summary\": " +
			"{\n    \"all\": 7\n  }\n}\n"},
		{"json", nil, "{\n  \"version\": 1,\n  \"names\": [],\n  \"summary\": {\n    \"all\": 7\n  }\n}\n"},
		{"yaml", []string{"a", "b"}, "version: 1\nnames:\n- a\n- b\nsummary:\n  all: 7\n"},
		{"yaml", nil, "version: 1\nnames: []\nsummary:\n  all: 7\n"},
		{"ndjson", []string{"a"}, "\"a\"\n"},
		{"csv", []string{"a"}, "name\na\n"},
	} {
		var out bytes.Buffer
		if err := cli.PrintList(&cli.Printer{Out: &out, ErrOut: &out, Format: c.format}, l, c.rows); err != nil {
			t.Fatal(err)
		}
		equal(t, c.format, out.String(), c.want)
	}
}
