package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// DirtyError says that a tenant is in the middle of a file that cannot run in a
// transaction.
type DirtyError struct {
	Slug       string
	Version    int64
	File       string
	Checksum   string
	Down       bool // the file was being taken back
	Done       int  // statements known to be done
	Statements int  // of the file
	Running    bool // the next one was sent, and its end is not known
	SQLState   string
	Message    string // of the failure, if it is known
	Since      time.Time
}

// Error says how far the file has come.
func (e *DirtyError) Error() string {
	state := fmt.Sprintf("statement %d of %d failed", e.Done+1, e.Statements)
	switch {
	case e.Running:
		state = fmt.Sprintf("statement %d of %d was cut off, and nobody can tell whether it is done", e.Done+1, e.Statements)
	case e.Done == e.Statements:
		state = "all statements are done, the version is not written"
	}
	return fmt.Sprintf("dirty: in the middle of %s (%s)", e.File, state)
}

// HalfDoneError says that a statement failed after others of its file were done.
type HalfDoneError struct {
	Slug       string
	File       string
	Done       int
	Statements int
	Err        error
}

// Unwrap returns the cause.
func (e *HalfDoneError) Unwrap() error { return e.Err }

// Error says what went wrong and how to go on.
func (e *HalfDoneError) Error() string {
	return fmt.Sprintf("%v; the tenant is dirty, with %d of %d statements of %s done: mend the cause and migrate again, "+
		"it goes on with this statement",
		e.Err, e.Done, e.Statements, e.File)
}

// ErrNotDirty says that there is nothing to repair.
var ErrNotDirty = errors.New("the tenant is not dirty")

func selectDirty(reg registry.Registry) string {
	return `select t.slug, d.version, d.file, d.checksum, d.down, d.done, d.statements, d.running,
	coalesce(d.sqlstate, '') as sqlstate, coalesce(d.message, '') as message, d.since
	from ` + reg.Dirty() + ` d join ` + reg.Tenants() + ` t on t.id operator(pg_catalog.=) d.tenant_id`
}

// Dirty returns the tenants in the middle of a file, by slug.
func Dirty(ctx context.Context, q db.Querier, reg registry.Registry) ([]*DirtyError, error) {
	rows, err := db.Select(ctx, q, pgx.RowToAddrOfStructByName[DirtyError], selectDirty(reg)+` order by t.slug`)
	if err != nil {
		return nil, reg.ExplainTable(ctx, q, "read which tenants are dirty", err)
	}
	return rows, nil
}

// readDirty returns nil for a tenant that is not dirty.
func readDirty(ctx context.Context, q db.Querier, reg registry.Registry, t registry.Tenant) (*DirtyError, error) {
	var found []*DirtyError
	var p db.Pipeline
	p.Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[DirtyError])
		return err
	}, selectDirty(reg)+` where d.tenant_id operator(pg_catalog.=) $1`, t.ID)
	if err := p.Run(ctx, q); err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

func dirtyError(ctx context.Context, conn *pgx.Conn, reg registry.Registry, t registry.Tenant) error {
	found, err := readDirty(ctx, conn, reg, t)
	switch {
	case err != nil:
		return err
	case found == nil:
		return &db.BusyError{} // mended this very moment: another try will see
	}
	return found
}

// Mark is what an operator has found out about a dirty tenant.
type Mark string

// The marks of Repair.
const (
	MarkDone     Mark = "done"     // the statement in question is done: go on behind it
	MarkNotDone  Mark = "not-done" // it is not: run it again
	MarkApplied  Mark = "applied"  // the whole file is in place
	MarkReverted Mark = "reverted" // nothing of the file is in place
)

// Marks returns every mark.
func Marks() []Mark { return []Mark{MarkDone, MarkNotDone, MarkApplied, MarkReverted} }

// PlanRepair returns what Repair would settle, and changes nothing.
func PlanRepair(ctx context.Context, conn *pgx.Conn, reg registry.Registry, t registry.Tenant) (*DirtyError, error) {
	var before *DirtyError
	err := db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) (err error) {
		before, err = readDirty(ctx, q, reg, t)
		return err
	})
	if err == nil && before == nil {
		err = fmt.Errorf("tenant %q: %w", t.Slug, ErrNotDirty)
	}
	return before, err
}

// Repair records what an operator has found, so that the next run can go on. It
// changes nothing of the tenant but, for MarkApplied and MarkReverted, its version
// rows. The error is ErrNotDirty or db.ErrBusy where that is so.
func (p *Plan) Repair(ctx context.Context, conn *pgx.Conn, t registry.Tenant, mark Mark,
	o ApplyOptions) (*DirtyError, error) {
	var before *DirtyError
	locals := o.locals(t)
	locals.Follow = true
	err := db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		var err error
		if before, err = readDirty(ctx, q, o.Registry, t); err != nil {
			return err
		}
		if before == nil {
			return fmt.Errorf("tenant %q: %w", t.Slug, ErrNotDirty)
		}
		var pipe db.Pipeline
		pipe.OwnSettings()
		switch mark {
		case MarkDone, MarkNotDone:
			done := before.Done
			if mark == MarkDone {
				done = min(done+1, before.Statements)
			}
			// Who repairs has seen the file as it is now.
			checksum := before.Checksum
			if m := p.Migration(before.Version); m != nil {
				checksum = m.Checksum
			}
			o.Registry.QueueRepairDirty(&pipe, t.ID, done, checksum)
		case MarkApplied, MarkReverted:
			if err := o.Guard.Check(ctx, q, t.Schema); err != nil {
				return err
			}
			inPlace := mark == MarkApplied
			o.Registry.QueueClearDirty(&pipe, t.ID)
			version, err := markVersion(ctx, q, t, before.Version, inPlace, o)
			if err != nil {
				return err
			}
			o.Registry.QueueVersion(&pipe, t.ID, version)
		}
		return pipe.Run(ctx, q)
	})
	return before, gone(err)
}

// markVersion writes or takes away the version row of a file, and returns the version that
// the schema is at then.
func markVersion(ctx context.Context, q db.Querier, t registry.Tenant, version int64, inPlace bool,
	o ApplyOptions) (now int64, _ error) {
	as := o.Owners.Of(t.Schema).Versions
	var p db.Pipeline
	p.OwnSettings()
	p.Become(as)
	p.Exec(`delete from `+tenantVersions.in(t.Schema)+` where version_id = $1`, version)
	if inPlace {
		p.Exec(`insert into `+tenantVersions.in(t.Schema)+` (version_id, is_applied) values ($1, true)`, version)
	}
	p.QueryRow([]any{&now}, `select coalesce(max(version_id), 0) from `+tenantVersions.in(t.Schema)+` where is_applied`)
	if as != "" {
		p.Return()
	}
	return now, p.Run(ctx, q)
}
