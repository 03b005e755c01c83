package adopt

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
)

// ErrKnexMap says that a mapping of knex's migrations to files cannot be used.
var ErrKnexMap = errors.New("mapping of knex migrations")

// defaultKnexTable is where knex keeps what it has done, unless told otherwise.
const defaultKnexTable = "knex_migrations"

// Knex says how the migrations of knex become files of a plan. A migration whose
// number and words are those of a file ("00001_create_contacts.js" and
// "1_create_contacts.sql") needs no word; the others need Map or UpTo.
type Knex struct {
	Table string // "" = knex_migrations; the lock is in the table of this name with _lock
	Map   KnexMap
	// UpTo, if not 0, pairs migrations with files by their order: the fleet's
	// most frequent list that is as long as the plan up to this version stands
	// for the plan up to this version.
	UpTo int64
}

// KnexMap says which versions a migration of knex stands for, by its name
// without the ending. One migration may stand for several files, several
// together may stand for one, and one that stands for none has an empty list.
type KnexMap map[string][]int64

// ReadKnexMap reads a mapping, as YAML where the file is called .yaml or .yml:
//
//	20240101120000_create_contacts.js: 1
//	20240105090000_conversations.js: [2, 3]
//	20240109100000_demo_data.js: []
//
// and as CSV otherwise, a pair a line, with or without a header. A name in
// several lines stands for several versions, "-" for none.
func ReadKnexMap(file string, r io.Reader) (KnexMap, error) {
	var (
		m   KnexMap
		err error
	)
	switch path.Ext(file) {
	case ".yaml", ".yml":
		m, err = readKnexYAML(r)
	default:
		m, err = readKnexCSV(r)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrKnexMap, file, err)
	case len(m) == 0:
		return nil, fmt.Errorf("%w: %s: nothing in it", ErrKnexMap, file)
	}
	return m, nil
}

func readKnexYAML(r io.Reader) (KnexMap, error) {
	var nodes map[string]yaml.Node
	if err := yaml.NewDecoder(r).Decode(&nodes); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m := make(KnexMap, len(nodes))
	for name, node := range nodes {
		versions := []int64{}
		if node.Kind == yaml.SequenceNode {
			if err := node.Decode(&versions); err != nil {
				return nil, fmt.Errorf("%s: want a version or a list of them", name)
			}
		} else {
			var one int64
			if err := node.Decode(&one); err != nil {
				return nil, fmt.Errorf("%s: want a version or a list of them", name)
			}
			versions = append(versions, one)
		}
		if _, twice := m[knexName(name)]; twice {
			return nil, fmt.Errorf("%s stands there twice, with different endings", name)
		}
		m[knexName(name)] = versions
	}
	return m, nil
}

func readKnexCSV(r io.Reader) (KnexMap, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.TrimLeadingSpace, in.Comment = 2, true, '#'
	m := make(KnexMap)
	for first := true; ; first = false {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		name, value := knexName(strings.TrimPrefix(record[0], "\ufeff")), strings.TrimSpace(record[1])
		if value == "-" {
			m[name] = append([]int64{}, m[name]...)
			continue
		}
		version, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err == nil:
			m[name] = append(m[name], version)
		case first: // a header
		default:
			line, _ := in.FieldPos(1)
			return nil, fmt.Errorf("line %d: %q is no version", line, value)
		}
	}
}

// check refuses versions that the plan does not have.
func (m KnexMap) check(p *migrate.Plan) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[name] {
			if p.Migration(v) == nil {
				return fmt.Errorf("%w: %s stands for version %d, which no file has", ErrKnexMap, name, v)
			}
		}
	}
	return nil
}

// versions returns what a schema with the given migrations of knex has of the
// plan, in ascending order.
func (m KnexMap) versions(names []string) ([]int64, error) {
	has := make(map[string]bool, len(names))
	var unknown []string
	for _, n := range names {
		key := knexName(n)
		if _, ok := m[key]; !ok {
			unknown = append(unknown, n)
		}
		has[key] = true
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: no file is known for %s", ErrHistory, few(unknown))
	}
	var out []int64
	for version, parts := range m.byVersion() {
		var missing []string
		for _, n := range parts {
			if !has[n] {
				missing = append(missing, n)
			}
		}
		switch {
		case len(missing) == 0:
			out = append(out, version)
		case len(missing) < len(parts):
			return nil, fmt.Errorf("%w: version %d is there in part, without %s", ErrHistory, version, few(missing))
		}
	}
	slices.Sort(out)
	return out, nil
}

