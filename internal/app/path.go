package app

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
)

// Notices about the search_path of statements that come from a user.
type (
	// NoExtensions says why the extensions of the migrations are not on the path: what is
	// wrong with the files keeps nobody from looking at the data.
	NoExtensions struct{ Err error }
	// LeftOut names schemas that are not on the path since there may be more in them than
	// extensions.
	LeftOut struct{ Schemas []string }
)

func (NoExtensions) notice() {}
func (LeftOut) notice()      {}

// TenantPath returns what follows a tenant's schema on the search_path of statements that
// come from a user: what follows it in the migrations. script is nil where nobody knows
// the statements.
func (a *App) TenantPath(ctx context.Context, conn *pgx.Conn, script []db.Statement) (db.Path, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		a.Notify(NoExtensions{err})
		plan = &migrate.Plan{}
	}
	path, leftOut, err := plan.PathFor(ctx, conn, a.Registry, a.Config.SharedSchemas, script)
	if len(leftOut) > 0 {
		a.Notify(LeftOut{leftOut})
	}
	return path, err
}
