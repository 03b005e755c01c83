package migrate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// ErrNoMigrations says that a directory holds no migration file.
var ErrNoMigrations = errors.New("no migration files")

// Migration is one compiled file. It is shared by all workers and never
// changed.
type Migration struct {
	Version int64
	File    string // base name, "00005_add_company.sql"
	Up      []db.Statement
	Down    []db.Statement
	// Transactional is false for a file with "-- +goose NO TRANSACTION".
	Transactional bool
	// Apart tells that the file must be a transaction of its own: something in it ends
	// with the transaction, or can only be used after it.
	Apart bool
	// Session tells that the file may leave something in the session, like a temporary
	// table, which the next tenant must not meet.
	Session bool
	// Extensions are those that the file makes, in the order of its statements.
	Extensions []Extension
	// Checksum is SHA-256 over the Up statements, in hexadecimal. Comments and
	// blank lines between statements do not count.
	Checksum string

	deferred, writes, leaves bool // see sqltext.Needs
	sets                     bool // something with plain SET or RESET, which ends with the file
	values                   []sqltext.Value
	uses                     []int64 // versions of files whose values of enums it may use
	undone                   bool    // the file has statements that take it back
}

// Name returns the file's name without its ending, "00005_add_company".
func (m *Migration) Name() string { return strings.TrimSuffix(m.File, ".sql") }

// Plan is the compiled history of one kind of schema, in ascending order of
// version. It is safe for concurrent use.
type Plan struct {
	Migrations []*Migration
	// path is what follows the tenant's schema on the search_path: see UseExtensions.
	path db.Path
	// Others are the names of what else stands in the directory, like README.md.
	Others []string
}

// Head returns the newest version, 0 for an empty plan.
func (p *Plan) Head() int64 {
	if len(p.Migrations) == 0 {
		return 0
	}
	return p.Migrations[len(p.Migrations)-1].Version
}

// Session reports whether one of the migrations may leave something in the session that
// runs it.
func (p *Plan) Session() bool {
	return slices.ContainsFunc(p.Migrations, func(m *Migration) bool { return m.Session })
}

// EachApart returns the plan with a transaction for each file, as goose has it.
func (p *Plan) EachApart() *Plan {
	out := &Plan{Migrations: make([]*Migration, len(p.Migrations)), Others: p.Others, path: p.path}
	for i, m := range p.Migrations {
		apart := *m
		apart.Apart = true
		out.Migrations[i] = &apart
	}
	return out
}

// Only returns the plan that consists of the given versions.
func (p *Plan) Only(versions []int64) *Plan {
	out := &Plan{path: p.path}
	for _, m := range p.Migrations {
		if slices.Contains(versions, m.Version) {
			out.Migrations = append(out.Migrations, m)
		}
	}
	return out
}

// To returns the plan up to and including a version, which must be one of the
// plan's or 0.
func (p *Plan) To(version int64) (*Plan, error) {
	if version == 0 {
		return &Plan{}, nil
	}
	at, found := slices.BinarySearchFunc(p.Migrations, version, func(m *Migration, v int64) int {
		return cmp.Compare(m.Version, v)
	})
	if !found {
		return nil, fmt.Errorf("no migration has version %d; the newest is %d", version, p.Head())
	}
	return &Plan{Migrations: p.Migrations[:at+1], path: p.path}, nil
}

// After returns the migrations newer than a version.
func (p *Plan) After(version int64) []*Migration {
	for i, m := range p.Migrations {
		if m.Version > version {
			return p.Migrations[i:]
		}
	}
	return nil
}

// OutOfOrderError says that a schema lacks a migration older than its newest.
type OutOfOrderError struct {
	Missing []*Migration
	Pending []*Migration // the newer ones, which are in order
	Current int64
}

// Error names the files.
func (e *OutOfOrderError) Error() string {
	return fmt.Sprintf("out of order: %s was never applied, but the schema is at version %d already; "+
		"give the file a newer version, or apply it as it is", fileNames(e.Missing), e.Current)
}

// Pending returns the migrations that a schema with the given applied versions
// lacks, in order. A file older than the newest applied one is an
// *OutOfOrderError: it was merged late, and nobody knows whether it still fits.
func (p *Plan) Pending(applied []int64) ([]*Migration, error) {
	current := int64(0)
	has := make(map[int64]bool, len(applied))
	for _, v := range applied {
		has[v] = true
		current = max(current, v)
	}
	var pending, late []*Migration
	for _, m := range p.Migrations {
		switch {
		case has[m.Version]:
		case m.Version < current:
			late = append(late, m)
		default:
			pending = append(pending, m)
		}
	}
	if len(late) > 0 {
		return nil, &OutOfOrderError{Missing: late, Pending: pending, Current: current}
	}
	return pending, nil
}

