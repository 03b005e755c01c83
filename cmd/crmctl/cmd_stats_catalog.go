package main

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// statsCatalogOptions are the options of `crmctl stats catalog`.
type statsCatalogOptions struct {
	selection

	by         string
	top        int
	record     bool
	dryRun     bool
	capacity   int
	warn, crit []string
}

func newStatsCatalogCmd(f *factory) *cobra.Command {
	opts := &statsCatalogOptions{}
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "what so many schemas do to the server, and when it is too much",
		Long: `Show what the number of schemas does to the database: the size of the system catalogs and the dead
rows in them, the room in the lock table and how many tenants one transaction could drop with it,
the memory that a session keeps when it has looked at every tenant, the age of transaction ids
(every write is refused when they run out), and the tables that are past autovacuum's thresholds.

--by table lists the tables of the catalogs, --by tenant the tenants with tables that are past a
threshold; "crmctl maintenance vacuum --only-needed" vacuums these.

With --record the figures are kept, and later runs say when there will be as many tenants as
--capacity says, and what that will take, if they go on growing like that.

--warn and --crit set the limits of a measure, NAME=VALUE: a number, a size such as 10GB, a part
of what there can be (locks=60%), or none. Without them locks have 50% and 80%, xid-age and
multixact-age 40% and 70%. The command ends with exit code 4 where one is reached.

What it costs: one pass over pg_class and the counters of its tables, the sizes of the system's
tables, and a look at the tables of 20 tenants. It takes no lock that is kept, waits for none
longer than half a second, and is given up after a minute.`,
		Example: `crmctl stats catalog
crmctl stats catalog --by table --top 5
crmctl stats catalog --by tenant
crmctl stats catalog --record -q
crmctl stats catalog --capacity 5000
crmctl stats catalog --warn schemas=4000,catalog=2GB --crit locks=60%`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsCatalog(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.StringVar(&opts.by, "by", "", "instead, a line for each `WHAT`: table of the catalogs, or tenant")
	fs.IntVar(&opts.top, "top", 0, "with --by, only the first `N`; 0 for all")
	fs.BoolVar(&opts.record, "record", false, "keep the figures, to compare with later")
	fs.IntVar(&opts.capacity, "capacity", 0, "say when there will be `N` tenants; the next round number by itself")
	fs.StringSliceVar(&opts.warn, "warn", nil, "limits that are a warning: `NAME=VALUE`")
	fs.StringSliceVar(&opts.crit, "crit", nil, "limits that are critical: `NAME=VALUE`")
	addDryRunFlag(fs, &opts.dryRun)
	cli.RegisterCompletion(cmd, "by", cli.CompleteWords("table", "tenant"))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func (o *statsCatalogOptions) validate() (warn, crit stats.Limits, err error) {
	picked := len(o.tenants)+len(o.exclude) > 0 || o.from != ""
	switch {
	case o.by != "" && o.by != "table" && o.by != "tenant":
		err = cli.Usagef("--by %s: want table or tenant", o.by)
	case o.top < 0:
		err = cli.Usagef("--top %d: want 0 (all) or more", o.top)
	case o.top > 0 && o.by == "":
		err = cli.Usagef("--top is for --by")
	case o.capacity < 0:
		err = cli.Usagef("--capacity %d: want a number of tenants", o.capacity)
	case picked && (o.record || o.capacity > 0):
		err = cli.Usagef("--record and --capacity are about all tenants")
	case o.by != "" && len(o.warn)+len(o.crit) > 0:
		err = cli.Usagef("--by is without --warn and --crit")
	}
	if err != nil {
		return nil, nil, err
	}
	if warn, err = parseLimits("--warn", o.warn); err != nil {
		return nil, nil, err
	}
	crit, err = parseLimits("--crit", o.crit)
	return warn, crit, err
}

// parseLimits reads "catalog=10GB", "locks=60%", "schemas=5000" and "locks=none".
func parseLimits(flag string, given []string) (stats.Limits, error) {
	all, bounded := stats.MeasureNames()
	limits := stats.Limits{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			return nil, cli.Usagef("%s %s: want NAME=VALUE", flag, text)
		case !slices.Contains(all, name):
			return nil, cli.Usagef("%s %s: no such measure: there are %s", flag, text, strings.Join(all, ", "))
		case value == "none":
			limits[name] = stats.Limit{None: true}
			continue
		}
		if part, percent := strings.CutSuffix(value, "%"); percent {
			n, err := strconv.ParseFloat(part, 64)
			if err != nil || !(n >= 0 && n <= 100) || !slices.Contains(bounded, name) {
				return nil, cli.Usagef("%s %s: a percentage, up to 100, is for %s", flag, text, strings.Join(bounded, ", "))
			}
			limits[name] = stats.Limit{Value: n, Percent: true}
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(n) {
			size, err := parseSize(flag+" "+name, value)
			if err != nil {
				return nil, err
			}
			n = float64(size)
		}
		if n < 0 {
			return nil, cli.Usagef("%s %s: want 0 or more", flag, text)
		}
		limits[name] = stats.Limit{Value: n}
	}
	return limits, nil
}

func runStatsCatalog(ctx context.Context, f *factory, opts *statsCatalogOptions) error {
	warn, crit, err := opts.validate()
	if err != nil {
		return err
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
	found, failed := a.Catalog(ctx, app.CatalogOptions{LookOptions: app.LookOptions{Selection: m, Skip: f.skipInvalid},
		Record: opts.record, DryRun: opts.dryRun})
	if found.At.IsZero() {
		return failed
	}
	s := newCatalogScreen(p, found, found.Measures(warn, crit), opts.capacity)
	switch opts.by {
	case "table":
		err = cli.PrintList(p, systemTablesList(), firstOf(found.Tables, opts.top))
	case "tenant":
		err = cli.PrintList(p, laggingList(), firstOf(laggingOf(found.Due), opts.top))
	default:
		err = cli.PrintList(p, s.list(), s.measures)
	}
	switch {
	case err != nil || failed != nil:
		return cmp.Or(err, failed)
	case opts.record && opts.dryRun:
		f.Note("would record  %s", cli.Plural(found.Tenants, "tenant"))
	case opts.record:
		f.Note("recorded  %s", cli.Plural(found.Tenants, "tenant"))
	}
	if opts.by != "" {
		return nil
	}
	return s.end(f)
}

// firstOf returns the first n of a list, all for 0.
func firstOf[T any](list []T, n int) []T {
	if n > 0 && n < len(list) {
		return list[:n]
	}
	return list
}
