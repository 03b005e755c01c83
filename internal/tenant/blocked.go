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
	batch, _ := nextBatch(s.objects, s.room)
	var tables []string
	for _, object := range batch {
		if object.kind == "table" {
			tables = append(tables, object.name)
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
