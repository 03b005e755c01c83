package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsIndexesOptions are the options of `crmctl stats indexes`.
type statsIndexesOptions struct {
	selection

	top     int
	suggest bool
}

func newStatsIndexesCmd(f *factory) *cobra.Command {
	opts := &statsIndexesOptions{}
	cmd := &cobra.Command{
		Use:   "indexes",
		Short: "the fleet's indexes: size, use, and what is wrong with them",
		Long: `Show each index of the tenants' tables once, however many tenants have it, the largest first: its
size and scans over all tenants, and in how many it is UNUSED: no scan was counted. PROBLEMS
says in how many it is missing (they have the table, but no index of this name), invalid
(CREATE INDEX CONCURRENTLY did not end well), or there twice (another index of the table has
the same definition). Those that hold a constraint, as -o wide says, are needed, used or not.

Scans are counted since the statistics were last reset, on this server alone: an index that
only a replica uses, or a report once a year, looks unused. Sizes are estimates.

--suggest shows what is lacking instead, those of the most rows first: foreign keys whose
columns no index begins with, so that deleting a row that they point to reads the whole table,
with the statement for a migration; and tables of 10,000 rows and more that are read from end
to end, which backups do too. "stats queries" finds the statements, "stats explain" what helps.

What it costs: one query of the catalogs, which takes no lock on any tenant's table.`,
		Example: `crmctl stats indexes
crmctl stats indexes --top 10 -o wide
crmctl stats indexes --suggest
crmctl stats indexes --tenant 'acme*' -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsIndexes(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	cmd.Flags().IntVar(&opts.top, "top", 0, "only the `N` largest; 0 for all")
	cmd.Flags().BoolVar(&opts.suggest, "suggest", false, "show the indexes that are lacking instead")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsIndexes(ctx context.Context, f *factory, opts *statsIndexesOptions) error {
	if opts.top < 0 {
		return cli.Usagef("--top %d: want 0 (all) or more", opts.top)
	}
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	if opts.suggest {
		return printWanted(ctx, p, a, app.LookOptions{Selection: m, Skip: f.skipInvalid}, opts.top)
	}
	found, err := a.Indexes(ctx, app.LookOptions{Selection: m, Skip: f.skipInvalid})
	if err != nil {
		return err
	}
	return cli.PrintList(p, indexesList(p, found), firstOf(found.Indexes, opts.top))
}

// indexesList says how indexes are shown in every format.
func indexesList(p *cli.Printer, found stats.Indexes) cli.List[stats.IndexUse] {
	count := func(name, title string, wide bool, of func(stats.IndexUse) int) cli.Column[stats.IndexUse] {
		return cli.Column[stats.IndexUse]{Name: name, Title: title, Right: true, Wide: wide,
			Value: func(i stats.IndexUse) any { return of(i) }}
	}
	return cli.List[stats.IndexUse]{
		Plural: "indexes",
		Columns: []cli.Column[stats.IndexUse]{
			{Name: "table", Spare: true, Value: func(i stats.IndexUse) any { return i.Table }},
			{Name: "index", Value: func(i stats.IndexUse) any { return i.Name }},
			{Name: "constraint", Title: "KIND", Wide: true, Value: func(i stats.IndexUse) any {
				if i.Constraint {
					return cli.Either{Human: "constraint", Machine: true, Document: true}
				}
				return cli.Either{Human: "", Machine: false, Document: false}
			}},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(i stats.IndexUse) any {
				return cli.ByteSize(i.Bytes)
			}},
			{Name: "scans", Right: true, Value: func(i stats.IndexUse) any { return int64(i.Scans) }},
			count("tenants", "TENANTS", false, func(i stats.IndexUse) int { return i.Tenants }),
			count("unused_tenants", "UNUSED", false, func(i stats.IndexUse) int { return i.Unused }),
			count("missing_tenants", "MISSING", true, func(i stats.IndexUse) int { return i.Missing }),
			count("invalid_tenants", "INVALID", true, func(i stats.IndexUse) int { return i.Invalid }),
			count("duplicate_tenants", "TWICE", true, func(i stats.IndexUse) int { return i.Duplicate }),
			{Name: "duplicate_of", Wide: true, Value: func(i stats.IndexUse) any { return i.DuplicateOf }},
			{Name: "problems", Text: true, Value: func(i stats.IndexUse) any {
				return cli.Styled{Value: problemsOf(i), Color: cli.Yellow}
			}},
		},
		Name: func(i stats.IndexUse) string { return i.Name },
		Summary: func() any {
			return struct {
				Indexes    int        `json:"indexes"`
				Since      *time.Time `json:"counted_since"` // null where the counters were never reset
				MeasuredAt time.Time  `json:"measured_at"`
			}{len(found.Indexes), found.Since, found.At.UTC()}
		},
		Empty: "no indexes",
		Footer: func() string {
			return fmt.Sprintf("scans since %s, on this server; sizes are estimates", sinceText(p, found.Since))
		},
	}
}

// problemsOf returns "missing in 2, invalid in 1".
func problemsOf(i stats.IndexUse) string {
	var out []string
	for _, problem := range []struct {
		what string
		in   int
	}{{"missing", i.Missing}, {"invalid", i.Invalid}, {"twice", i.Duplicate}} {
		if problem.in > 0 {
			out = append(out, fmt.Sprintf("%s in %s", problem.what, cli.HumanCount(int64(problem.in))))
		}
	}
	return strings.Join(out, ", ")
}
