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
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// RestoreOptions say how a tenant comes back.
type RestoreOptions struct {
	NewTenant

	As string // slug of the new tenant; "" = that of the backup
	// Forget, if not nil, is called last, within the transaction.
	Forget Forget
}

// Forget removes what must not come back from the schema of a tenant that was saved before, and
// returns what the audit is told of it.
type Forget = func(ctx context.Context, q db.Querier, schema db.Schema, saved, made Tenant,
	takenAt time.Time) (map[string]any, error)

// Made is a tenant that Restore or Clone has made.
type Made struct {
	Tenant   Tenant // as it is in the registry now
	Version  int64
	Rows     int64
	Bytes    int64     // of COPY text
	SetAside string    // the name now of the deleted tenant that had this one's, "" for none
	Manifest *Manifest // of what it was made from
}

// Restore makes a tenant out of a backup, in one transaction: the registry row, the
// schema from the migrations that the backup names, the rows, the sequences and the
// audit. A row of the very tenant whose schema is gone is kept as the registry has it, and
// a deleted tenant of that name is set aside where the options say how. The whole file is read and
// checked before the commit; an error leaves
// nothing behind.
//
// The error wraps registry.ErrExists where the tenant or its schema is there, ErrMismatch
// where the migrations do not make what the rows need, and what NewReader returns
// where the file is at fault.
func Restore(ctx context.Context, conn *pgx.Conn, in io.Reader, o RestoreOptions) (*Made, error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	m := r.Manifest()
	if m.Kind != KindTenant {
		return nil, fmt.Errorf("%w: the registry, not a tenant", ErrOtherKind)
	}
	t, err := newTarget(conn, *m.Tenant, o.As)
	if err != nil {
		return nil, err
	}
	if err := restore(ctx, t, r, o); err != nil {
		return nil, errors.Join(err, t.undo(ctx))
	}
	return &Made{Tenant: t.row, Version: m.SchemaVersion, Rows: m.Rows(), Bytes: m.Bytes(), Manifest: m,
		SetAside: t.kept}, nil
}

