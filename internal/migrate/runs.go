package migrate

import "github.com/crmctl/crmctl/internal/registry"

// Unfinished sorts the tenants of a run, by id, into those that are done and those
// to be done again. A run that was killed has others of which it did not come to
// tell.
func Unfinished(tenants []registry.RunTenant) (done, open map[string]bool) {
	done, open = map[string]bool{}, map[string]bool{}
	for _, t := range tenants {
		switch State(t.State) {
		case Migrated, Current, Skipped:
			done[t.ID] = true
		case Failed, NotStarted:
			open[t.ID] = true
		}
	}
	return done, open
}
