package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// Errors of Fix.
var (
	// ErrMended says that what was found is not there any more.
	ErrMended = errors.New("it is in order now")
	// ErrChanged says that the tenant is not what it was when it was looked at.
	ErrChanged = errors.New("the tenant has changed meanwhile; look again")
	// ErrPooled says that a pooler stands between, where a session of its own is
	// needed.
	ErrPooled = errors.New("a pooler stands between, and an index is dropped concurrently on a connection of its own: " +
		"set direct_database_url")
)

// FixOptions say how to mend.
type FixOptions struct {
	Registry    registry.Registry
	LockTimeout time.Duration
	// Retention is how long a row without a schema is kept before it may be purged.
	Retention time.Duration
	Now       func() time.Time // nil = time.Now
	Actor     string           // for the audit, "alice@host"
	Program   string           // for the audit, "crmctl 1.2.3"
	// Direct opens a connection past a pooler.
	Direct func(ctx context.Context) (*pgx.Conn, error)
	// CloseRuns closes the runs that were killed.
	CloseRuns func(ctx context.Context) error
}

func (o FixOptions) now() time.Time {
	if o.Now != nil {
		return o.Now().UTC()
	}
	return time.Now().UTC()
}

// Fixed is what became of a finding.
type Fixed struct {
	Finding Finding
	Done    string // what was done
	Undo    string // how to take it back, "" where there is no need
	Err     error
}

// fixFunc mends a finding. It looks again first, under the locks that keep others away.
type fixFunc func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error)

// Fix mends what can be mended of the findings, one after another; those that cannot
// are left out. A failure does not keep it from the next.
func Fix(ctx context.Context, conn *pgx.Conn, findings []Finding, o FixOptions) []Fixed {
	var out []Fixed
	for _, f := range findings {
		if f.fix == nil {
			continue
		}
		if ctx.Err() != nil {
			out = append(out, Fixed{Finding: f, Err: context.Cause(ctx)})
			continue
		}
		done, undo, err := f.fix(ctx, conn, o)
		if err != nil {
			err = fmt.Errorf("%s %s: %w", f.Class, f.Subject, db.Plain(err))
		}
		out = append(out, Fixed{Finding: f, Done: done, Undo: undo, Err: err})
	}
	return out
}

// locked runs fn in a transaction that holds the tenant's lock.
func locked(ctx context.Context, conn *pgx.Conn, t Tenant, o FixOptions,
	fn func(ctx context.Context, q db.Querier) error) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			var p db.Pipeline
			p.LockTenant(o.Registry.Row(t.ID), t.Schema, false)
			if err := p.Run(ctx, q); err != nil {
				if errors.Is(err, db.ErrNoTenant) {
					return ErrChanged
				}
				return db.Plain(err)
			}
			return fn(ctx, q)
		})
}

// hold locks a tenant's row and makes sure that it is as it was looked at.
func hold(ctx context.Context, q db.Querier, t Tenant, o FixOptions) error {
	schema, status, err := o.Registry.Hold(ctx, q, t.ID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrChanged
	case err != nil:
		return err
	case schema != t.Schema.String(), status != t.Status:
		return ErrChanged
	}
	return nil
}

func run(ctx context.Context, q db.Querier, statements []string, o FixOptions, e registry.Event) error {
	var p db.Pipeline
	for _, sql := range statements {
		p.Exec(sql)
	}
	if e.Action != "" {
		e.Actor, e.Program = o.Actor, o.Program
		if err := o.Registry.QueueEvent(&p, e); err != nil {
			return err
		}
	}
	return p.Run(ctx, q)
}

func repaired(t Tenant, c Class, detail map[string]any) registry.Event {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["class"] = string(c)
	return registry.Event{TenantID: t.ID, Slug: t.Slug, Action: registry.ActionRepair, Detail: detail}
}

