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
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// Canary says which tenants of a run go first, and what they have to show before
// the others follow.
type Canary struct {
	Count   int      // so many tenants, the first of the run
	Percent float64  // or this share of them, rounded up; the greater counts
	Names   []string // and these
	Not     []string // ids of tenants that are none of the first, unless Names has them
	Pause   time.Duration
	// Check is a query that must return one row with one value, true, in each
	// canary's schema after it was migrated. "" checks nothing.
	Check string
}

// choose returns the indexes of the canaries, ascending.
func (c Canary) choose(tenants []registry.Tenant) []int {
	first := max(c.Count, int(math.Ceil(float64(len(tenants))*c.Percent/100)))
	var out []int
	for i, t := range tenants {
		fit := first > 0 && !slices.Contains(c.Not, t.ID)
		if fit {
			first--
		}
		if fit || slices.Contains(c.Names, t.Slug) {
			out = append(out, i)
		}
	}
	return out
}

// ErrCheckFailed says that the check of a canary did not return true.
var ErrCheckFailed = errors.New("the check did not return true")

// check runs the canary's query in a tenant's schema, in a transaction that can
// read only.
func (c Canary) check(ctx context.Context, conn *pgx.Conn, t registry.Tenant, limits ApplyOptions) error {
	err := db.InTx(ctx, conn, db.Locals{Schema: t.Schema, LockTimeout: limits.LockTimeout,
		StatementTimeout: limits.StatementTimeout, Role: limits.Owners.Of(t.Schema).Work},
		func(ctx context.Context, q db.Querier) error {
			if _, err := q.Exec(ctx, "set transaction read only"); err != nil {
				return err
			}
			rows, _ := q.Query(db.AsWritten(ctx), c.Check)
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

const (
	// patience is how long a tenant is tried again that another run of ours is at work
	// on.
	patience = 10 * time.Minute
	// canaryRounds is how often others take the place of canaries that are locked.
	canaryRounds = 10
)

// locked reports whether an attempt failed for nothing but a lock that somebody else has:
// it says nothing of the migration.
func locked(err error) bool {
	switch db.SQLState(err) {
	case db.CodeLockNotAvailable, db.CodeDeadlockDetected:
		return true
	}
	return errors.Is(err, db.ErrBusy)
}

// canaries migrates the canaries and checks each. The first failure stops the run. One
// that is locked is no failure: another tenant of rest takes its place, and it takes
// its turn with the others, which are returned.
func (r *run) canaries(ctx context.Context, rest []int) ([]int, error) {
	begun := time.Now()
	r.limits.inspection = &inspection{}
	defer func() {
		if r.limits.inspection.traces.Load() {
			r.plan = r.plan.leaving()
		}
		r.limits.inspection = nil
	}()
	todo := r.report.Canaries
	r.report.Canaries = nil
	var late []int
	for round := 1; len(todo) > 0; round++ {
		last := len(r.report.Canaries) == 0 && (round > canaryRounds || len(rest) == 0)
		busy, err := r.canaryRound(ctx, todo, last)
		if err != nil {
			return rest, err
		}
		for _, i := range todo {
			if !slices.Contains(busy, i) {
				r.report.Canaries = append(r.report.Canaries, i)
			}
		}
		if last {
			break
		}
		late = append(late, busy...)
		n := min(len(busy), len(rest))
		todo, rest = rest[:n:n], rest[n:]
		if n == 0 && len(r.report.Canaries) == 0 {
			todo, late = late, nil // nobody is left to go first in their place
		}
	}
	passed := CanaryPassed{Pause: r.opt.Canary.Pause}
	for _, i := range r.report.Canaries {
		passed.Tenants = append(passed.Tenants, r.report.Outcomes[i].Tenant.Slug)
	}
	if r.opt.Canary.Check != "" {
		if err := r.checkCanaries(ctx); err != nil {
			return rest, fmt.Errorf("%w: %w", ErrCanary, err)
		}
	}
	passed.Elapsed = time.Since(begun)
	r.observe(passed)
	return append(rest, late...), nil
}

// canaryRound migrates some canaries and returns those that are locked. In the last
// round these are waited for as any tenant is.
func (r *run) canaryRound(ctx context.Context, todo []int, last bool) (busy []int, _ error) {
	if !last {
		r.yield = locked
		defer func() { r.yield = nil }()
	}
	err := r.phases(ctx, "canary", todo, 1)
	if errors.Is(err, fleet.ErrTooManyFailures) {
		err = ErrCanary
	}
	for _, i := range todo {
		out := &r.report.Outcomes[i]
		switch {
		case out.State == NotStarted && !last && out.Err != nil && locked(out.Err):
			busy = append(busy, i)
		case out.State == Failed && locked(out.Err):
			return nil, fmt.Errorf("%w: %s: %w", ErrCanaryBusy, out.Tenant.Slug, out.Err)
		case (out.State == Failed || out.State == NotStarted) && db.ConnectionLost(out.Err): // it shows nothing
			return nil, fmt.Errorf("%w: canary %s: %w", db.ErrUnreachable, out.Tenant.Slug, out.Err)
		case err == nil && (out.State == Failed || out.State == NotStarted):
			return nil, fmt.Errorf("%w: %s: %w", ErrCanary, out.Tenant.Slug, out.Err)
		}
	}
	return busy, err
}
