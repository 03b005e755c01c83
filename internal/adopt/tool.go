package adopt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// A tool is a program that keeps in a table of each schema what it did there.
type tool struct {
	name    string // as its users call it
	title   string // as it is written
	table   string // where it keeps what it did, unless told otherwise
	columns []string
	without string // a column that the table of another program has, "" for none
	// row is the select list of its table: a number that orders the rows, the name of a
	// migration, what kind of row it is, and "failed" for one that did not end well.
	row string
	// lock tells that the table of the same name with _lock says whether it is at work.
	lock bool
	// state tells that its one row is the version at which the schema stands.
	state bool
	// bare tells that it keeps numbers alone, which are compared without words.
	bare bool
	// read returns what the rows mean; nil for a row a migration.
	read func(rows []row) (done, error)
}

// tools returns the programs that are known, beside goose.
func tools() []tool {
	const none = `''::pg_catalog.text`
	text := func(column string) string { return "coalesce(" + column + "::pg_catalog.text, '')" }
	order := func(at string) string {
		return "coalesce((extract(epoch from " + at + ") operator(pg_catalog.*) 1000000)::pg_catalog.int8, 0)"
	}
	return []tool{
		{name: "knex", title: "knex", table: "knex_migrations", columns: []string{"id", "name"}, lock: true,
			row: "id::pg_catalog.int8, " + text("name") + ", " + none + ", " + none},
		{name: "golang-migrate", title: "golang-migrate", table: "schema_migrations",
			columns: []string{"version", "dirty"}, state: true,
			row:  "0::pg_catalog.int8, " + text("version") + ", " + none + ", case when dirty then 'failed' else '' end",
			read: readState},
		{name: "tern", title: "tern", table: "schema_version", columns: []string{"version"}, state: true,
			row: "0::pg_catalog.int8, " + text("version") + ", " + none + ", " + none, read: readState},
		{name: "rails", title: "Rails", table: "schema_migrations", columns: []string{"version"},
			without: "dirty", bare: true,
			row: "0::pg_catalog.int8, " + text("version") + ", " + none + ", " + none, read: readNumbers},
		{name: "dbmate", title: "dbmate", table: "schema_migrations", columns: []string{"version"},
			without: "dirty", bare: true,
			row: "0::pg_catalog.int8, " + text("version") + ", " + none + ", " + none, read: readNumbers},
		{name: "django", title: "Django", table: "django_migrations", columns: []string{"id", "app", "name"},
			row: "id::pg_catalog.int8, " + text("app") + " operator(pg_catalog.||) '.' operator(pg_catalog.||) " + text("name") +
				", " + none + ", " + none},
		{name: "flyway", title: "Flyway", table: "flyway_schema_history", columns: []string{"installed_rank", "version",
			"type", "script", "success"},
			row: "installed_rank::pg_catalog.int8, " + text("script") + ", " + text("type") +
				" operator(pg_catalog.||) ' ' operator(pg_catalog.||) " + text("version") +
				", case when success then '' else 'failed' end", read: readFlyway},
		{name: "prisma", title: "Prisma", table: "_prisma_migrations", columns: []string{"migration_name", "started_at",
			"finished_at", "rolled_back_at"},
			row: order("started_at") + ", " + text("migration_name") +
				", case when rolled_back_at is null then '' else 'undone' end, " +
				"case when finished_at is null and rolled_back_at is null then 'failed' else '' end", read: readPrisma},
		{name: NoTool, title: "no program"},
	}
}

// NoTool is the name of the source of schemas which no program has a table of versions
// in.
const NoTool = "none"

// Tools returns the names of the programs whose schemas can be adopted, goose first.
func Tools() []string {
	names := []string{"goose"}
	for _, t := range tools() {
		names = append(names, t.name)
	}
	return names
}

// Tables returns the names of the tables in which known programs keep what they did, and
// of what stands beside them. No migration makes them.
func Tables() []string {
	out := []string{"ar_internal_metadata"} // of Rails
	for _, t := range tools() {
		if t.table != "" && !slices.Contains(out, t.table) {
			out = append(out, t.table)
		}
		if t.lock {
			out = append(out, t.table+"_lock")
		}
	}
	return out
}

// TablesOf returns Tables, and those of programs that keep what they did elsewhere.
func TablesOf(kept []registry.Source) []string {
	out := Tables()
	for _, s := range kept {
		if s.Program == Goose || slices.Contains(out, s.Table) {
			continue
		}
		out = append(out, s.Table)
		if k := From(s.Program); k != nil && k.tool.lock {
			out = append(out, s.Table+"_lock")
		}
	}
	return out
}

// Holds reports whether a schema has one of some tables.
func Holds(ctx context.Context, q db.Querier, schema db.Schema, tables []string) (bool, error) {
	// By the catalog: the session's own role need not see the schema.
	there, err := db.Select(ctx, q, pgx.RowTo[bool], `select exists (select from pg_class c
		join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1::text::name and c.relname = any ($2::text[]::name[]))`, schema.String(), tables)
	if err != nil {
		return false, fmt.Errorf("look for the tables of other programs in schema %s: %w", schema, err)
	}
	return there[0], nil
}

// keeper returns the program that has made a table, nil for none that is known.
func keeper(name string, columns []string) *tool {
	for _, t := range tools() {
		if t.table == name && t.fits(columns) == "" {
			return &t
		}
	}
	return nil
}