// quarantine renames a schema that nobody has. Its comment keeps what it was. known is
// the condition under which the schema, $1, is somebody's after all.
func quarantine(s db.Schema, known string) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		var aside db.Schema
		err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
			func(ctx context.Context, q db.Querier) error {
				// Nobody may register the schema meanwhile.
				if err := o.Registry.LockTenants(ctx, q); err != nil {
					return err
				}
				var there, taken bool
				err := q.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1::text::name), `+known,
					s.String()).Scan(&there, &taken)
				switch {
				case err != nil:
					return err
				case !there || taken:
					return ErrMended
				}
				if aside, err = freeName(ctx, q, s, o.now()); err != nil {
					return err
				}
				undo = "alter schema " + aside.Quoted() + " rename to " + s.Quoted()
				note := fmt.Sprintf("set aside by crmctl doctor on %s; before: %s", o.now().Format(time.DateOnly), s)
				return run(ctx, q, []string{
					"alter schema " + s.Quoted() + " rename to " + aside.Quoted(),
					"comment on schema " + aside.Quoted() + " is " + db.Literal(note),
				}, FixOptions{}, registry.Event{})
			})
		return "renamed to " + aside.String(), undo, err
	}
}

// freeName returns a name for a schema that is set aside: quarantine_<name>_<date>,
// with a number where that is taken, and with a hash in place of what is too long.
func freeName(ctx context.Context, q db.Querier, s db.Schema, now time.Time) (db.Schema, error) {
	for n := 1; ; n++ {
		name := quarantineName(s.String(), now, n)
		var taken bool
		if err := q.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`,
			name).Scan(&taken); err != nil {
			return db.Schema{}, err
		}
		if !taken {
			return db.RegisteredSchema(name)
		}
	}
}

func quarantineName(name string, now time.Time, n int) string {
	const most = 63 // bytes of a name
	suffix := "_" + now.Format("20060102")
	if n > 1 {
		suffix += fmt.Sprintf("_%d", n)
	}
	if len(quarantinePrefix)+len(name)+len(suffix) <= most {
		return quarantinePrefix + name + suffix
	}
	sum := sha256.Sum256([]byte(name))
	suffix = "_" + hex.EncodeToString(sum[:4]) + suffix
	return quarantinePrefix + strings.ToValidUTF8(name[:most-len(quarantinePrefix)-len(suffix)], "") + suffix
}

