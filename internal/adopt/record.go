package adopt

import (
	"context"

	"github.com/crmctl/crmctl/internal/db"
)

// RecordFiles remembers the files that the adopted schemas are at as applied, where the
// registry does not know them yet: a run that finds other files under their numbers is
// refused.
func (s *Survey) RecordFiles(ctx context.Context, q db.Querier) error {
	newest := int64(0)
	for _, a := range s.Adoptions {
		if a.State == Adopted || a.State == Corrected || a.State == Unchanged {
			newest = max(newest, a.Version)
		}
	}
	return s.plan.RecordFiles(ctx, q, s.opt.Registry, newest, false)
}
