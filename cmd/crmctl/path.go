package main

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
)

// tenantPath returns what follows a tenant's schema on the search_path of statements that
// come from a user: what follows it in the migrations. script is nil where nobody knows
// the statements.
func (f *factory) tenantPath(ctx context.Context, conn *pgx.Conn, script []db.Statement) (db.Path, error) {
	cfg, err := f.config()
	if err != nil {
		return db.Path{}, err
	}
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		// What is wrong with the migrations keeps nobody from looking at the data.
		f.Verbose("the extensions of the migrations are not on the path: %s", cli.Visible(err.Error()))
		plan = &migrate.Plan{}
	}
	path, leftOut, err := plan.PathFor(ctx, conn, f.registry(), cfg.SharedSchemas, script)
	if len(leftOut) > 0 {
		f.Verbose("not on the path, since there may be more than extensions: %s", cli.Visible(strings.Join(leftOut, ", ")))
	}
	return path, err
}

// explainPath says what to do about a name, or a schema, on the search_path.
func explainPath(err error) []cli.Hint {
	if found, ok := errors.AsType[*migrate.SharedSchemaError](err); ok {
		return []cli.Hint{{Label: "take it out of", Command: "shared_schemas (crmctl config show --origin), or make it: create schema " + cli.Visible(pgx.Identifier{found.Schema}.Sanitize())}}
	}
	if found, ok := errors.AsType[*migrate.ReachError](err); ok {
		return []cli.Hint{{Label: "what all tenants share is made", Command: "once, outside of the tenants' migrations: in " + cli.Visible(found.Schema)}}
	}
	if found, ok := errors.AsType[*migrate.ElsewhereError](err); ok && found.Extension == "" {
		return []cli.Hint{{Label: "or put it on the path of every tenant", Command: "CRMCTL_SHARED_SCHEMAS=" + cli.Visible(found.Schema) + " (crmctl help configuration)"}}
	}
	return nil
}