// fits returns the column that a table lacks to be this program's, or has too many, and
// "" where it is.
func (t *tool) fits(columns []string) string {
	for _, c := range t.columns {
		if !slices.Contains(columns, c) {
			return "no column " + c
		}
	}
	if t.without != "" && slices.Contains(columns, t.without) {
		return "a column " + t.without
	}
	return ""
}

// row is one of a program's table.
type row struct {
	order            int64
	name, kind, mark string
}

// done is what a program says was applied to a schema.
type done struct {
	names []string // migrations, in the order in which they were applied
	upTo  string   // the version up to which everything was applied, "" for none
}

// failedError says that the last run of another program did not end well.
func failedError(title, what string) error {
	return fmt.Errorf("%w: %s", ErrHistory, title+" says that "+what+"; put the schema in order with it first")
}

// means returns what the rows of the program's table mean.
func (t *tool) means(rows []row) (done, error) {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.order, b.order) })
	if t.read != nil {
		return t.read(rows)
	}
	var d done
	for _, r := range rows {
		d.names = append(d.names, r.name)
	}
	return d, nil
}

// readState is for programs whose one row says where the schema stands.
func readState(rows []row) (done, error) {
	if len(rows) > 1 {
		return done{}, fmt.Errorf("%w: the table of versions has %d rows, of which one may be", ErrHistory, len(rows))
	}
	for _, r := range rows {
		if r.mark != "" {
			return done{}, failedError("golang-migrate", "version "+r.name+" is dirty: it failed in the middle")
		}
		if r.name != "0" {
			return done{upTo: r.name}, nil
		}
	}
	return done{}, nil
}

// readNumbers is for programs that keep numbers alone, in no order.
func readNumbers(rows []row) (done, error) {
	var d done
	for _, r := range rows {
		d.names = append(d.names, r.name)
	}
	slices.SortFunc(d.names, func(a, b string) int {
		x, errX := strconv.ParseInt(a, 10, 64)
		y, errY := strconv.ParseInt(b, 10, 64)
		if errX != nil || errY != nil {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(x, y)
	})
	return d, nil
}

// readFlyway leaves out what was undone or deleted, and takes a baseline for everything
// up to it. Its rows have the type and the version as their kind.
func readFlyway(rows []row) (done, error) {
	type applied struct{ name, version string }
	var (
		list []applied
		d    done
	)
	for _, r := range rows {
		kind, version, _ := strings.Cut(r.kind, " ")
		gone := strings.HasPrefix(kind, "UNDO") || kind == "DELETE"
		switch {
		case r.mark != "" && !gone:
			if slices.ContainsFunc(rows, func(other row) bool {
				return other.order > r.order && other.kind == "DELETE "+version
			}) {
				continue // repaired
			}
			return d, failedError("Flyway", r.name+" failed")
		case kind == "SCHEMA":
		case kind == "BASELINE":
			d.upTo = strings.TrimPrefix(version, "0")
		case gone:
			list = slices.DeleteFunc(list, func(a applied) bool { return version != "" && a.version == version })
		case version == "" && slices.ContainsFunc(list, func(a applied) bool { return a.name == r.name }):
			// A repeatable migration has a row for each time that it ran.
		default:
			list = append(list, applied{r.name, version})
		}
	}
	for _, a := range list {
		d.names = append(d.names, a.name)
	}
	return d, nil
}

// readPrisma leaves out what was rolled back, and refuses what failed.
func readPrisma(rows []row) (done, error) {
	var d done
	for _, r := range rows {
		switch {
		case r.mark != "":
			return d, failedError("Prisma", r.name+" did not finish")
		case r.kind == "":
			d.names = append(d.names, r.name)
		}
	}
	return d, nil
}

// file returns the version of the file that a migration is without a word, by number and
// words, or by the number where the program keeps no more. 0 is none.
func (t *tool) file(p *migrate.Plan, name string) int64 {
	name = plainName(name)
	if t.bare {
		version, err := strconv.ParseInt(name, 10, 64)
		if err != nil || p.Migration(version) == nil {
			return 0
		}
		return version
	}
	if t.name == "flyway" {
		name = strings.Replace(strings.TrimPrefix(name, "V"), "__", "_", 1)
	}
	version, words, ok := numbered(name)
	if !ok {
		return 0
	}
	if file := p.Migration(version); file != nil {
		if _, fileWords, _ := numbered(file.Name()); fileWords == words {
			return version
		}
	}
	return 0
}

// UnmanagedError says that a schema has no table of versions of the program that is said
// to have migrated it.
type UnmanagedError struct {
	Schema string
	Table  string // that is missing
	// Tool is the program whose table the schema has instead, "" for none, and Found the
	// table.
	Tool, Found string
}

// Error says which table is there, if one is.
func (e *UnmanagedError) Error() string {
	text := "schema has no " + e.Table + " table"
	if e.Table != migrate.VersionTable {
		text = fmt.Sprintf("%v, and no %s", migrate.ErrNotManaged, e.Table)
	}
	if e.Found != "" {
		return fmt.Sprintf("%s: %s (it has %s, as %s makes it)", text, e.Schema, e.Found, e.Tool)
	}
	return text + ": " + e.Schema
}

// Unwrap returns migrate.ErrNotManaged.
func (e *UnmanagedError) Unwrap() error { return migrate.ErrNotManaged }
