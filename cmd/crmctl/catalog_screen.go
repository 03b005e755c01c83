package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// catalogScreen shows the measures of a catalog in every format.
type catalogScreen struct {
	p        *cli.Printer
	found    app.CatalogResult
	measures []stats.Measure
	outlook  *stats.Outlook
}

func newCatalogScreen(p *cli.Printer, found app.CatalogResult, measures []stats.Measure, capacity int) *catalogScreen {
	s := &catalogScreen{p: p, found: found, measures: measures}
	if capacity == 0 {
		capacity = stats.Ahead(found.Tenants)
	}
	s.outlook = found.Outlook(found.Then, capacity)
	return s
}

func (s *catalogScreen) list() cli.List[stats.Measure] {
	value := func(m stats.Measure, v float64) any {
		if m.Bytes {
			return cli.ByteSize(v)
		}
		return int64(v)
	}
	limit := func(name string, of func(stats.Measure) *float64) cli.Column[stats.Measure] {
		return cli.Column[stats.Measure]{Name: name, Wide: true, Right: true, Value: func(m stats.Measure) any {
			if v := of(m); v != nil {
				return value(m, *v)
			}
			return nil
		}}
	}
	return cli.List[stats.Measure]{
		Plural: "measures",
		Columns: []cli.Column[stats.Measure]{
			{Name: "measure", Value: func(m stats.Measure) any { return m.Name }},
			{Name: "level", Title: "STATE", Value: levelCell},
			{Name: "value", Right: true, Value: func(m stats.Measure) any { return value(m, m.Value) }},
			{Name: "percent", Title: "USED", Right: true, Value: func(m stats.Measure) any {
				if m.Most == 0 {
					return nil
				}
				return cli.Either{Human: humanPercent(m.Percent()), Machine: math.Round(m.Percent()*1000) / 1000}
			}},
			{Name: "most", Wide: true, Right: true, Value: func(m stats.Measure) any {
				if m.Most == 0 {
					return nil
				}
				return value(m, m.Most)
			}},
			limit("warn", func(m stats.Measure) *float64 { return m.Warn }),
			limit("crit", func(m stats.Measure) *float64 { return m.Crit }),
			{Name: "message", Title: "WHAT", Text: true, Value: func(m stats.Measure) any { return s.what(m) }},
		},
		Name:    func(m stats.Measure) string { return m.Name },
		Summary: s.summary,
		Footer:  s.footer,
	}
}

func levelCell(m stats.Measure) any {
	color := map[stats.Level]cli.Color{stats.LevelOK: cli.Green, stats.LevelWarn: cli.Yellow, stats.LevelCrit: cli.Red}
	level := m.Level()
	if level == stats.LevelNone {
		return nil
	}
	return cli.Styled{Value: string(level), Color: color[level]}
}

func humanPercent(percent float64) string {
	if percent > 0 && percent < 1 {
		return "<1 %"
	}
	return fmt.Sprintf("%.0f %%", percent)
}

// what says in words what a measure means.
func (s *catalogScreen) what(m stats.Measure) string {
	c := s.found.Catalog
	count := func(n int) string { return cli.HumanCount(int64(n)) }
	switch m.Name {
	case stats.MeasureSchemas:
		return count(c.Tenants) + " of them tenants'"
	case stats.MeasureRelations:
		return fmt.Sprintf("tables, indexes, TOAST; %.0f a tenant", float64(c.Relations)/float64(max(c.Tenants, 1)))
	case stats.MeasureCatalog:
		var largest []string
		for _, t := range firstOf(c.Tables, 3) {
			largest = append(largest, t.Name+" "+cli.HumanSize(t.Bytes))
		}
		return strings.Join(largest, ", ")
	case stats.MeasureDead:
		return "dead rows of the catalogs, which a vacuum makes room of"
	case stats.MeasureLocks:
		if c.Locks.PerTenant == 0 {
			return fmt.Sprintf("of about %s slots", count(c.Locks.Slots))
		}
		return fmt.Sprintf("a transaction may drop %s at once, at %.0f locks each", cli.Plural(c.Locks.Drops(), "tenant"),
			c.Locks.PerTenant)
	case stats.MeasureMemory:
		how := "computed"
		if c.Memory.Measured {
			how = "measured"
		}
		return fmt.Sprintf("at least, of a session that has seen all tenants: %s each (%s)",
			cli.HumanSize(c.Memory.PerTenant), how)
	case stats.MeasureXIDs:
		return s.aging(func(a stats.Aging) int64 { return a.XIDs })
	case stats.MeasureMultixs:
		return s.aging(func(a stats.Aging) int64 { return a.Multixs })
	}
	return s.upkeep()
}

