package fleet_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestItemsTogether: items that fit are served together, those of a group that fails
// alone, and each once.
func TestItemsTogether(t *testing.T) {
	t.Parallel()
	const n = 60
	for name, rate := range map[string]float64{"together": 0, "with a rate": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var (
				mu    sync.Mutex
				alone []int
				sizes []int
			)
			o := fleet.Options{Concurrency: 2, Rate: rate, Together: &fleet.Together{
				Size: func() int { return 5 },
				Fits: func(item int) bool { return item != 7 },
				Work: func(_ context.Context, _ *pgx.Conn, items []int) error {
					mu.Lock()
					defer mu.Unlock()
					sizes = append(sizes, len(items))
					if slices.Contains(items, 12) {
						return errors.New("not together")
					}
					return nil
				},
			}}
			results, err := fleet.Run(t.Context(), dialer(pgtest.Empty(t)), n, o,
				func(_ context.Context, _ *pgx.Conn, i int) error {
					mu.Lock()
					defer mu.Unlock()
					alone = append(alone, i)
					if i == 12 {
						return errors.New("broken")
					}
					return nil
				})
			if err != nil || states(results)[fleet.Done] != n-1 || results[12].State != fleet.Failed {
				t.Errorf("%v, states %v", err, states(results))
			}
			for i, r := range results {
				if r.Attempts != 1 {
					t.Errorf("item %d: %d attempts", i, r.Attempts)
				}
			}
			slices.Sort(alone)
			if rate > 0 {
				if len(alone) != n || len(sizes) > 0 {
					t.Errorf("alone %v, groups of %v", alone, sizes)
				}
				return
			}
			if len(alone) > 20 || !slices.Contains(alone, 7) || !slices.Contains(alone, 12) ||
				len(slices.Compact(slices.Clone(alone))) != len(alone) {
				t.Errorf("alone %v", alone)
			}
			if slices.Max(sizes) > 5 || len(sizes) < 9 {
				t.Errorf("groups of %v", sizes)
			}
		})
	}
}
