package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// Source is a tenant to be read, as the registry knows it.
type Source struct {
	ID     string
	Slug   string
	Schema db.Schema
	// Accepted goes into the file as it is.
	Accepted []Accepted
	// Imports says that the registry lists imports, of which those of the tenant go with it.
	Imports bool

	role string // as which its tables are read, "" for the session's; only for pg_dump
}

// Limits bound what is done on the server.
type Limits struct {
	LockTimeout      time.Duration // wait for each lock
	StatementTimeout time.Duration // run of each statement, 0 = the server's
}

const codeUndefinedColumn = "42703"

// attempts is how often a tenant is read again whose tables are changed between
// the snapshot and the locks, which is a matter of a millisecond.
const attempts = 5

// snapshot is one moment of a schema, within a transaction.
type snapshot struct {
	conn     *pgx.Conn
	schema   db.Schema
	manifest Manifest
	there    structure
	replica  bool            // the server is a standby
	role     string          // of the session
	undo     *undo           // what imports have replaced, nil for nothing
	bare     map[string]bool // tables that COPY names without their schema
}

// inSnapshot calls read with one moment of a schema. names, if any, are the only
// relations meant.
//
// The snapshot comes before the locks on the tables. A table that was truncated or
// rewritten between the two would look empty (neither leaves the old rows to old
// snapshots), so the files that the snapshot knows are compared with those that
// are there once the locks are held.
func inSnapshot(ctx context.Context, conn *pgx.Conn, schema db.Schema, names []string, l Limits,
	read func(ctx context.Context, s *snapshot) error,
) error {
	for attempt := 1; ; attempt++ {
		locals := db.Locals{Schema: schema, LockTimeout: l.LockTimeout, StatementTimeout: l.StatementTimeout, Snapshot: true,
			Enter: func(p *db.Pipeline) { owner.QueueSight(p, []string{schema.String()}) }}
		err := db.InTx(ctx, conn, locals, func(ctx context.Context, _ db.Querier) error {
			s := &snapshot{conn: conn, schema: schema}
			if err := s.inspect(ctx, names); err != nil {
				return err
			}
			return read(ctx, s)
		})
		if !errors.Is(err, ErrMoved) || attempt == attempts {
			return err
		}
	}
}

// queueDialect adds the settings that make COPY text mean the same everywhere.
// row_security makes a policy that would hide rows an error.
func queueDialect(p *db.Pipeline) {
	p.Exec(`select pg_catalog.set_config(name, value, true)
		from (values ('client_encoding', 'UTF8'), ('datestyle', 'ISO, YMD'),
		('intervalstyle', 'postgres'), ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('timezone', 'UTC'),
			('xmloption', 'content'),
		('array_nulls', 'on'), ('quote_all_identifiers', 'off'),
		('row_security', 'off')) as setting (name, value)`)
}

// inspect reads what there is and locks it.
func (s *snapshot) inspect(ctx context.Context, names []string) error {
	var p db.Pipeline
	m, there := &s.manifest, &s.there
	p.OwnPath() // from here on nothing of the schema is called
	queueDialect(&p)
	p.QueryRow([]any{&m.Server.Version, &m.Server.Number, &m.Server.Encoding, &m.Server.Database, &s.role, &s.replica,
		&m.TakenAt, &m.LSN}, `select
		pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int4,
		pg_catalog.current_setting('server_encoding'), pg_catalog.current_database()::text, current_user::pg_catalog.text,
			pg_catalog.pg_is_in_recovery(), pg_catalog.now(),
		case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else
			pg_catalog.pg_current_wal_lsn() end::text`)
	there.queue(&p, s.schema, names)
	if names == nil {
		s.queueLeft(&p)
	}
	if err := p.Run(ctx, s.conn); err != nil {
		return fmt.Errorf("look at schema %s: %w", s.schema, db.Plain(err))
	}
	m.Server.Version, _, _ = strings.Cut(m.Server.Version, " ")
	m.TakenAt = m.TakenAt.UTC()
	for _, what := range there.members() {
		s.leaveOut(what)
	}
	for _, v := range there.of("m") {
		if !v.Populated {
			m.Unfilled = append(m.Unfilled, v.Name)
		}
	}
	tables := there.inLoadOrder()
	m.Tables = make([]Table, len(tables))
	for i, t := range tables {
		m.Tables[i] = Table{Name: t.Name, Columns: make([]Column, len(t.Columns))}
		m.Tables[i].Root, m.Tables[i].Bound = there.root(t.OID)
		for k, name := range t.Columns {
			m.Tables[i].Columns[k] = Column{Name: name, Type: t.Types[k]}
		}
	}
	if err := s.lock(ctx, tables, there.of("S")); err != nil {
		return err
	}
	return s.refuseLargeObjects(ctx)
}