// Versions returns the script that makes the version table of a schema which has
// every migration of this plan, and nothing else.
func (p *Plan) Versions() []db.Statement {
	versions := make([]int64, len(p.Migrations))
	for i, m := range p.Migrations {
		versions[i] = m.Version
	}
	return tenantVersions.history("", versions)
}

// Checksum returns SHA-256 over the versions and checksums of the migrations and where
// their names are looked for, in hexadecimal.
func (p *Plan) Checksum() string {
	h := sha256.New()
	for _, m := range p.Migrations {
		fmt.Fprintf(h, "%d %s %t\n", m.Version, m.Checksum, m.Transactional)
	}
	if !p.path.IsZero() {
		fmt.Fprintf(h, "path %s\n", p.path.Behind(db.Public))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// NoTransactionError says that a migration cannot take part in a transaction.
type NoTransactionError struct{ Migration *Migration }

// Error names the file.
func (e *NoTransactionError) Error() string {
	return e.Migration.File + " is marked NO TRANSACTION and cannot run together with others"
}

// VersionTable is the name of the table in a tenant's schema that says which migrations
// were applied to it: goose's.
const VersionTable = string(tenantVersions)

// History returns the script that makes the version table in a schema which has none,
// with the given versions as applied.
func History(s db.Schema, versions []int64) []db.Statement {
	return tenantVersions.history(s.Quoted()+".", versions)
}

// QueueApplied adds the row of a version that another program has applied to a schema.
func QueueApplied(p *db.Pipeline, s db.Schema, version int64) {
	p.Exec(`insert into `+tenantVersions.in(s)+` (version_id, is_applied) values ($1, true)`, version)
}

// versionTable is the name of a table of versions in the current schema. It has
// the columns that goose reads and writes, in goose's meaning, but neither an
// identity (a distributed engine cannot take it back) nor an index (a table of
// few rows does without, and each index costs a provisioning an fsync). id only
// orders the rows; microseconds since 1970 do that as well as a sequence. The
// replica identity lets logical replication carry deletes without a primary key.
type versionTable string

const (
	tenantVersions versionTable = "goose_db_version"
	// The registry shares public with whatever else lives there, so its
	// versions must not be taken for those of an application's own migrations.
	publicVersions versionTable = "crmctl_db_version"
)

// history returns the statements that make the table, with goose's row for version 0
// and one for each of the versions given. Within a microsecond the default of id
// would be the same for several, so their ids are counted up to it.
//
// Nothing but the table is looked for along search_path: what the default calls is
// decided when the table is made.
func (v versionTable) history(in string, versions []int64) []db.Statement {
	list := []string{"0"}
	for _, version := range versions {
		list = append(list, strconv.FormatInt(version, 10))
	}
	return []db.Statement{
		{SQL: `create table ` + in + string(v) + ` (
    id         bigint    not null
        default (extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::bigint,
    version_id bigint    not null,
    is_applied boolean   not null,
    tstamp     timestamp not null default pg_catalog.now()
)`},
		{SQL: `alter table ` + in + string(v) + ` replica identity full`},
		{SQL: fmt.Sprintf(`insert into %s (id, version_id, is_applied)
select (extract(epoch from pg_catalog.statement_timestamp()) operator(pg_catalog.*) 1000000)::bigint
    operator(pg_catalog.-) %d operator(pg_catalog.+) a.n, a.version, true
from pg_catalog.unnest(array[%s]::bigint[]) with ordinality a (version, n)`, in+string(v), len(list),
			strings.Join(list, ", ")), Apart: true},
	}
}

func (v versionTable) row(version int64) db.Statement {
	return db.Statement{Apart: true,
		SQL: fmt.Sprintf("insert into %s (version_id, is_applied) values (%d, true)", v, version)}
}

// in returns the name of the table in a schema.
func (v versionTable) in(s db.Schema) string { return s.Quoted() + "." + string(v) }

func (v versionTable) selectApplied(s db.Schema) string {
	return "select version_id from " + v.in(s) + " where is_applied order by id"
}
