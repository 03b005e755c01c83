package stats

import (
	"math"
	"time"

	"github.com/crmctl/crmctl/internal/registry"
)

// The names of measures.
const (
	MeasureSchemas   = "schemas"
	MeasureRelations = "relations"
	MeasureCatalog   = "catalog"
	MeasureDead      = "catalog-dead"
	MeasureLocks     = "locks"
	MeasureMemory    = "session-memory"
	MeasureXIDs      = "xid-age"
	MeasureMultixs   = "multixact-age"
	MeasureUpkeep    = "autovacuum"
)

// Measure is one figure of a catalog.
type Measure struct {
	Name  string
	Value float64
	Bytes bool    // the value is a number of bytes
	Most  float64 // that there can be; 0 where nothing bounds it
	// Warn and Crit are the values from which on something is wrong; nil for none.
	Warn, Crit *float64
}

// Percent is the part of what there can be.
func (m Measure) Percent() float64 { return m.Value * 100 / max(m.Most, 1) }

// Level is how much a measure matters.
type Level string

// The levels. None is that of a measure without limits.
const (
	LevelNone Level = ""
	LevelOK   Level = "ok"
	LevelWarn Level = "warning"
	LevelCrit Level = "critical"
)

// Level tells how the value stands to the limits.
func (m Measure) Level() Level {
	switch {
	case m.Crit != nil && m.Value >= *m.Crit:
		return LevelCrit
	case m.Warn != nil && m.Value >= *m.Warn:
		return LevelWarn
	case m.Warn == nil && m.Crit == nil:
		return LevelNone
	}
	return LevelOK
}

// Limit is a value from which on something is wrong: of the measure, or in percent of the
// most there can be.
type Limit struct {
	Value   float64
	Percent bool
	None    bool // there is no limit, not even the usual one
}

func (l Limit) of(m Measure) *float64 {
	switch {
	case l.None:
		return nil
	case l.Percent:
		v := m.Most * l.Value / 100
		return &v
	}
	return &l.Value
}

// Limits are limits by the name of the measure.
type Limits map[string]Limit

// UsualWarn and UsualCrit are the limits of what has an end: the lock table and the ids of
// transactions.
func UsualWarn() Limits {
	return Limits{MeasureLocks: {Value: 50, Percent: true}, MeasureXIDs: {Value: 40, Percent: true},
		MeasureMultixs: {Value: 40, Percent: true}}
}

// UsualCrit is described at UsualWarn.
func UsualCrit() Limits {
	return Limits{MeasureLocks: {Value: 80, Percent: true}, MeasureXIDs: {Value: 70, Percent: true},
		MeasureMultixs: {Value: 70, Percent: true}}
}

// Measures returns the figures of a catalog, with limits: the given ones, and the usual
// ones of other measures.
func (c Catalog) Measures(warn, crit Limits) []Measure {
	rows, dead := c.Dead()
	list := []Measure{
		{Name: MeasureSchemas, Value: float64(c.Schemas)},
		{Name: MeasureRelations, Value: float64(c.Relations)},
		{Name: MeasureCatalog, Value: float64(c.Bytes()), Bytes: true},
		{Name: MeasureDead, Value: dead, Most: rows},
		{Name: MeasureLocks, Value: float64(c.Locks.Used), Most: float64(c.Locks.Slots)},
		{Name: MeasureMemory, Value: float64(c.SessionBytes()), Bytes: true},
		{Name: MeasureXIDs, Value: float64(max(c.Database.XIDs, c.OldestCluster.XIDs)), Most: XIDSpace},
		{Name: MeasureMultixs, Value: float64(max(c.Database.Multixs, c.OldestCluster.Multixs)), Most: XIDSpace},
		{Name: MeasureUpkeep, Value: float64(len(c.Due))},
	}
	choose := func(given, usual Limits, m Measure) *float64 {
		if l, ok := given[m.Name]; ok {
			return l.of(m)
		}
		if l, ok := usual[m.Name]; ok {
			return l.of(m)
		}
		return nil
	}
	for i, m := range list {
		list[i].Warn, list[i].Crit = choose(warn, UsualWarn(), m), choose(crit, UsualCrit(), m)
	}
	return list
}

// MeasureNames returns the names of all measures, and of those whose most is known.
func MeasureNames() (all, bounded []string) {
	some := Catalog{Server: Server{Tables: []SystemTable{{Rows: 1}}, Locks: LockTable{Slots: 1}}}
	for _, m := range some.Measures(nil, nil) {
		all = append(all, m.Name)
		if m.Most > 0 {
			bounded = append(bounded, m.Name)
		}
	}
	return all, bounded
}

// SessionBytes is what a session keeps in memory that has looked at every tenant.
func (c Catalog) SessionBytes() int64 { return c.Memory.PerTenant * int64(c.Tenants) }

// Sample returns what the registry keeps of a catalog.
func (c Catalog) Sample() registry.CatalogSample {
	return registry.CatalogSample{At: c.At, Tenants: c.Tenants, Relations: c.Relations, CatalogBytes: c.Bytes()}
}

// Outlook is what a fleet will be when it has grown as it did.
type Outlook struct {
	Tenants      int // that there will be
	PerDay       float64
	Since        time.Time // of the sample that the growth is known by
	Days         float64   // until then; less than 0 where it does not grow
	CatalogBytes int64
	SessionBytes int64 // of a session that has looked at every tenant
}

// Ahead is the next of 10, 20, 50, 100, 200 and so on after a number of tenants.
func Ahead(tenants int) int {
	for ten := 10; ; ten *= 10 {
		for _, n := range []int{ten, 2 * ten, 5 * ten} {
			if n > tenants {
				return n
			}
		}
	}
}

// Outlook says when there will be so many tenants, and what that takes, from an earlier
// sample; nil where there is none. Sizes grow with the number of tenants.
func (c Catalog) Outlook(then *registry.CatalogSample, tenants int) *Outlook {
	if then == nil || c.Tenants == 0 {
		return nil
	}
	const day = 24 * time.Hour
	days := float64(c.At.Sub(then.At)) / float64(day)
	if days <= 0 {
		return nil
	}
	grown := float64(tenants) / float64(c.Tenants)
	o := &Outlook{Tenants: tenants, Since: then.At, PerDay: float64(c.Tenants-then.Tenants) / days, Days: -1,
		CatalogBytes: int64(math.Round(float64(c.Bytes()) * grown)), SessionBytes: c.Memory.PerTenant * int64(tenants)}
	switch left := float64(tenants - c.Tenants); {
	case left <= 0:
		o.Days = 0
	case o.PerDay > 0:
		o.Days = left / o.PerDay
	}
	return o
}
