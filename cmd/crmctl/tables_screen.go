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
	size := bytesColumn[stats.TableSize]
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
		Empty:  "no tables",
		Footer: func() string { return totalText(total, found.Mode) },
	}
}

// bytesColumn returns a column of sizes.
func bytesColumn[T any](name, title string, of func(T) int64) cli.Column[T] {
	return cli.Column[T]{Name: name, Title: title, Right: true, Value: func(t T) any { return cli.ByteSize(of(t)) }}
}

// totalText says what all tables take, and how that was found.
func totalText(total int64, mode stats.Mode) string {
	how := "measured"
	if mode == stats.Estimate {
		how = "estimated from pg_class; --exact measures"
	}
	return fmt.Sprintf("total %s in the tables of all tenants (%s)", cli.HumanSize(total), how)
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
	return cli.PrintList(p, tablespaceSizesList(found), firstOf(found.Tablespaces, opts.top))
}

// tablespaceSizesList says how the sizes by tablespace are shown in every format.
func tablespaceSizesList(found stats.Tablespaces) cli.List[stats.TablespaceSize] {
	size := bytesColumn[stats.TablespaceSize]
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
		Empty:  "no tables",
		Footer: func() string { return totalText(total, found.Mode) },
	}
}
