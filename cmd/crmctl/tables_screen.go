package main

import (
	"context"
	"fmt"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// runTableSizes is `crmctl stats sizes --by table`.
func runTableSizes(ctx context.Context, f *factory, p *cli.Printer, opts *statsSizesOptions, m *app.Selection) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	measured, end := f.watchMeasuring()
	found, invalid, err := a.TableSizes(ctx, app.SizesOptions{Selection: m, Mode: opts.mode(), Measured: measured})
	end()
	f.skipInvalid(invalid)
	if err != nil {
		return err
	}
	return cli.PrintList(p, tableSizesList(found), firstOf(found.Tables, opts.top))
}

// tableSizesList says how the sizes of tables are shown in every format.
func tableSizesList(found stats.Tables) cli.List[stats.TableSize] {
	size := func(name, title string, of func(stats.TableSize) int64) cli.Column[stats.TableSize] {
		return cli.Column[stats.TableSize]{Name: name, Title: title, Right: true,
			Value: func(t stats.TableSize) any { return cli.ByteSize(of(t)) }}
	}
	var total int64
	for _, t := range found.Tables {
		total += t.TotalBytes()
	}
	return cli.List[stats.TableSize]{
		Plural: "tables",
		Columns: []cli.Column[stats.TableSize]{
			{Name: "table", Value: func(t stats.TableSize) any { return t.Name }},
			{Name: "tenants", Right: true, Value: func(t stats.TableSize) any { return t.Tenants }},
			size("size_bytes", "TOTAL", stats.TableSize.TotalBytes),
			size("heap_bytes", "HEAP", func(t stats.TableSize) int64 { return t.HeapBytes }),
			size("toast_bytes", "TOAST", func(t stats.TableSize) int64 { return t.ToastBytes }),
			size("index_bytes", "INDEXES", func(t stats.TableSize) int64 { return t.IndexBytes }),
			size("dead_bytes_estimate", "DEAD", func(t stats.TableSize) int64 { return t.DeadBytes }),
			{Name: "rows_estimate", Title: "ROWS", Right: true, Value: func(t stats.TableSize) any {
				if t.Rows == nil {
					return cli.Either{Human: "?", Machine: nil}
				}
				return cli.Either{Human: humanEstimate(*t.Rows), Machine: *t.Rows}
			}},
			{Name: "largest_tenant", Title: "LARGEST", Spare: true, Value: func(t stats.TableSize) any { return t.Largest }},
			{Name: "largest_bytes", Document: true, Value: func(t stats.TableSize) any { return t.LargestBytes }},
		},
		Name: func(t stats.TableSize) string { return t.Name },
		Summary: func() any {
			return struct {
				Tables     int       `json:"tables"`
				Bytes      int64     `json:"size_bytes"`
				Exact      bool      `json:"exact"`
				MeasuredAt time.Time `json:"measured_at"`
			}{len(found.Tables), total, found.Mode == stats.Exact, found.At.UTC()}
		},
		Empty: "no tables",
		Footer: func() string {
			return fmt.Sprintf("total %s in the tables of all tenants (%s)", cli.HumanSize(total), howSized(found.Mode))
		},
	}
}

// howSized says how sizes were found.
func howSized(mode stats.Mode) string {
	if mode == stats.Estimate {
		return "estimated from pg_class; --exact measures"
	}
	return "measured"
}

// runTablespaceSizes is `crmctl stats sizes --by tablespace`.
func runTablespaceSizes(ctx context.Context, f *factory, p *cli.Printer, opts *statsSizesOptions,
	m *app.Selection) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	measured, end := f.watchMeasuring()
	found, invalid, err := a.TablespaceSizes(ctx, app.SizesOptions{Selection: m, Mode: opts.mode(), Measured: measured})
	end()
	f.skipInvalid(invalid)
	if err != nil {
		return err
	}
	rows := found.Tablespaces
	if opts.top > 0 && opts.top < len(rows) {
		rows = rows[:opts.top]
	}
	return cli.PrintList(p, tablespaceSizesList(found), rows)
}

// tablespaceSizesList says how the sizes by tablespace are shown in every format.
func tablespaceSizesList(found stats.Tablespaces) cli.List[stats.TablespaceSize] {
	size := func(name, title string, of func(stats.TablespaceSize) int64) cli.Column[stats.TablespaceSize] {
		return cli.Column[stats.TablespaceSize]{Name: name, Title: title, Right: true,
			Value: func(t stats.TablespaceSize) any { return cli.ByteSize(of(t)) }}
	}
	var total int64
	for _, t := range found.Tablespaces {
		total += t.TotalBytes()
	}
	return cli.List[stats.TablespaceSize]{
		Plural: "tablespaces",
		Columns: []cli.Column[stats.TablespaceSize]{
			{Name: "tablespace", Value: func(t stats.TablespaceSize) any { return t.Name }},
			{Name: "tenants", Right: true, Value: func(t stats.TablespaceSize) any { return t.Tenants }},
			size("size_bytes", "TOTAL", stats.TablespaceSize.TotalBytes),
			size("table_bytes", "TABLES", func(t stats.TablespaceSize) int64 { return t.TableBytes }),
			size("index_bytes", "INDEXES", func(t stats.TablespaceSize) int64 { return t.IndexBytes }),
			{Name: "largest_tenant", Title: "LARGEST", Spare: true, Value: func(t stats.TablespaceSize) any {
				return t.Largest
			}},
			{Name: "largest_bytes", Document: true, Value: func(t stats.TablespaceSize) any { return t.LargestBytes }},
		},
		Name: func(t stats.TablespaceSize) string { return t.Name },
		Summary: func() any {
			return struct {
				Tablespaces int       `json:"tablespaces"`
				Bytes       int64     `json:"size_bytes"`
				Exact       bool      `json:"exact"`
				MeasuredAt  time.Time `json:"measured_at"`
			}{len(found.Tablespaces), total, found.Mode == stats.Exact, found.At.UTC()}
		},
		Empty: "no tables",
		Footer: func() string {
			return fmt.Sprintf("total %s in the tables of all tenants (%s)", cli.HumanSize(total), howSized(found.Mode))
		},
	}
}
