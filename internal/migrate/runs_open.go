package migrate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// CloseRuns closes the runs that were killed, as the next run would.
func CloseRuns(ctx context.Context, q db.Querier) error {
	if _, err := db.Select(ctx, q, pgx.RowTo[int64], `with closed as (`+closeDead()+` returning 1) select count(*) from closed`); err != nil {
		return fmt.Errorf("close killed runs: %w", err)
	}
	return nil
}

// DeadRuns returns the numbers of the runs that were killed and are still open in the
// ledger. It changes nothing; CloseRuns closes them.
func DeadRuns(ctx context.Context, q db.Querier) ([]int64, error) {
	ids, err := db.Select(ctx, q, pgx.RowTo[int64], `select r.id from public.migration_runs r where r.finished_at is null and not (`+runAlive()+`) order by r.id`)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return ids, nil
}
