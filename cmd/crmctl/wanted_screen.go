package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// printWanted is `crmctl stats indexes --suggest`.
func printWanted(ctx context.Context, p *cli.Printer, a *app.App, o app.LookOptions, top int) error {
	found, err := a.WantedIndexes(ctx, o)
	if err != nil {
		return err
	}
	return cli.PrintList(p, wantedList(p, found), firstOf(found.Indexes, top))
}

// wantedList says how the indexes that are lacking are shown in every format.
func wantedList(p *cli.Printer, found stats.WantedIndexes) cli.List[stats.WantedIndex] {
	number := func(name, title string, of func(stats.WantedIndex) int64) cli.Column[stats.WantedIndex] {
		return cli.Column[stats.WantedIndex]{Name: name, Title: title, Right: true, Document: title == "",
			Value: func(w stats.WantedIndex) any { return cli.Either{Human: humanEstimate(of(w)), Machine: of(w)} }}
	}
	return cli.List[stats.WantedIndex]{
		Plural: "suggestions",
		Columns: []cli.Column[stats.WantedIndex]{
			{Name: "table", Value: func(w stats.WantedIndex) any { return w.Table }},
			{Name: "kind", Document: true, Value: func(w stats.WantedIndex) any { return string(w.Kind) }},
			{Name: "columns", Document: true, Value: func(w stats.WantedIndex) any { return w.Columns }},
			{Name: "references", Document: true, Value: func(w stats.WantedIndex) any { return w.References }},
			{Name: "tenants", Right: true, Value: func(w stats.WantedIndex) any { return w.Tenants }},
			number("rows_estimate", "ROWS", func(w stats.WantedIndex) int64 { return w.Rows }),
			number("referenced_rows_deleted", "", func(w stats.WantedIndex) int64 { return int64(w.Deleted) }),
			number("sequential_scans", "", func(w stats.WantedIndex) int64 { return int64(w.Scans) }),
			number("sequential_rows_read", "", func(w stats.WantedIndex) int64 { return int64(w.RowsRead) }),
			number("index_scans", "", func(w stats.WantedIndex) int64 { return int64(w.IndexScans) }),
			{Name: "why", Text: true, Value: func(w stats.WantedIndex) any { return whyWanted(w) }},
			{Name: "statement", Title: "WHAT HELPS", Text: true, Value: func(w stats.WantedIndex) any {
				if w.Statement == "" {
					return cli.Either{Human: "find the statements: crmctl stats queries", Machine: nil}
				}
				return w.Statement
			}},
		},
		Name: func(w stats.WantedIndex) string { return w.Table },
		Summary: func() any {
			return struct {
				Suggestions int        `json:"suggestions"`
				Since       *time.Time `json:"counted_since"` // null where the counters were never reset
				MeasuredAt  time.Time  `json:"measured_at"`
			}{len(found.Indexes), found.Since, found.At.UTC()}
		},
		Empty: "no index is lacking, as far as catalogs and counters tell",
		Footer: func() string {
			return "scans since " + sinceText(p, found.Since) + ", on this server; put the statements into a migration"
		},
	}
}

// whyWanted says "foreign key (contact_id) to contacts" or "1,204 scans from end to end".
func whyWanted(w stats.WantedIndex) string {
	if w.Kind == stats.ForeignKey {
		why := fmt.Sprintf("foreign key (%s) to %s", strings.Join(w.Columns, ", "), w.References)
		if w.Deleted > 0 {
			why += fmt.Sprintf(", which had %s rows deleted", humanEstimate(int64(w.Deleted)))
		}
		return why
	}
	return fmt.Sprintf("read from end to end %s times, by index %s times", humanEstimate(int64(w.Scans)),
		humanEstimate(int64(w.IndexScans)))
}

// sinceText says since when the server has counted.
func sinceText(p *cli.Printer, since *time.Time) string {
	if since == nil {
		return "the database was made"
	}
	return p.Show.Human(*since)
}
