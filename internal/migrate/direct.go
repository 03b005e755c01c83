package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// ErrPooled says that a file which cannot run in a transaction met a pooler: its
// statements would run in whatever sessions the pooler has at hand.
var ErrPooled = errors.New("a connection pooler stands between; files marked NO TRANSACTION need a direct connection")

const (
	// cleanupTimeout bounds what has to be put in order after a failure.
	cleanupTimeout = 30 * time.Second
	// buildPatience is how long an index build or drop waits, at each of its
	// stages, for the transactions before it.
	buildPatience = time.Minute
)

// ApplyDirect takes a tenant along its route as far as the steps are of the kind
// that cannot run in a transaction. Each statement is committed by itself, and
// the registry knows at every moment how far the file has come.
//
// guard is a connection that holds the tenant's lock meanwhile, in a transaction that
// waits: nobody else's build or vacuum waits for that. Each file has a transaction of
// guard's, which ends with writing the version. conn must be a session of its own,
// not a pooler's (ErrPooled), and must serve nothing else afterwards; guard may be a
// pooler's.
//
// A statement that fails leaves the file half done; another ApplyDirect goes on
// with that statement. An index that a failed or interrupted build left invalid is
// dropped first. Where an interrupted statement leaves no trace to tell by, the
// error is a *DirtyError.
//
// Of the change returned beside an error only From says something, where a step was begun: the
// version that the tenant had then.
func (p *Plan) ApplyDirect(ctx context.Context, conn, guard *pgx.Conn, t registry.Tenant, r Route,
	o ApplyOptions) (Change, error) {
	r = p.resolve(r, t.Version)
	d := &direct{conn: conn, guard: guard, tenant: t, limits: o}
	change, err := d.apply(ctx, p, r)
	if rollbackErr := db.Rollback(ctx, guard); rollbackErr != nil {
		err = errors.Join(err, rollbackErr)
	}
	if err != nil {
		return Change{From: change.From, To: change.From}, gone(db.NameBlockers(ctx, guard, t.Schema, err))
	}
	return change, nil
}

// direct is the work on one tenant outside transactions.
type direct struct {
	conn   *pgx.Conn
	guard  *pgx.Conn
	tenant registry.Tenant
	limits ApplyOptions

	cached   int64  // the version that the registry has
	lockWait string // lock_timeout as this program has set it, "" where the file has its own
}

func (d *direct) apply(ctx context.Context, p *Plan, r Route) (Change, error) {
	if err := d.session(ctx, p); err != nil {
		return Change{}, err
	}
	applied, err := d.hold(ctx)
	if err != nil {
		return Change{}, err
	}
	dirty, err := readDirty(ctx, d.guard, d.limits.Registry, d.tenant)
	if err != nil {
		return Change{}, err
	}
	current := after(applied, nil)
	steps, err := p.Steps(r, applied)
	if err != nil {
		return Change{}, err
	}
	if dirty != nil && (len(steps) == 0 || dirty.Version != steps[0].Version || dirty.Down != steps[0].Down) {
		return Change{}, dirty
	}
	if len(steps) == 0 && d.cached != current {
		return Change{From: current, To: current}, d.correct(ctx, current)
	}
	if err := d.rest(ctx); err != nil {
		return Change{}, err
	}
	change := Change{From: current, To: current, recorded: d.cached == current}
	for i, s := range steps {
		if s.Transactional {
			change.Next = &steps[i]
			break
		}
		if i > 0 {
			if err := d.holdAgain(ctx, change.To); err != nil {
				return change, err
			}
			if err := d.settings(ctx, p); err != nil {
				return change, err
			}
		}
		change.Applied = append(change.Applied, s)
		change.To = after(applied, change.Applied)
		if err := d.step(ctx, s, dirty, change.To); err != nil {
			return change, err
		}
		dirty = nil
	}
	return change, nil
}