// byVersion turns the map around: which migrations make a version.
func (m KnexMap) byVersion() map[int64][]string {
	out := make(map[int64][]string)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[name] {
			out[v] = append(out[v], name)
		}
	}
	return out
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// knexName returns the name of a migration without the ending of its language,
// which changes when a team moves to TypeScript, say.
func knexName(file string) string {
	file = strings.TrimSpace(file)
	switch ext := path.Ext(file); ext {
	case ".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".sql", ".coffee":
		return strings.TrimSuffix(file, ext)
	}
	return file
}

// numbered splits "00012_add_x" into 12 and "add_x".
func numbered(name string) (version int64, words string, ok bool) {
	number, words, found := strings.Cut(name, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	return version, words, found && err == nil && version > 0
}

func (k *Knex) table() string     { return cmp.Or(k.Table, defaultKnexTable) }
func (k *Knex) lockTable() string { return k.table() + "_lock" }

// mapping returns what stands for what: what Map says, then what the order says,
// then what agrees in number and words.
func (k *Knex) mapping(p *migrate.Plan, states []history) (KnexMap, error) {
	m := make(KnexMap)
	for i := range states {
		for _, n := range states[i].knex.names() {
			version, words, ok := numbered(knexName(n))
			if !ok {
				continue
			}
			if file := p.Migration(version); file != nil {
				if _, fileWords, _ := numbered(file.Name()); fileWords == words {
					m[knexName(n)] = []int64{version}
				}
			}
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

// byOrder pairs the most frequent list of the right length with the plan.
func (k *Knex) byOrder(p *migrate.Plan, states []history) (KnexMap, error) {
	to, err := p.To(k.UpTo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKnexMap, err)
	}
	var best []string
	count := make(map[string]int)
	longest := 0
	for i := range states {
		names := states[i].knex.names()
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
			ErrKnexMap, k.UpTo, len(to.Migrations), longest)
	}
	m := make(KnexMap, len(best))
	for i, n := range best {
		m[knexName(n)] = []int64{to.Migrations[i].Version}
	}
	return m, nil
}

// knexHistory is what knex_migrations says.
type knexHistory struct {
	exists  bool
	hasLock bool // knex_migrations_lock is there
	locked  bool
	rows    []knexRow
}

type knexRow struct {
	id   int64
	name string
}

// names returns what was done, in the order in which it was.
func (h knexHistory) names() []string {
	slices.SortStableFunc(h.rows, func(a, b knexRow) int { return cmp.Compare(a.id, b.id) })
	names := make([]string, len(h.rows))
	for i, r := range h.rows {
		names[i] = r.name
	}
	return names
}

// queue adds the reading of knex's tables where there are some.
func (k *Knex) queue(p *db.Pipeline, claims []Adoption, chunk []int, states []history) {
	var done, locks []string
	for _, i := range chunk {
		states[i].knex.rows, states[i].knex.locked = nil, false
		schema := claims[i].schema.Quoted()
		if states[i].knex.exists {
			done = append(done, fmt.Sprintf(`select %d, id::pg_catalog.int8, coalesce(name::pg_catalog.text, '') from %s.%s`, i, schema, quotedTable(k.table())))
		}
		if states[i].knex.hasLock {
			locks = append(locks, fmt.Sprintf(`select %d from %s.%s where is_locked operator(pg_catalog.<>) 0`, i, schema, quotedTable(k.lockTable())))
		}
	}
	queueUnion(p, done, func(rows pgx.Rows) error {
		var (
			i int
			r knexRow
		)
		if err := rows.Scan(&i, &r.id, &r.name); err != nil {
			return err
		}
		states[i].knex.rows = append(states[i].knex.rows, r)
		return nil
	})
	queueUnion(p, locks, func(rows pgx.Rows) error {
		var i int
		if err := rows.Scan(&i); err != nil {
			return err
		}
		states[i].knex.locked = true
		return nil
	})
}

// hold keeps knex from beginning a run, which it does by an update of this row,
// until the transaction ends.
func (k *Knex) hold(p *db.Pipeline, a Adoption) {
	p.Exec("select from " + a.schema.Quoted() + "." + quotedTable(k.lockTable()) + " for update")
}

func quotedTable(name string) string { return pgx.Identifier{name}.Sanitize() }
