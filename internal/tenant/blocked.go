package tenant

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// tryTables takes the locks that the first drop of a purge will need, and lets them go
// again.
func tryTables(ctx context.Context, conn *pgx.Conn, t registry.Tenant, s survey, o PurgeOptions) error {
	var tables []string
	for _, object := range s.First() {
		if object.Kind == "table" {
			tables = append(tables, object.Name)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, "lock table "+strings.Join(tables, ", ")+" in access exclusive mode")
		return err
	})
	if err != nil {
		return fmt.Errorf("lock the tables of tenant %q: %w", t.Slug, err)
	}
	return nil
}