func restore(ctx context.Context, t *target, r *Reader, o RestoreOptions) error {
	m := r.Manifest()
	if err := t.create(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if err := t.prepare(ctx, m); err != nil {
		return err
	}
	if err := fillAll(ctx, r, o.Progress, t.fill); err != nil {
		return err
	}
	if err := t.checkRecord(ctx, m); err != nil {
		return err
	}
	if err := t.complete(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if err := t.keepImports(ctx, m, o.NewTenant); err != nil {
		return err
	}
	detail := map[string]any{
		"schema": t.row.Schema, "version": m.SchemaVersion, "taken_at": m.TakenAt, "from": m.Tenant.Slug, "rows": m.Rows(),
	}
	if t.kept != "" {
		detail["set_aside"] = t.kept
	}
	if o.Forget != nil {
		more, err := o.Forget(ctx, t.conn, t.schema, *m.Tenant, t.row, m.TakenAt)
		if err != nil {
			return err
		}
		maps.Copy(detail, more)
	}
	return t.commit(ctx, o.NewTenant, detail)
}

// fillAll hands the tables of a container to fill, one after the other, and reads
// the container to its end.
func fillAll(ctx context.Context, r *Reader, progress func(int64), fill func(context.Context, *Table, io.Reader) (int64,
	error)) error {
	for {
		table, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err := r.Finish()
			return err
		}
		if err != nil {
			return err
		}
		if progress != nil {
			data = &countingReader{data, progress}
		}
		rows, err := fill(ctx, table, data)
		if err != nil {
			return err
		}
		if rows != table.Rows {
			return fmt.Errorf("%w: table %q got %d rows of %d", ErrCorrupt, table.Name, rows, table.Rows)
		}
	}
}

// RegistryOptions say how a registry is filled from a file.
type RegistryOptions struct {
	Limits

	Registry registry.Registry
	// Tables are the registry's own, in which rows are saved. A file that holds rows
	// of any other is refused: what else stands in public is somebody else's.
	Tables []string
	// Judge refuses a tenant, as NewTenant.Judge does.
	Judge func(t Tenant) error
	// JudgeSource refuses a program that migrated tenants before; nil refuses none.
	JudgeSource func(s registry.Source) error
	// Progress is told how many bytes of COPY text were loaded; may be nil.
	Progress func(n int64)
}

// RestoreRegistry fills an empty registry from a backup of one, in one transaction.
// The registry has to be there, at the version of the backup or newer; a column that
// is new since then takes its default. It must have neither tenants nor an audit: the
// audit is appended to, and never emptied for another.
//
// The error wraps registry.ErrExists where it has, ErrMismatch where the registry is older than
// the backup, and ErrNotOwner where it is somebody else's.
func RestoreRegistry(ctx context.Context, conn *pgx.Conn, in io.Reader, o RegistryOptions) (*Manifest, error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	m := r.Manifest()
	if m.Kind != KindRegistry {
		return nil, fmt.Errorf("%w: a tenant, not the registry", ErrOtherKind)
	}
	for _, t := range m.Tables {
		if !slices.Contains(o.Tables, t.Name) {
			return nil, fmt.Errorf("table %q %w: it is none of those of the registry that are saved", t.Name, ErrRefused)
		}
	}
	locals := db.Locals{Schema: o.Registry.Schema(), LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout,
		Follow: true}
	err = db.InTx(ctx, conn, locals, func(ctx context.Context, _ db.Querier) error {
		return restoreRegistry(ctx, conn, r, o)
	})
	if pgErr, refused := errors.AsType[*pgconn.PgError](err); refused && pgErr.Code == db.CodeInsufficientPrivilege {
		// Without the server's code: a grant would not be the whole of it.
		return m, fmt.Errorf("%w: %s", ErrNotOwner, pgErr.Message)
	}
	return m, err
}

func restoreRegistry(ctx context.Context, conn *pgx.Conn, r *Reader, o RegistryOptions) error {
	m := r.Manifest()
	var (
		p       db.Pipeline
		there   structure
		tenants bool
		audited bool
		names   = make([]string, len(m.Tables))
		filled  = make([]bool, len(m.Tables))
	)
	for i, t := range m.Tables {
		names[i] = t.Name
	}
	o.Registry.QueueLockTenants(&p) // no tenant comes meanwhile
	p.OwnPath()
	queueDialect(&p)
	p.QueryRow([]any{&tenants, &audited}, "select exists (select from "+o.Registry.Tenants()+"), exists (select from "+
		o.Registry.Events()+")")
	there.queue(&p, o.Registry.Schema(), names)
	p.StandIn(o.Registry.Schema(), db.Path{})
	if err := p.Run(ctx, conn); err != nil {
		return fmt.Errorf("look at the registry: %w", db.Plain(err))
	}
	switch {
	case tenants:
		return fmt.Errorf("the registry has tenants: %w; it can only be restored into an empty one", registry.ErrExists)
	case audited:
		return fmt.Errorf("the registry has an audit, which is never emptied: %w; it can only be restored into a registry "+
			"that was just made", registry.ErrExists)
	}
	for _, want := range m.Tables {
		got, ok := there.table(want.Name)
		if !ok {
			return fmt.Errorf("%w: the registry has no table %q", ErrMismatch, want.Name)
		}
		for _, wrong := range compareColumns(&want, got) {
			if !strings.HasSuffix(wrong, "is too much") {
				return fmt.Errorf("%w: %s", ErrMismatch, wrong)
			}
		}
	}
	there.triggers = nil // they stay as they are
	t := &target{conn: conn, schema: o.Registry.Schema(), there: there}
	var check, empty db.Pipeline
	for i, name := range names {
		check.QueryRow([]any{&filled[i]}, "select exists (select from "+qualified(o.Registry.Schema(), name)+")")
	}
	if err := check.Run(ctx, conn); err != nil {
		return fmt.Errorf("look at the registry: %w", db.Plain(err))
	}
	for i, name := range slices.Backward(names) { // those that refer to others come last
		if filled[i] {
			empty.Exec("delete from " + qualified(o.Registry.Schema(), name))
		}
	}
	if err := empty.Run(ctx, conn); err != nil {
		return fmt.Errorf("empty the registry: %w", db.Plain(err))
	}
	restoreDefault, err := t.keepAddressOut(ctx, m)
	if err != nil {
		return err
	}
	if err := fillAll(ctx, r, o.Progress, t.fill); err != nil {
		return err
	}
	if restoreDefault != "" {
		if _, err := conn.Exec(ctx, restoreDefault); err != nil {
			return err
		}
	}
	if err := t.complete(ctx, m, NewTenant{}); err != nil {
		return err
	}
	if err := judgeRegistry(ctx, conn, o.Registry, o.Judge); err != nil {
		return err
	}
	return restoreSources(ctx, conn, names, o)
}

// restoreSources looks at the programs that the file says have migrated tenants, as at the
// tenants: each run looks whether they have gone on. A file of before there was such a list
// has them in the audit.
func restoreSources(ctx context.Context, q db.Querier, tables []string, o RegistryOptions) error {
	if !registry.SavesSources(tables) {
		return o.Registry.SourcesOfAudit(ctx, q)
	}
	found, err := o.Registry.ListSources(ctx, q)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, s := range found {
		if o.JudgeSource == nil {
			break
		}
		if err := o.JudgeSource(s); err != nil {
			return fmt.Errorf("program %q that migrated tenants %w: %w", s.Program, ErrRefused, err)
		}
	}
	return nil
}

// keepAddressOut keeps the audit of an older registry, which did not record from
// where a client came, from being given the address of the one that restores it. It
// returns the statement that puts the column's default back, "" for none.
func (t *target) keepAddressOut(ctx context.Context, m *Manifest) (string, error) {
	const table, column = registry.EventsTable, "client_addr"
	got, _ := t.there.table(table)
	if !slices.Contains(got.Columns, column) {
		return "", nil
	}
	for _, saved := range m.Tables {
		if saved.Name == table && slices.ContainsFunc(saved.Columns, func(c Column) bool { return c.Name == column }) {
			return "", nil
		}
	}
	alter := "alter table " + qualified(t.schema, table) + " alter column " + column
	if _, err := t.conn.Exec(ctx, alter+" drop default"); err != nil {
		return "", fmt.Errorf("prepare %s: %w", table, err)
	}
	return alter + " set default pg_catalog.inet_client_addr()", nil
}