// aging names who has the oldest ids.
func (s *catalogScreen) aging(of func(stats.Aging) int64) string {
	c := s.found.Catalog
	var parts []string
	if of(c.OldestCluster) > of(c.Database) {
		parts = append(parts, "of database "+c.OldestCluster.Name+"; here "+cli.HumanCount(of(c.Database)))
	}
	if t := c.OldestTenant; t.Name != "" && of(t) > 0 {
		parts = append(parts, fmt.Sprintf("oldest tenant %s, %s", t.Name, cli.HumanCount(of(t))))
	}
	return strings.Join(parts, "; ")
}

func (s *catalogScreen) upkeep() string {
	c := s.found.Catalog
	text := "no table is past a threshold"
	if n := len(c.Due); n > 0 {
		text = fmt.Sprintf("tables past a threshold, of %s", cli.Plural(len(laggingOf(c.Due)), "tenant"))
	}
	if len(c.Lost) > 0 {
		text += "; " + strings.Join(c.Lost, ", ") + " did not answer"
	}
	if c.AutovacuumOff {
		text += "; autovacuum is off"
	}
	return text
}

func (s *catalogScreen) footer() string {
	o := s.outlook
	switch {
	case o == nil && s.found.Then == nil:
		return "no sample is a day old, so nothing can be said of growth; --record keeps one"
	case o == nil:
		return ""
	case o.Days < 0:
		return fmt.Sprintf("the number of tenants does not grow (%+.1f a day)", o.PerDay)
	}
	line := fmt.Sprintf("at %+.1f tenants a day there will be %s", o.PerDay, cli.HumanCount(int64(o.Tenants)))
	if o.Days < century {
		line += " on " + s.p.Show.Human(cli.Day(s.found.At.Add(time.Duration(o.Days*24*float64(time.Hour)))))
	}
	return line + fmt.Sprintf("; the catalogs then take %s, and a session that has seen all tenants %s",
		cli.HumanSize(o.CatalogBytes), cli.HumanSize(o.SessionBytes))
}

func (s *catalogScreen) summary() any {
	c := s.found.Catalog
	type outlook struct {
		Tenants      int       `json:"tenants"`
		PerDay       float64   `json:"tenants_per_day"`
		Since        time.Time `json:"since"`
		Days         *float64  `json:"days"`
		CatalogBytes int64     `json:"catalog_bytes"`
		SessionBytes int64     `json:"session_bytes"`
	}
	var ahead *outlook
	if o := s.outlook; o != nil {
		ahead = &outlook{o.Tenants, o.PerDay, o.Since.UTC(), nil, o.CatalogBytes, o.SessionBytes}
		if o.Days >= 0 {
			ahead.Days = &o.Days
		}
	}
	return struct {
		Tenants        int       `json:"tenants"`
		LockSlots      int       `json:"lock_slots"`
		LocksPerTenant float64   `json:"locks_per_tenant"`
		Drops          int       `json:"drops_at_once"`
		TenantBytes    int64     `json:"session_bytes_per_tenant"`
		Measured       bool      `json:"session_bytes_measured"`
		Autovacuum     bool      `json:"autovacuum"`
		Outlook        *outlook  `json:"outlook"`
		At             time.Time `json:"measured_at"`
	}{c.Tenants, c.Locks.Slots, c.Locks.PerTenant, c.Locks.Drops(), c.Memory.PerTenant, c.Memory.Measured,
		!c.AutovacuumOff, ahead, c.At.UTC()}
}