// hold begins the transaction of the guard with the tenant's lock, and reads how far
// the tenant is.
func (d *direct) hold(ctx context.Context) (applied []int64, _ error) {
	var (
		p       db.Pipeline
		current *string
		alive   bool
	)
	p.Begin(db.Locals{Schema: d.tenant.Schema, Tenant: d.limits.Registry.Row(d.tenant.ID),
		LockTimeout: d.limits.LockTimeout, Named: d.limits.blocks})
	if err := gone(p.Run(ctx, d.guard)); err != nil {
		return nil, err
	}
	// Later than this, in the middle of a file, it is not looked for.
	if err := d.limits.Guard.Check(ctx, d.guard, d.tenant.Schema); err != nil {
		return nil, err
	}
	p = db.Pipeline{}
	p.QueryRow([]any{&alive, &d.cached}, `select `+isAlive(d.limits.Registry)+`, `+cachedVersion(d.limits.Registry),
		d.tenant.ID, d.tenant.Schema.String())
	queueApplied(&p, d.tenant.Schema, d.limits, &current, &applied)
	err := p.Run(ctx, d.guard)
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable:
		return nil, errors.Join(db.Rollback(ctx, d.guard), explainMissing(ctx, d.guard, d.limits.Registry, d.tenant))
	case err != nil:
		return nil, err
	case !alive:
		return nil, ErrGone
	case current == nil || *current != d.tenant.Schema.String():
		return nil, fmt.Errorf("%w: %s", db.ErrWrongSchema, d.tenant.Schema)
	}
	return applied, nil
}

// holdAgain takes the lock for the next file. Whoever was quicker may have done that
// file: another attempt will see.
func (d *direct) holdAgain(ctx context.Context, version int64) error {
	applied, err := d.hold(ctx)
	switch {
	case err != nil:
		return err
	case after(applied, nil) != version:
		return &db.BusyError{Tenant: d.limits.Registry.Row(d.tenant.ID)}
	}
	return d.rest(ctx)
}

// rest lets the guard wait.
func (d *direct) rest(ctx context.Context) error {
	var p db.Pipeline
	p.Rest()
	return p.Run(ctx, d.guard)
}

// step runs one file, from where an earlier attempt has left it.
func (d *direct) step(ctx context.Context, s Step, dirty *DirtyError, version int64) error {
	script := s.Script()
	from := 0
	if dirty != nil {
		if dirty.Checksum != s.Checksum || dirty.Statements != len(script) {
			return dirty
		}
		from = dirty.Done
		if err := d.restore(ctx, s, dirty); err != nil {
			return err
		}
	} else if err := d.mark(ctx, s, len(script)); err != nil {
		return err
	}
	for k := from; k < len(script); k++ {
		resumed := dirty != nil && k == from && dirty.Running
		if err := d.statement(ctx, script[k], resumed); err != nil {
			if errors.Is(err, errUnclear) {
				return dirty
			}
			if done, is := errors.AsType[*doneError](err); is {
				return errors.Join(done.err, d.progress(ctx, k+1, false))
			}
			if recordErr := d.failed(ctx, k, script[k], err); recordErr != nil {
				err = errors.Join(err, recordErr)
			}
			if k > 0 {
				err = &HalfDoneError{Slug: d.tenant.Slug, File: s.File, Done: k, Statements: len(script), Err: err}
			}
			return err
		}
		if err := d.progress(ctx, k+1, k+1 < len(script)); err != nil {
			return err
		}
	}
	return d.done(ctx, s, version)
}

// errUnclear says that nobody can tell whether an interrupted statement is done.
var errUnclear = errors.New("it is not known whether the statement is done")

// statement runs one statement, after clearing away what an earlier attempt at it
// may have left.
func (d *direct) statement(ctx context.Context, s db.Statement, resumed bool) error {
	build, isBuild := concurrentBuild(s.SQL)
	dropped, isDrop := concurrentDrop(s.SQL)
	wait := d.limits.LockTimeout
	if isBuild || isDrop {
		wait = d.limits.buildTimeout()
	}
	if err := d.waitFor(ctx, wait); err != nil {
		return err
	}
	switch {
	case isBuild && build.name != "":
		valid, err := d.dropInvalid(ctx, build.name)
		if err != nil || valid && resumed {
			return err
		}
	case isDrop && resumed:
		there, err := d.indexState(ctx, dropped)
		if err != nil || there == indexMissing {
			return err
		}
	case isBuild || isDrop:
	case resumed && !sqltext.Lasts(s.SQL).Again:
		return errUnclear
	}
	return d.exec(ctx, s)
}

type indexState int

const (
	indexMissing indexState = iota
	indexInvalid
	indexValid
)

func (d *direct) indexState(ctx context.Context, name string) (indexState, error) {
	found, err := db.Select(ctx, d.conn, pgx.RowTo[bool], `select i.indisvalid and i.indisready from pg_catalog.pg_index i
		join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relname = $2`, d.tenant.Schema.String(), name)
	switch {
	case err != nil || len(found) == 0:
		return indexMissing, err
	case found[0]:
		return indexValid, nil
	}
	return indexInvalid, nil
}

