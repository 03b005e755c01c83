package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/shape"
	"github.com/crmctl/crmctl/internal/staging"
	"github.com/crmctl/crmctl/internal/tenant"
)

// templateOptions say what new schemas are built from.
type templateOptions struct {
	fromHistory bool // go through the migrations one by one
	dryRun      bool // nothing is to be written
	lockTimeout time.Duration
}

// template returns what new schemas of a plan are built from: the final shape of
// the migrations where they are many, otherwise, and where that cannot be, the
// migrations themselves. why says so then; its reason is "" where there is nothing to say. conn
// must not be in a transaction.
func (a *App) template(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o templateOptions) (t tenant.Template,
	why ByHistory, err error) {
	t.Version = plan.Head()
	if plan, err = a.UseExtensions(ctx, conn, plan, o.dryRun); err != nil {
		return t, ByHistory{}, err
	}
	record, err := fileRecord(ctx, conn, a.Registry, plan)
	if err != nil {
		return t, ByHistory{}, err
	}
	history, err := a.history(plan)
	if err != nil {
		return t, ByHistory{}, err
	}
	t.Script = slices.Concat(history.Script, record)
	if o.dryRun {
		return t, ByHistory{}, nil
	}
	if err := a.inspectFirst(ctx, conn, plan, history.Script, len(record) > 0, o.lockTimeout); err != nil {
		return t, ByHistory{}, err
	}
	if o.fromHistory {
		return t, ByHistory{}, nil
	}
	key, final, err := a.knownShape(ctx, conn, history, o.lockTimeout)
	switch {
	case ctx.Err() != nil:
		return t, ByHistory{}, context.Cause(ctx)
	case errors.Is(err, registry.ErrOldRegistry), errors.Is(err, shape.ErrHistory):
		return t, ByHistory{}, nil // there can be none; whoever runs the migrations is told why
	case err != nil:
		return t, ByHistory{Reason: db.Text(err)}, nil // it becomes the reason
	}
	t.Key = key.String()
	why = useShape(&t, history, final, record)
	return t, why, nil
}

// explainNames says of failures where a name stands that a file's path does not lead to.
func (a *App) explainNames(ctx context.Context, results []fleet.Result) {
	var conn *pgx.Conn // opened for the first of them
	defer func() {
		if conn != nil {
			closeConn(ctx, conn)
		}
	}()
	for i := range results {
		if results[i].Err == nil || db.SQLState(results[i].Err) == "" {
			continue
		}
		if conn == nil {
			var err error
			if conn, err = a.Connect(ctx); err != nil {
				return // the failures' own words stay
			}
		}
		results[i].Err = migrate.ExplainNames(ctx, conn, a.Registry, results[i].Err)
		if _, is := errors.AsType[*migrate.ElsewhereError](results[i].Err); !is {
			return // the others will hardly be different
		}
	}
}

// inspectFirst looks at what migrations do outside of the tenant's schema before the first
// tenant of new files is made; a fleet's run has its canaries for that. Histories of several
// transactions are not looked at: they cannot be taken back.
func (a *App) inspectFirst(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, script []db.Statement, first bool,
	lockTimeout time.Duration) error {
	if !first || !plan.Opaque() || staging.Several(script) {
		return nil
	}
	done, err := shape.Elsewhere(ctx, conn, script, catalog.Options{Registry: a.Registry, LockTimeout: lockTimeout})
	switch {
	case errors.Is(err, shape.ErrHistory):
		return nil // whoever runs the migrations is told why
	case err != nil:
		return err
	}
	return migrate.Elsewhere("a new tenant", done)
}

// fileRecord returns what records the files of a plan along with the first schema they
// make. It refuses files that are not what they were.
func fileRecord(ctx context.Context, q db.Querier, reg registry.Registry, plan *migrate.Plan) ([]db.Statement, error) {
	applied, err := reg.AppliedFiles(ctx, q)
	if err != nil {
		return nil, err
	}
	return plan.Record(reg, applied)
}

// useShape builds a template from the final shape where that is known and worth it. It
// returns why not, without a reason where there is nothing to say.
func useShape(t *tenant.Template, history shape.History, final *shape.Final, record []db.Statement) (why ByHistory) {
	if !history.Worthwhile() {
		return ByHistory{}
	}
	if final.Script != nil {
		t.Script, t.Shape = slices.Concat(history.Versions, final.Script, record), true
	}
	return ByHistory{Reason: final.Reason, Known: final.Known}
}

func (a *App) knownShape(ctx context.Context, conn *pgx.Conn, history shape.History,
	lockTimeout time.Duration) (registry.ShapeKey, *shape.Final, error) {
	key, err := shape.ReadKey(ctx, conn, a.Registry, history)
	if err != nil {
		return key, nil, err
	}
	final, err := shape.Get(ctx, conn, key, history, catalog.Options{Registry: a.Registry, LockTimeout: lockTimeout,
		Direct: a.Direct}, false)
	return key, final, err
}

// byHistory tells why migrations were run one by one.
func (a *App) byHistory(why ByHistory) {
	if why.Reason != "" {
		a.Notify(why)
	}
}

// history returns a plan as the shapes know it.
func (a *App) history(plan *migrate.Plan) (shape.History, error) {
	script, err := plan.Build()
	return shape.History{
		Checksum: plan.Checksum(), Program: a.Build, Version: plan.Head(), Length: len(plan.Migrations), Script: script,
		Versions: plan.Versions(),
	}, err
}

// NoPoolError says why migrations make no schemas for the pool.
type NoPoolError struct{ Reason string }

func (e *NoPoolError) Error() string {
	return fmt.Sprintf("these migrations cannot make schemas for the pool, which are renamed when a tenant takes them: %s",
		e.Reason)
}

// poolTemplate returns what the schemas of the pool are built from. The error is a
// *NoPoolError where the migrations make a schema that has to know what it is for.
func (a *App) poolTemplate(ctx context.Context, pool *Pool, lockTimeout time.Duration) (t tenant.Template,
	why ByHistory, err error) {
	record, err := fileRecord(ctx, pool.conn, a.Registry, pool.plan)
	if err != nil {
		return t, ByHistory{}, err
	}
	final, err := shape.Get(ctx, pool.conn, pool.key, pool.history, catalog.Options{Registry: a.Registry,
		LockTimeout: lockTimeout, Direct: a.Direct}, true)
	if err != nil {
		return t, ByHistory{}, err
	}
	if final.Fixed != "" {
		return t, ByHistory{}, &NoPoolError{final.Fixed}
	}
	t = tenant.Template{Script: slices.Concat(pool.history.Script, record), Version: pool.plan.Head(),
		Key: pool.key.String()}
	why = useShape(&t, pool.history, final, record)
	return t, why, nil
}
