package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// Source is a program other than goose that migrated schemas, and how its migrations
// become files of a plan. A migration whose number and words are those of a file
// ("00001_create_contacts.js" and "1_create_contacts.sql"), or whose number is where the
// program keeps no words, needs no word; the others need Map, UpTo or Baseline.
type Source struct {
	Table string // where the program keeps what it did; "" = its own default
	Map   Map
	// UpTo, if not 0, pairs migrations with files by their order: the fleet's
	// most frequent list that is as long as the plan up to this version stands
	// for the plan up to this version.
	UpTo int64
	// Baseline, if not 0, is the version at which every schema stands, whatever the
	// names of the migrations are.
	Baseline int64
	// Exact tells that the program's numbers are no versions of files unless Map says so.
	Exact bool
	// Kept, if not nil, is what was said of the program when schemas were adopted from it
	// before. It counts where nothing else is said now.
	Kept *registry.Source

	tool tool
}

// From returns the source that a name of Tools stands for, nil for goose.
func From(name string) *Source {
	for _, t := range tools() {
		if t.name == name {
			return &Source{tool: t}
		}
	}
	return nil
}

// Ordered reports whether the program keeps a list of migrations in an order, which UpTo
// needs.
func (k *Source) Ordered() bool { return !k.tool.state && k.tool.table != "" }

// Name is that of the program.
func (k *Source) Name() string { return k.tool.name }

// table returns the name of the table in which the program keeps what it did, "" where
// there is none.
func (k *Source) table() string { return cmp.Or(k.Table, k.tool.table) }

// lockTable returns the name of the table that says whether the program is at work, ""
// where it has none.
func (k *Source) lockTable() string {
	if !k.tool.lock {
		return ""
	}
	return k.table() + "_lock"
}

// tables returns the columns of the program's tables that are read.
func (k *Source) tables() map[string][]string {
	out := make(map[string][]string)
	if k.table() != "" {
		out[k.table()] = k.tool.columns
	}
	if k.tool.lock {
		out[k.lockTable()] = []string{"is_locked"}
	}
	return out
}

// mapping returns what stands for what: what Map says, then what the order says, then
// what agrees in number and words.
func (k *Source) mapping(p *migrate.Plan, states []history) (Map, error) {
	m := make(Map)
	if k.Baseline != 0 {
		_, err := p.To(k.Baseline)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrMap, err)
		}
		return m, err
	}
	for i := range states {
		for _, n := range states[i].told.names() {
			if version := k.tool.file(p, n); version != 0 {
				m[plainName(n)] = []int64{version}
			}
		}
	}
	before := k.before(p)
	for name, versions := range before {
		if len(versions) > 0 { // one that stands for nothing may have done so in some schemas alone
			m[name] = versions
		}
	}
	if k.UpTo != 0 {
		ordered, err := k.byOrder(p, states)
		if err != nil {
			return nil, err
		}
		maps.Copy(m, ordered)
	}
	maps.Copy(m, k.Map)
	return m, m.check(p)
}

// before returns what was said of the program's migrations before.
func (k *Source) before(p *migrate.Plan) Map {
	if k.Kept == nil {
		return nil
	}
	known, err := Following(*k.Kept, p)
	if err != nil || known == nil {
		return nil
	}
	return known.Map
}

// remember returns the source and the mapping for a schema that was adopted before: what
// stood for nothing then does so still.
func (k *Source) remember(p *migrate.Plan, m Map) (*Source, Map) {
	before := k.before(p)
	if len(before) == 0 {
		return k, m
	}
	now, all := *k, maps.Clone(before)
	maps.Copy(all, k.Map)
	now.Map, now.Exact = all, k.Exact || k.Kept.Exact
	all = maps.Clone(before)
	maps.Copy(all, m)
	return &now, all
}