// markDeleted closes a row whose schema is gone, as tenant delete does.
func markDeleted(t Tenant) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		at := o.now().Truncate(time.Microsecond)
		until := at.Add(o.Retention)
		if t.Retention != nil {
			until = at.Add(*t.Retention)
		}
		err = locked(ctx, conn, t, o, func(ctx context.Context, q db.Querier) error {
			if err := hold(ctx, q, t, o); err != nil {
				return err
			}
			var there bool
			if err := q.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`,
				t.Schema.String()).Scan(&there); err != nil {
				return err
			}
			if there {
				return ErrMended
			}
			if err := o.Registry.MarkDeleted(ctx, q, t.ID, at, until); err != nil {
				return err
			}
			return run(ctx, q, nil, o, registry.Event{TenantID: t.ID, Slug: t.Slug, Action: registry.ActionDelete,
				Before: map[string]any{"status": string(t.Status)}, After: map[string]any{"status": "deleted", "deleted_at": at,
					"purge_after": until},
				Detail: map[string]any{"class": string(GhostRow), "schema": t.Schema.String()}})
		})
		return "marked as deleted, may be purged after " + until.Format(time.DateOnly),
			"crmctl tenant undelete " + t.Slug, err
	}
}

// correctVersion writes the version that a schema has into the registry.
func correctVersion(t Tenant, version int64) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		err = locked(ctx, conn, t, o, func(ctx context.Context, q db.Querier) error {
			if err := hold(ctx, q, t, o); err != nil {
				return err
			}
			var plain db.Pipeline
			planted.QueueRead(&plain, []planted.Table{{Schema: t.Schema.String(), Name: "goose_db_version",
				Columns: []string{"version_id", "is_applied"}}})
			if err := plain.Run(ctx, q); err != nil {
				return err
			}
			var now int64
			err := q.QueryRow(ctx, `select coalesce(max(version_id), 0) from `+db.Quoted(t.Schema.String(), "goose_db_version")+
				` where is_applied`).Scan(&now)
			switch {
			case err != nil:
				return err
			case now != version:
				return ErrChanged
			}
			corrected, err := o.Registry.CorrectVersion(ctx, q, t.ID, t.Version, version)
			switch {
			case err != nil:
				return err
			case !corrected:
				return ErrChanged
			}
			e := repaired(t, Version, nil)
			e.Before, e.After = map[string]any{"schema_version": t.Version}, map[string]any{"schema_version": version}
			return run(ctx, q, nil, o, e)
		})
		return fmt.Sprintf("the registry says %d now", version), "", err
	}
}

// grant gives and takes the rights of a tenant's role.
func grant(t Tenant, gaps string) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		var statements []string
		err = locked(ctx, conn, t, o, func(ctx context.Context, q db.Querier) error {
			if err := hold(ctx, q, t, o); err != nil {
				return err
			}
			rows, err := q.Query(ctx, gaps+` select * from gaps where slug = $1`, t.Slug)
			if err != nil {
				return err
			}
			gap, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[grantGap])
			if err != nil {
				return err
			}
			if statements = gap.statements(t); len(statements) == 0 {
				return ErrMended
			}
			return run(ctx, q, statements, o, repaired(t, Grants, map[string]any{"statements": statements}))
		})
		return strings.Join(statements, "; "), "", err
	}
}

// advance sets a sequence to the greatest value of its column, never back.
func advance(t Tenant, s owned) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		var to *int64
		err = locked(ctx, conn, t, o, func(ctx context.Context, q db.Querier) error {
			if err := hold(ctx, q, t, o); err != nil {
				return err
			}
			var plain db.Pipeline
			planted.QueueRead(&plain, s.read())
			if err := plain.Run(ctx, q); err != nil {
				return err
			}
			sequence := db.Quoted(s.Schema, s.Sequence)
			err := q.QueryRow(ctx, `select (select setval($1::regclass, m.most) from (select max(`+db.Quoted(s.Column)+
				`) as most from `+db.Quoted(s.Schema, s.Table)+`) m, `+sequence+` q
				where m.most > q.last_value or m.most = q.last_value and not q.is_called)`, sequence).Scan(&to)
			switch {
			case err != nil:
				return err
			case to == nil:
				return ErrMended
			}
			return run(ctx, q, nil, o, repaired(t, Sequence, map[string]any{"sequence": s.Sequence, "to": *to}))
		})
		if err != nil {
			return "", "", err
		}
		return fmt.Sprintf("%s is at %d now", s.Sequence, *to), "", nil
	}
}

// dropInvalid drops an index that is still invalid, without keeping anybody waiting,
// on a connection of its own while this one holds the tenant's lock.
func dropInvalid(t Tenant, index string) fixFunc {
	return func(ctx context.Context, guard *pgx.Conn, o FixOptions) (done, undo string, err error) {
		err = locked(ctx, guard, t, o, func(ctx context.Context, q db.Querier) error {
			var p db.Pipeline
			p.Rest()
			if err := p.Run(ctx, q); err != nil {
				return err
			}
			definition, err := dropInvalidOn(ctx, t, index, o)
			if err != nil {
				return err
			}
			undo = definition
			return run(ctx, q, nil, o, repaired(t, InvalidIndex, map[string]any{"index": index, "definition": definition}))
		})
		return "dropped " + index, undo, err
	}
}

// dropInvalidOn returns the definition of what it dropped.
func dropInvalidOn(ctx context.Context, t Tenant, index string, o FixOptions) (string, error) {
	conn, err := o.Direct(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var (
		open       db.Pipeline
		pid        uint32
		definition *string
	)
	open.Session(db.Locals{Schema: t.Schema, LockTimeout: o.LockTimeout})
	open.OwnPath()
	open.QueryRow([]any{&pid, &definition}, `select pg_catalog.pg_backend_pid(), (
		select pg_catalog.pg_get_indexdef(x.indexrelid) from pg_catalog.pg_index x
		join pg_catalog.pg_class i on i.oid = x.indexrelid join pg_catalog.pg_namespace n on n.oid = i.relnamespace
		where n.nspname = $1 and i.relname = $2 and not (x.indisvalid and x.indisready)
		  and not exists (select from pg_catalog.pg_stat_progress_create_index p where p.index_relid = i.oid
		  	and p.datname = pg_catalog.current_database()))`,
		t.Schema.String(), index)
	if err := open.Run(ctx, conn); err != nil {
		return "", err
	}
	switch {
	case pid != conn.PgConn().PID():
		return "", ErrPooled
	case definition == nil:
		return "", ErrMended
	}
	_, err = conn.Exec(ctx, "drop index concurrently "+db.Quoted(t.Schema.String(), index))
	return *definition, err
}

// closeRun closes what was killed; one call closes all.
func closeRun(id int64) fixFunc {
	return func(ctx context.Context, _ *pgx.Conn, o FixOptions) (done, undo string, err error) {
		return fmt.Sprintf("closed run %d as killed", id), "", o.CloseRuns(ctx)
	}
}
