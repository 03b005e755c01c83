package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// TableFacts are what decides about the plan of a statement on a table of a tenant.
type TableFacts struct {
	Slug     string
	Table    string
	Name     string // of the table as SQL has it, with quotes where it needs them
	Rows     *int64 // estimated; nil where it was never analyzed
	Pages    int64
	Analyzed *time.Time // nil for never, since the statistics were reset
	Changed  int64      // rows changed since
	Indexes  []string   // that are valid
}

// Facts are those of the tables of a plan, in all tenants that are asked for.
type Facts struct {
	At      time.Time
	Tables  []TableFacts
	Trigram bool // the extension pg_trgm is in the database
}

// factsQuery finds tables by name ($4) in the schemas of tenants.
const factsQuery = `
	select t.slug, c.relname::text, pg_catalog.quote_ident(c.relname),
		case when c.reltuples >= 0 then c.reltuples::bigint end, c.relpages::bigint,
		greatest(pg_catalog.pg_stat_get_last_analyze_time(c.oid), pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)),
		coalesce(pg_catalog.pg_stat_get_mod_since_analyze(c.oid), 0),
		coalesce((
			select array_agg(x.relname::text order by x.relname)
			from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
			where i.indrelid = c.oid and i.indisvalid), '{}')
	from %s t
	join pg_catalog.pg_namespace n on n.nspname = t.schema_name
	join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = any ($4::text[])
	where ` + selected + `
	order by 1, 2`

// ReadFacts reads what decides about plans on tables of these names. It locks nothing of a
// tenant's. q must not be in a transaction.
func ReadFacts(ctx context.Context, q db.Querier, o Selected, tables []string) (Facts, error) {
	var f Facts
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.QueryRow([]any{&f.At, &f.Trigram}, `select pg_catalog.now(), exists (select from pg_catalog.pg_extension e
		where e.extname = 'pg_trgm')`)
		p.Query(func(rows pgx.Rows) (err error) {
			f.Tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t TableFacts, err error) {
				err = row.Scan(&t.Slug, &t.Table, &t.Name, &t.Rows, &t.Pages, &t.Analyzed, &t.Changed, &t.Indexes)
				return t, err
			})
			return err
		}, fmt.Sprintf(factsQuery, o.Registry.Tenants()), append(o.args(), tables)...)
	})
	if err != nil {
		return f, fmt.Errorf("read the state of the tables: %w", err)
	}
	return f, nil
}

// TenantPlan is how a tenant runs a statement.
type TenantPlan struct {
	Slug   string
	Schema string
	Plan   Plan
}

// PlanGroup are tenants that run a statement in the same way.
type PlanGroup struct {
	Tenants        []string // in the order of slugs
	Plan           Plan     // of the first
	Least, Most    float64  // cost
	Why            []string // it is not as the first group's: "never analyzed: 3"
	Suggestions    []Suggestion
	shape          string
	relationsTotal map[string][]TableFacts
}

// Plans puts together tenants whose plans have the same shape, where most are first, as
// they are added.
type Plans struct {
	groups map[string]*PlanGroup
}

// Add takes the plan of a tenant.
func (p *Plans) Add(t TenantPlan) {
	if p.groups == nil {
		p.groups = map[string]*PlanGroup{}
	}
	shape := t.Plan.Shape(t.Schema)
	g := p.groups[shape]
	if g == nil {
		g = &PlanGroup{Plan: t.Plan, Least: t.Plan.Root.Cost, shape: shape}
		p.groups[shape] = g
	}
	g.Tenants = append(g.Tenants, t.Slug)
	g.Least, g.Most = min(g.Least, t.Plan.Root.Cost), max(g.Most, t.Plan.Root.Cost)
}

// Relations returns the tables of all plans.
func (p *Plans) Relations() []string {
	var out []string
	for _, g := range p.groups {
		for _, name := range g.Plan.Relations() {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Groups returns the groups, with why they differ and what would help.
func (p *Plans) Groups(f Facts) []PlanGroup {
	var out []PlanGroup
	of := map[string]*PlanGroup{}
	for _, g := range p.groups {
		g.relationsTotal = map[string][]TableFacts{}
		for _, slug := range g.Tenants {
			of[slug] = g
		}
	}
	for _, t := range f.Tables {
		if g := of[t.Slug]; g != nil {
			g.relationsTotal[t.Table] = append(g.relationsTotal[t.Table], t)
		}
	}
	for _, g := range p.groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b PlanGroup) int {
		return cmp.Or(cmp.Compare(len(b.Tenants), len(a.Tenants)), cmp.Compare(a.shape, b.shape))
	})
	for i := range out {
		if i > 0 {
			out[i].Why = out[i].differs(out[0])
		}
		out[i].Suggestions = out[i].suggest(f)
	}
	return out
}

// Facts returns what is known of a table in the tenants of the group.
func (g PlanGroup) Facts(table string) []TableFacts { return g.relationsTotal[table] }

// largest returns the rows of the largest table of a name.
func (g PlanGroup) largest(table string) int64 {
	var most int64
	for _, t := range g.relationsTotal[table] {
		if t.Rows != nil {
			most = max(most, *t.Rows)
		}
	}
	return most
}

// differs says what the tenants of g have otherwise than those of the first group.
func (g PlanGroup) differs(first PlanGroup) []string {
	var why []string
	for _, index := range first.Plan.Indexes() {
		if slices.Contains(g.Plan.Indexes(), index) {
			continue
		}
		if n := g.without(first, index); n > 0 {
			why = append(why, fmt.Sprintf("no index %s: %d of %d", index, n, len(g.Tenants)))
		}
	}
	for _, table := range g.Plan.Relations() {
		never, stale := 0, 0
		for _, t := range g.relationsTotal[table] {
			switch {
			case t.Rows == nil:
				never++
			case t.Changed*5 > *t.Rows && t.Changed > 100:
				stale++
			}
		}
		if never > 0 {
			why = append(why, fmt.Sprintf("%s never analyzed: %d of %d", table, never, len(g.Tenants)))
		}
		if stale > 0 {
			why = append(why, fmt.Sprintf("%s changed by a fifth since it was analyzed: %d of %d", table, stale, len(g.Tenants)))
		}
		mine, others := median(g.relationsTotal[table]), median(first.relationsTotal[table])
		const much = 3
		if mine > others*much || mine*much < others {
			why = append(why, fmt.Sprintf("%s has %d rows in the middle tenant, there %d", table, mine, others))
		}
	}
	return why
}

// without counts the tenants of g whose table has no such index, where those of the first
// group have it.
func (g PlanGroup) without(first PlanGroup, index string) int {
	for table, facts := range first.relationsTotal {
		if !slices.ContainsFunc(facts, func(t TableFacts) bool { return slices.Contains(t.Indexes, index) }) {
			continue
		}
		n := 0
		for _, t := range g.relationsTotal[table] {
			if !slices.Contains(t.Indexes, index) {
				n++
			}
		}
		return n
	}
	return 0
}

// median returns the number of rows of the table in the middle.
func median(tables []TableFacts) int64 {
	var rows []int64
	for _, t := range tables {
		if t.Rows != nil {
			rows = append(rows, *t.Rows)
		}
	}
	if len(rows) == 0 {
		return 0
	}
	slices.Sort(rows)
	return rows[len(rows)/2]
}
