package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/shape"
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
// migrations themselves. why says so then, "" where there is nothing to say. conn
// must not be in a transaction.
func (f *factory) template(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o templateOptions) (t tenant.Template, why string, err error) {
	t.Version = plan.Head()
	applied, err := migrate.AppliedFiles(ctx, conn)
	if err != nil {
		return t, "", f.placed(err)
	}
	record, err := plan.Record(applied)
	if err != nil {
		return t, "", err
	}
	history, err := historyOf(plan)
	if err != nil {
		return t, "", err
	}
	t.Script = slices.Concat(history.Script, record)
	if o.fromHistory || o.dryRun {
		return t, "", nil
	}
	key, final, err := knownShape(ctx, conn, history, o.lockTimeout)
	switch {
	case ctx.Err() != nil:
		return t, "", context.Cause(ctx)
	case errors.Is(err, shape.ErrOldRegistry), errors.Is(err, shape.ErrHistory):
		return t, "", nil // there can be none; whoever runs the migrations is told why
	case err != nil:
		return t, err.Error(), nil //nolint:nilerr // it becomes the reason
	}
	t.Key = key.String()
	if final.Script != nil {
		t.Script, t.Shape = slices.Concat(history.Versions, final.Script, record), true
	}
	return t, final.Reason, nil
}

func knownShape(ctx context.Context, conn *pgx.Conn, history shape.History, lockTimeout time.Duration) (shape.Key, *shape.Final, error) {
	key, err := shape.ReadKey(ctx, conn, history)
	if err != nil {
		return key, nil, err
	}
	final, err := shape.Get(ctx, conn, key, history, catalog.Options{LockTimeout: lockTimeout}, false)
	return key, final, err
}

// noteHistory says why migrations were run one by one.
func (f *factory) noteHistory(why string) {
	if why != "" {
		f.note("crmctl: note: the migrations are run one by one: %s", visible(why))
	}
}

// historyOf returns a plan as the shapes know it.
func historyOf(plan *migrate.Plan) (shape.History, error) {
	script, err := plan.Build()
	return shape.History{
		Checksum: plan.Checksum(), Version: plan.Head(), Length: len(plan.Migrations), Script: script, Versions: plan.Versions(),
	}, err
}

// poolTemplate returns what the schemas of the pool are built from. The error says
// so where the migrations make a schema that has to know what it is for.
func (f *factory) poolTemplate(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, lockTimeout time.Duration) (tenant.Template, string, error) {
	template, why, err := f.template(ctx, conn, plan, templateOptions{lockTimeout: lockTimeout})
	if err != nil {
		return template, "", err
	}
	history, err := historyOf(plan)
	if err != nil {
		return template, "", err
	}
	key, err := f.shapeKey(ctx, conn, plan)
	if err != nil {
		return template, "", err
	}
	final, err := shape.Get(ctx, conn, key, history, catalog.Options{LockTimeout: lockTimeout}, true)
	if err != nil {
		return template, "", f.placed(err)
	}
	if final.Fixed != "" {
		return template, "", fmt.Errorf("these migrations cannot make schemas for the pool, which are renamed when a tenant takes them: %s", final.Fixed)
	}
	return template, why, nil
}