// standing is where a sequence stands.
type standing struct {
	LastValue int64
	IsCalled  bool
}

// lock keeps the tables as they are until the end of the transaction, makes sure
// that they are those of the snapshot, and reads where the sequences stand. A
// sequence has no snapshot; read late, it is never behind the data.
func (s *snapshot) lock(ctx context.Context, tables, sequences []relation) error {
	var p db.Pipeline
	if len(tables) > 0 {
		list := map[string][]string{}
		var oids []int64
		for _, t := range tables {
			list[t.Role] = append(list[t.Role], "only "+qualified(s.schema, t.Name))
			oids = append(oids, t.OID)
		}
		for _, role := range slices.Sorted(maps.Keys(list)) {
			as(&p, role, func() {
				p.LockToRead(list[role]...)
			})
		}
		p.Query(func(rows pgx.Rows) error {
			now, err := pgx.CollectRows(rows, pgx.RowTo[*int64])
			if err != nil {
				return err
			}
			for i, t := range tables {
				if i >= len(now) || (now[i] == nil) != (t.File == nil) || now[i] != nil && *now[i] != *t.File {
					return fmt.Errorf("%w: %s", ErrMoved, t.Name)
				}
			}
			return nil
		}, `select pg_catalog.pg_relation_filenode(oid::oid)::int8 from unnest($1::int8[]) with ordinality as t (oid, n)
			order by n`, oids)
	}
	// A column that was dropped since the snapshot is an error here, before anything
	// is written. The server only looks for its name: to plan a query on the table
	// would run what somebody may have put into its indexes.
	var of []int64
	var columns []string
	for _, t := range tables {
		for _, c := range t.Columns {
			of, columns = append(of, t.OID), append(columns, c)
		}
	}
	p.Exec(`select pg_catalog.has_column_privilege(t.oid::pg_catalog.oid, t.name, 'select')
		from rows from (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.text[])) t (oid, name)`,
		of, columns)
	s.manifest.Sequences = make([]Sequence, len(sequences))
	for i, q := range sequences {
		at := &s.manifest.Sequences[i]
		at.Name = q.Name
		as(&p, q.Role, func() {
			p.Ask(func(rows pgx.Rows) error {
				found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[standing])
				at.LastValue, at.IsCalled = found.LastValue, found.IsCalled
				return err
			}, "select last_value, is_called from "+qualified(s.schema, q.Name))
		})
	}
	err := p.Run(ctx, s.conn)
	switch db.SQLState(err) {
	case "":
	case db.CodeUndefinedTable, codeUndefinedColumn: // dropped since the snapshot
		return fmt.Errorf("%w: %w", ErrMoved, db.Plain(err))
	default:
		return fmt.Errorf("lock the tables of schema %s: %w", s.schema, db.Plain(err))
	}
	return db.Plain(err)
}

