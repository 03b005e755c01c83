package migrate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Canary says which tenants of a run go first, and what they have to show before
// the others follow.
type Canary struct {
	Count   int      // so many tenants, the first of the run
	Percent float64  // or this share of them, rounded up; the greater counts
	Names   []string // and these
	Pause   time.Duration
	// Check is a query that must return one row with one value, true, in each
	// canary's schema after it was migrated. "" checks nothing.
	Check string
}

// choose returns the indexes of the canaries, ascending.
func (c Canary) choose(tenants []Tenant) []int {
	first := max(c.Count, int(math.Ceil(float64(len(tenants))*c.Percent/100)))
	var out []int
	for i, t := range tenants {
		if i < first || slices.Contains(c.Names, t.Slug) {
			out = append(out, i)
		}
	}
	return out
}

// ErrCheckFailed says that the check of a canary did not return true.
var ErrCheckFailed = errors.New("the check did not return true")

// check runs the canary's query in a tenant's schema, in a transaction that can
// read only.
func (c Canary) check(ctx context.Context, conn *pgx.Conn, t Tenant, limits ApplyOptions) error {
	err := db.InTx(ctx, conn, db.Locals{Schema: t.Schema, LockTimeout: limits.LockTimeout, StatementTimeout: limits.StatementTimeout},
		func(ctx context.Context, q db.Querier) error {
			if _, err := q.Exec(ctx, "set transaction read only"); err != nil {
				return err
			}
			rows, _ := q.Query(ctx, c.Check)
			ok, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[*bool])
			switch {
			case errors.Is(err, pgx.ErrNoRows), errors.Is(err, pgx.ErrTooManyRows):
				return fmt.Errorf("%w: want one row with one boolean: %w", ErrCheckFailed, err)
			case err != nil:
				return fmt.Errorf("%w: %w", ErrCheckFailed, err)
			case ok == nil || !*ok:
				return ErrCheckFailed
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("canary %s: %w", t.Slug, err)
	}
	return nil
}