// dropInvalid drops an index that a build which never ended has left, and tells
// whether there is a valid one of that name instead.
func (d *direct) dropInvalid(ctx context.Context, name string) (valid bool, _ error) {
	state, err := d.indexState(ctx, name)
	if err != nil || state != indexInvalid {
		return state == indexValid, err
	}
	_, err = d.conn.Exec(ctx, "drop index concurrently if exists "+d.tenant.Schema.Quoted()+"."+
		pgx.Identifier{name}.Sanitize())
	if err != nil {
		return false, fmt.Errorf("drop the invalid index %s: %w", name, err)
	}
	return false, nil
}

// failed records how far the file has come. Where nothing of it was done the
// tenant is as it was before, and not dirty.
func (d *direct) failed(ctx context.Context, k int, s db.Statement, cause error) error {
	if d.conn.IsClosed() || db.ConnectionLost(cause) {
		return nil // the registry says that the statement was under way, which is the truth
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	clean := true
	if build, ok := concurrentBuild(s.SQL); ok && build.name != "" {
		clean = d.cleanUp(ctx, build.name) == nil
	}
	// A procedure may have committed a part of its work.
	if first := sqltext.Leading(s.SQL, 1)[0]; first == "call" || first == "do" {
		return d.explain(ctx, cause)
	}
	if k == 0 && clean {
		return d.record(ctx, func() error { return d.limits.Registry.ClearDirty(ctx, d.conn, d.tenant.ID) })
	}
	if err := d.record(ctx, func() error {
		return d.limits.Registry.DirtyStopped(ctx, d.conn, d.tenant.ID)
	}); err != nil {
		return err
	}
	return d.explain(ctx, cause)
}

// cleanUp drops what a failed build has left. It may itself have to wait, and then
// leaves that to the next attempt.
func (d *direct) cleanUp(ctx context.Context, index string) error {
	if _, err := d.conn.Exec(ctx, "select pg_catalog.set_config('statement_timeout', '0', false)"); err != nil {
		return err
	}
	if err := d.setLockTimeout(ctx, d.limits.LockTimeout); err != nil {
		return err
	}
	_, err := d.dropInvalid(ctx, index)
	return err
}

func (d *direct) explain(ctx context.Context, cause error) error {
	code, _, message := describe(cause)
	return d.record(ctx, func() error {
		return d.limits.Registry.ExplainDirty(ctx, d.conn, d.tenant.ID, code, message)
	})
}

// mark records that a file is begun.
func (d *direct) mark(ctx context.Context, s Step, statements int) error {
	return d.record(ctx, func() error {
		return d.limits.Registry.MarkDirty(ctx, d.conn, d.tenant.ID, registry.DirtyMark{Version: s.Version, File: s.File,
			Checksum: s.Checksum, Down: s.Down, Statements: statements})
	})
}

// progress records that the first k statements are done, also where the run is cancelled: an
// attempt that went by less would run one once more.
func (d *direct) progress(ctx context.Context, k int, running bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return d.record(ctx, func() error {
		return d.limits.Registry.DirtyProgress(ctx, d.conn, d.tenant.ID, k, running)
	})
}

// record writes to the registry as the session's own role, between statements of a file
// that run as the owner of the schema.
func (d *direct) record(ctx context.Context, write func() error) error {
	as := d.limits.Owners.Of(d.tenant.Schema).Work
	if as != "" {
		if _, err := d.conn.Exec(ctx, "reset role"); err != nil {
			return err
		}
	}
	if err := write(); err != nil || as == "" {
		return err
	}
	_, err := d.conn.Exec(ctx, "select pg_catalog.set_config('role', $1, false)", as)
	return err
}

// correct writes into the registry the version that another program has brought the tenant to.
func (d *direct) correct(ctx context.Context, version int64) error {
	var p db.Pipeline
	as := d.limits.Owners.Of(d.tenant.Schema).Versions
	p.Become(as)
	queueCache(&p, d.limits.Registry, d.tenant, version, as != "")
	p.Exec("commit")
	return p.Run(ctx, d.guard)
}

// done writes the version and takes the mark away, in the transaction that has the
// tenant's lock.
func (d *direct) done(ctx context.Context, s Step, version int64) error {
	var p db.Pipeline
	as := d.limits.Owners.Of(d.tenant.Schema).Versions
	p.Become(as)
	tenantVersions.queueRow(&p, d.tenant.Schema, s)
	queueCache(&p, d.limits.Registry, d.tenant, version, as != "")
	d.limits.Registry.QueueClearDirty(&p, d.tenant.ID)
	p.Exec("commit")
	return p.Run(ctx, d.guard)
}