// end returns exit code 4 where a limit is reached.
func (s *catalogScreen) end(f *factory) error {
	var names []string
	for _, m := range s.measures {
		if level := m.Level(); level == stats.LevelWarn || level == stats.LevelCrit {
			names = append(names, m.Name+" "+string(level))
		}
	}
	if len(names) == 0 {
		return nil
	}
	line := strings.Join(names, ", ")
	f.Note("%s", line)
	return cli.ExitTold(cli.ExitPending, "%s", line)
}

// systemTablesList says how the tables of the catalogs are shown.
func systemTablesList() cli.List[stats.SystemTable] {
	return cli.List[stats.SystemTable]{
		Plural: "tables",
		Columns: []cli.Column[stats.SystemTable]{
			{Name: "table", Value: func(t stats.SystemTable) any { return t.Name }},
			{Name: "size_bytes", Title: "TOTAL", Right: true, Value: func(t stats.SystemTable) any {
				return cli.ByteSize(t.Bytes)
			}},
			{Name: "index_bytes", Title: "INDEXES", Right: true, Value: func(t stats.SystemTable) any {
				return cli.ByteSize(t.IndexBytes)
			}},
			{Name: "rows_estimate", Title: "ROWS", Right: true, Value: func(t stats.SystemTable) any {
				return cli.Either{Human: humanEstimate(int64(t.Rows)), Machine: int64(t.Rows)}
			}},
			{Name: "dead_rows", Title: "DEAD", Right: true, Value: func(t stats.SystemTable) any { return int64(t.Dead) }},
			{Name: "last_vacuum", Title: "VACUUMED", Value: func(t stats.SystemTable) any { return t.LastVacuum }},
		},
		Name: func(t stats.SystemTable) string { return t.Name },
	}
}

// lagging is a tenant with tables that are past a threshold of autovacuum.
type lagging struct {
	slug       string
	tables     []stats.Upkeep // the one with the most dead rows first
	dead       float64
	age        int64
	lastVacuum *time.Time
	off        int
}

// laggingOf groups tables by their tenant, the one with the most dead rows first.
func laggingOf(due []stats.Upkeep) []lagging {
	var out []lagging
	for _, u := range due {
		if len(out) == 0 || out[len(out)-1].slug != u.Slug {
			out = append(out, lagging{slug: u.Slug})
		}
		l := &out[len(out)-1]
		l.tables, l.dead, l.age = append(l.tables, u), l.dead+u.Dead, max(l.age, u.Age)
		if u.LastVacuum != nil && (l.lastVacuum == nil || u.LastVacuum.After(*l.lastVacuum)) {
			l.lastVacuum = u.LastVacuum
		}
		if u.Off {
			l.off++
		}
	}
	for _, l := range out {
		slices.SortStableFunc(l.tables, func(a, b stats.Upkeep) int { return int(b.Dead - a.Dead) })
	}
	slices.SortStableFunc(out, func(a, b lagging) int { return int(b.dead - a.dead) })
	return out
}

func laggingList() cli.List[lagging] {
	return cli.List[lagging]{
		Plural: "tenants",
		Columns: []cli.Column[lagging]{
			{Name: "tenant", Value: func(l lagging) any { return l.slug }},
			{Name: "tables", Right: true, Value: func(l lagging) any { return len(l.tables) }},
			{Name: "worst_table", Title: "WORST", Value: func(l lagging) any { return l.tables[0].Table }},
			{Name: "dead_rows", Title: "DEAD", Right: true, Value: func(l lagging) any { return int64(l.dead) }},
			{Name: "xid_age", Title: "AGE", Right: true, Wide: true, Value: func(l lagging) any { return l.age }},
			{Name: "autovacuum_off", Title: "OFF", Right: true, Wide: true, Value: func(l lagging) any { return l.off }},
			{Name: "last_vacuum", Title: "VACUUMED", Value: func(l lagging) any { return l.lastVacuum }},
		},
		Name:  func(l lagging) string { return l.slug },
		Empty: "no table of a tenant is past a threshold of autovacuum",
	}
}