// byOrder pairs the most frequent list of the right length with the plan.
func (k *Source) byOrder(p *migrate.Plan, states []history) (Map, error) {
	to, err := p.To(k.UpTo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMap, err)
	}
	var best []string
	count := make(map[string]int)
	longest := 0
	for i := range states {
		names := states[i].told.names()
		longest = max(longest, len(names))
		if len(names) != len(to.Migrations) {
			continue
		}
		key := strings.Join(names, "\n")
		count[key]++
		if count[key] > count[strings.Join(best, "\n")] {
			best = names
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: version %d is file number %d, but no schema has as many migrations (the most is %d)",
			ErrMap, k.UpTo, len(to.Migrations), longest)
	}
	m := make(Map, len(best))
	for i, n := range best {
		m[plainName(n)] = []int64{to.Migrations[i].Version}
	}
	return m, nil
}

// versions returns what a schema has of the plan, in ascending order.
func (k *Source) versions(p *migrate.Plan, m Map, t told) ([]int64, error) {
	d, err := k.tool.means(t.rows)
	if err != nil {
		return nil, err
	}
	if k.Baseline != 0 {
		return upTo(p, k.Baseline), nil
	}
	versions, err := m.versions(d.names)
	if err != nil || d.upTo == "" {
		return versions, err
	}
	stands, err := k.stands(p, d.upTo)
	if err != nil {
		return nil, err
	}
	versions = append(versions, upTo(p, stands)...)
	slices.Sort(versions)
	return slices.Compact(versions), nil
}

// stands returns the version of the plan that a version of the program's stands for,
// together with all before it.
func (k *Source) stands(p *migrate.Plan, version string) (int64, error) {
	if mapped, ok := k.Map[version]; ok {
		return slices.Max(append(mapped, 0)), nil
	}
	v, err := strconv.ParseInt(version, 10, 64)
	switch {
	case k.Exact:
		return 0, fmt.Errorf("%w: no file is known for version %s", ErrHistory, version)
	case err == nil && v > p.Head():
		return 0, &NewerError{Version: v, Newest: p.Head()}
	case err != nil || p.Migration(v) == nil:
		return 0, fmt.Errorf("%w: no file is known for version %s", ErrHistory, version)
	}
	return v, nil
}

// upTo returns the plan's versions up to one.
func upTo(p *migrate.Plan, version int64) []int64 {
	var out []int64
	for _, m := range p.Migrations {
		if m.Version <= version {
			out = append(out, m.Version)
		}
	}
	return out
}

// told is what another program's tables say.
type told struct {
	exists  bool
	hasLock bool // the table that says whether it is at work is there
	locked  bool
	rows    []row
	tool    *tool
}

// names returns what was done, in the order in which it was, as far as that is known.
func (t told) names() []string {
	if t.tool == nil {
		return nil
	}
	d, err := t.tool.means(slices.Clone(t.rows))
	if err != nil {
		return nil // judge says so
	}
	return d.names
}

// queue adds the reading of the program's tables where there are some.
func (k *Source) queue(p *db.Pipeline, claims []Adoption, chunk []int, states []history) {
	var rows, locks []string
	for _, i := range chunk {
		states[i].told.rows, states[i].told.locked, states[i].told.tool = nil, false, &k.tool
		schema := claims[i].schema.Quoted()
		if states[i].told.exists {
			rows = append(rows, fmt.Sprintf("select %d, %s from %s.%s", i, k.tool.row, schema, quotedTable(k.table())))
		}
		if states[i].told.hasLock {
			locks = append(locks, fmt.Sprintf(`select %d from %s.%s where is_locked operator(pg_catalog.<>) 0`, i, schema,
				quotedTable(k.lockTable())))
		}
	}
	queueUnion(p, rows, func(rows pgx.Rows) error {
		var (
			i int
			r row
		)
		if err := rows.Scan(&i, &r.order, &r.name, &r.kind, &r.mark); err != nil {
			return err
		}
		states[i].told.rows = append(states[i].told.rows, r)
		return nil
	})
	queueUnion(p, locks, func(rows pgx.Rows) error {
		var i int
		if err := rows.Scan(&i); err != nil {
			return err
		}
		states[i].told.locked = true
		return nil
	})
}

// hold keeps the program from beginning a run, which it does by an update of this row,
// until the transaction ends.
func (k *Source) hold(p *db.Pipeline, a Adoption) {
	p.Exec("select from " + a.schema.Quoted() + "." + quotedTable(k.lockTable()) + " for update")
}

func quotedTable(name string) string { return pgx.Identifier{name}.Sanitize() }
