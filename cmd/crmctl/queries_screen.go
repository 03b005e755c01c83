package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// queriesScreen shows what the server has counted for statements, in every format.
type queriesScreen struct {
	p     *cli.Printer
	found stats.Queries
	some  bool // only some tenants are selected
	whose bool // it is asked whose statements are
}

// shortCell shows a time that may be well below a millisecond.
func shortCell(d time.Duration) any {
	human := cli.HumanDuration(d)
	if d > 0 && d < 10*time.Millisecond {
		human = fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return cli.Either{Human: human, Machine: d}
}

// ratioCell shows a part of a whole.
func ratioCell(part float64) any {
	human := fmt.Sprintf("%.0f %%", part*100)
	if part > 0 && part < 0.005 {
		human = "<1 %"
	}
	return cli.Either{Human: human, Machine: math.Round(part*1e4) / 1e4}
}

// share is the part of the time of all statements of the database.
func (s queriesScreen) share(w stats.Work) float64 {
	if s.found.All.Total == 0 {
		return 0
	}
	return float64(w.Total) / float64(s.found.All.Total)
}

// workColumns are what statements and tenants have alike.
func workColumns[T any](s queriesScreen, of func(T) stats.Work) []cli.Column[T] {
	column := func(name, title string, value func(stats.Work) any) cli.Column[T] {
		return cli.Column[T]{Name: name, Title: title, Right: true, Value: func(row T) any { return value(of(row)) }}
	}
	most := column("max_seconds", "MAX", func(w stats.Work) any { return shortCell(w.Max) })
	most.Wide = true
	read := column("blocks_read", "READ", func(w stats.Work) any { return w.Read })
	read.Wide = true
	return []cli.Column[T]{
		column("calls", "", func(w stats.Work) any {
			return cli.Either{Human: humanEstimate(w.Calls), Machine: w.Calls}
		}),
		column("total_seconds", "TOTAL", func(w stats.Work) any { return shortCell(w.Total) }),
		column("mean_seconds", "MEAN", func(w stats.Work) any { return shortCell(w.Mean()) }),
		most,
		column("rows", "", func(w stats.Work) any { return cli.Either{Human: humanEstimate(w.Rows), Machine: w.Rows} }),
		read,
		column("hit_ratio", "HIT", func(w stats.Work) any { return ratioCell(w.HitRatio()) }),
		column("share", "SHARE", func(w stats.Work) any { return ratioCell(s.share(w)) }),
	}
}

func (s queriesScreen) list() cli.List[stats.Query] {
	columns := append(workColumns(s, func(q stats.Query) stats.Work { return q.Work }),
		cli.Column[stats.Query]{Name: "tenants", Wide: true, Right: true,
			Value: func(q stats.Query) any { return q.Tenants }},
		cli.Column[stats.Query]{Name: "entries", Wide: true, Right: true,
			Value: func(q stats.Query) any { return q.Entries }},
		cli.Column[stats.Query]{Name: "roles", Document: true, Value: func(q stats.Query) any { return q.Roles }},
		cli.Column[stats.Query]{Name: "query_ids", Document: true, Value: func(q stats.Query) any { return q.IDs }},
		cli.Column[stats.Query]{Name: "query", Title: "STATEMENT", Value: func(q stats.Query) any { return q.Text }})
	return cli.List[stats.Query]{
		Plural: "queries", Columns: columns,
		Name:    func(q stats.Query) string { return q.Text },
		Summary: func() any { return s.summary() },
		Empty:   "no statements",
		Footer:  s.footer,
	}
}

// tenants returns what tenants take, and last what is of no tenant that is known.
func (s queriesScreen) tenants() []stats.TenantQueries {
	if s.found.Unknown.Calls == 0 || s.some {
		return s.found.Tenants
	}
	return append(s.found.Tenants, stats.TenantQueries{Whose: stats.Unknown, Work: s.found.Unknown})
}

func (s queriesScreen) tenantList() cli.List[stats.TenantQueries] {
	columns := []cli.Column[stats.TenantQueries]{{Name: "tenant", Value: func(t stats.TenantQueries) any {
		return tenantCell(t.Slug, t.Whose)
	}}}
	columns = append(columns, workColumns(s, func(t stats.TenantQueries) stats.Work { return t.Work })...)
	columns = append(columns,
		cli.Column[stats.TenantQueries]{Name: "queries", Wide: true, Right: true,
			Value: func(t stats.TenantQueries) any { return t.Queries }},
		cli.Column[stats.TenantQueries]{Name: "whose", Title: "KNOWN BY", Spare: true,
			Value: func(t stats.TenantQueries) any { return string(t.Whose) }})
	return cli.List[stats.TenantQueries]{
		Plural: "tenants", Columns: columns,
		Name:    func(t stats.TenantQueries) string { return t.Slug },
		Summary: func() any { return s.summary() },
		Empty:   "of no statement is it known whose it is",
		Footer:  s.footer,
	}
}

func (s queriesScreen) footer() string {
	line := fmt.Sprintf("%s, %s entries of this database, counted since %s", cli.Plural(len(s.found.Queries), "statement"),
		cli.HumanCount(int64(s.found.Entries)), s.p.Show.Human(s.found.Since))
	return strings.Join(append([]string{line}, s.gaps()...), "\n")
}

// gaps says what the figures lack.
func (s queriesScreen) gaps() []string {
	var lines []string
	if s.found.Off != "" {
		lines = append(lines, "the server does not count statements: "+s.found.Off)
	}
	if s.found.Dealloc > 0 {
		lines = append(lines, fmt.Sprintf("the least used entries were thrown away %s times: raise pg_stat_statements.max "+
			"(%s)",
			cli.HumanCount(s.found.Dealloc), cli.HumanCount(int64(s.found.Most))))
	}
	if s.found.Hidden.Calls > 0 {
		lines = append(lines, fmt.Sprintf("%s of the time is of other roles and hidden; grant pg_read_all_stats to this role",
			s.p.Show.Human(ratioCell(s.share(s.found.Hidden)))))
	}
	if (s.some || s.whose) && s.found.Unknown.Calls > 0 {
		why := "name no schema"
		if s.found.ByName {
			why = "are counted for all tenants together"
		}
		lines = append(lines, fmt.Sprintf("%s of the time is of no known tenant: statements of shared roles that %s",
			s.p.Show.Human(ratioCell(s.share(s.found.Unknown))), why))
	}
	return lines
}

// queriesSummary is what JSON and YAML say beside the statements.
type queriesSummary struct {
	Statements    int       `json:"statements"`
	Entries       int       `json:"entries"`
	MostEntries   int       `json:"max_entries"`
	Deallocations int64     `json:"deallocations"`
	Calls         int64     `json:"calls"`
	Total         float64   `json:"total_seconds"`
	Hidden        float64   `json:"hidden_seconds"`
	Unknown       float64   `json:"unknown_tenant_seconds"`
	Since         time.Time `json:"counted_since"`
	MeasuredAt    time.Time `json:"measured_at"`
}

func (s queriesScreen) summary() queriesSummary {
	return queriesSummary{
		Statements: len(s.found.Queries), Entries: s.found.Entries, MostEntries: s.found.Most, Deallocations: s.found.Dealloc,
		Calls: s.found.All.Calls, Total: seconds(s.found.All.Total), Hidden: seconds(s.found.Hidden.Total),
		Unknown: seconds(s.found.Unknown.Total), Since: s.found.Since.UTC(), MeasuredAt: s.found.At.UTC(),
	}
}
