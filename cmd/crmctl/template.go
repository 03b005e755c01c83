package main

import (
	"context"
	"errors"
	"fmt"

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
}

// template returns what new schemas of a plan are built from: the final shape of
// the migrations where they are many, otherwise, and where that cannot be, the
// migrations themselves. conn must not be in a transaction.
func (f *factory) template(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o templateOptions) (tenant.Template, error) {
	template := tenant.Template{Version: plan.Head()}
	applied, err := migrate.AppliedFiles(ctx, conn)
	if err != nil {
		return template, f.placed(err)
	}
	record, err := plan.Record(applied)
	if err != nil {
		return template, err
	}
	history, err := historyOf(plan)
	if err != nil {
		return template, err
	}
	template.Script = append(history.Script, record...)
	if o.fromHistory || o.dryRun {
		return template, nil
	}
	key, err := shape.ReadKey(ctx, conn, history)
	switch {
	case errors.Is(err, shape.ErrOldRegistry):
		return template, nil // it can have neither shapes nor a pool
	case err != nil:
		return template, f.placed(err)
	}
	template.Key = key.String()
	final, err := shape.Get(ctx, conn, key, history, catalog.Options{}, false)
	switch {
	case err != nil && ctx.Err() != nil:
		return template, context.Cause(ctx)
	case errors.Is(err, shape.ErrHistory):
		// Whoever uses the template is told so with the tenant's name.
	case err != nil:
		f.note("crmctl: note: the migrations are run one by one: %s", visible(err.Error()))
	case final.Reason != "":
		f.note("crmctl: note: the migrations are run one by one: %s", visible(final.Reason))
	case final.Script != nil:
		template.Script = append(append(history.Versions, final.Script...), record...)
		template.Shape = true
	}
	return template, nil
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
func (f *factory) poolTemplate(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan) (tenant.Template, error) {
	template, err := f.template(ctx, conn, plan, templateOptions{})
	if err != nil {
		return template, err
	}
	history, err := historyOf(plan)
	if err != nil {
		return template, err
	}
	key, err := f.shapeKey(ctx, conn, plan)
	if err != nil {
		return template, err
	}
	final, err := shape.Get(ctx, conn, key, history, catalog.Options{}, true)
	if err != nil {
		return template, f.placed(err)
	}
	if final.Fixed != "" {
		return template, fmt.Errorf("these migrations cannot make schemas for the pool, which are renamed when a tenant takes them: %s", final.Fixed)
	}
	return template, nil
}