// readTenant completes the manifest with the registry's row and the versions.
func (s *snapshot) readTenant(ctx context.Context, reg registry.Registry, src Source) error {
	s.manifest.Kind = KindTenant
	if !slices.ContainsFunc(s.manifest.Tables, func(t Table) bool { return t.Name == versionTable }) {
		return fmt.Errorf("schema %s has no table %s, so nobody knows what was applied to it", s.schema, versionTable)
	}
	var (
		p        db.Pipeline
		t        Tenant
		role     *string
		settings string
		imports  []registry.SavedImport
		kept     []undoInfo
	)
	p.QueryRow([]any{&t.ID, &t.Slug, &t.DisplayName, &t.Schema, &t.Status, &role, &settings, &t.CreatedAt},
		`select id::text, slug, display_name, schema_name, status, role_name, settings::text, created_at from `+reg.Tenants()+
			` where id = $1`, src.ID)
	p.QueryRow([]any{&s.manifest.Comment}, `select coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '')
		from pg_catalog.pg_namespace n where n.nspname operator(pg_catalog.=) $1`, s.schema.String())
	if src.Imports {
		reg.QueueSavedImports(&p, src.ID, &imports)
		s.queueUndoInfo(&p, &kept)
	}
	reader := s.reader(versionTable)
	planted.QueueHeld(&p, []planted.Table{{Schema: s.schema.String(), Name: versionTable}})
	as(&p, reader, func() {
		p.Ask(collect(&s.manifest.Versions), "select version_id, is_applied, tstamp::text from "+
			qualified(s.schema, versionTable)+" order by id")
	})
	if err := p.Run(ctx, s.conn); err != nil {
		return fmt.Errorf("read tenant %q: %w", src.Slug, db.Plain(err))
	}
	if t.Schema != s.schema.String() {
		return fmt.Errorf("%w: tenant %q has another schema now", ErrMoved, src.Slug)
	}
	if role != nil {
		t.Role = *role
	}
	t.Settings, t.CreatedAt = []byte(settings), t.CreatedAt.UTC()
	s.manifest.Tenant = &t
	for _, v := range s.manifest.Applied() {
		s.manifest.SchemaVersion = max(s.manifest.SchemaVersion, v)
	}
	return s.keepImports(ctx, imports, kept)
}

// copyOut writes the rows of a table as COPY text and returns how many they are.
func (s *snapshot) copyOut(ctx context.Context, t *Table, w io.Writer) (int64, error) {
	reader := s.reader(t.Name)
	if reader != "" {
		var p db.Pipeline
		p.Become(reader)
		if err := p.Run(ctx, s.conn); err != nil {
			return 0, err
		}
	}
	from := copyTarget(s.schema, t, s.bare)
	if isUndo(*t) {
		from = "(" + s.undo.sql(func(table string) string { return tableName(s.schema, table, s.bare) },
			db.EngineOf(s.conn).Distributed()) + ")"
	}
	tag, err := db.CopyTo(ctx, s.conn, w, "copy "+from+" to stdout")
	if err == nil && reader != "" {
		var p db.Pipeline
		p.Return()
		err = p.Run(ctx, s.conn)
	}
	if err != nil {
		return 0, fmt.Errorf("read table %s.%s: %w", s.schema, t.Name, err)
	}
	return tag.RowsAffected(), nil
}

// reader returns the role as which a table is read, "" for the session's own.
func (s *snapshot) reader(table string) string {
	if table == db.UndoTable {
		table = "contacts" // with which it is read
	}
	r, _ := s.there.table(table)
	return r.Role
}

// as adds something that is done as a role, "" for the session's own.
func as(p *db.Pipeline, role string, add func()) {
	p.Become(role)
	add()
	if role != "" {
		p.Return()
	}
}

// bareNames puts the path to rights for COPY, and finds out which tables of a tenant it can
// name without their schema.
func (s *snapshot) bareNames(ctx context.Context) error {
	if s.manifest.Kind == KindRegistry {
		return nil
	}
	byRole := map[string][]string{}
	for i := range s.manifest.Tables {
		name := s.manifest.Tables[i].Name
		byRole[s.reader(name)] = append(byRole[s.reader(name)], name)
	}
	s.bare = map[string]bool{}
	var p db.Pipeline
	if s.undo != nil {
		s.undo.queue(&p)
	}
	p.Bare(s.schema)
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		as(&p, role, func() { p.Found(s.bare, s.schema, byRole[role]) })
	}
	if err := p.Run(ctx, s.conn); err != nil {
		return fmt.Errorf("find the tables of schema %s: %w", s.schema, db.Plain(err))
	}
	return nil
}

// copyTarget returns a table and its columns, as COPY names them. Those in bare are found
// without their schema.
func copyTarget(schema db.Schema, t *Table, bare map[string]bool) string {
	name := tableName(schema, t.Name, bare)
	if len(t.Columns) == 0 {
		return name
	}
	return name + " (" + columnList(t) + ")"
}

// tableName returns the name of a table as COPY has it.
func tableName(schema db.Schema, name string, bare map[string]bool) string {
	if bare[name] {
		return db.Quoted(name)
	}
	return qualified(schema, name)
}

func columnList(t *Table) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = pgx.Identifier{c.Name}.Sanitize()
	}
	return strings.Join(names, ", ")
}
