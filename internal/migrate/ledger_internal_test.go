package migrate

import (
	"testing"

	"github.com/crmctl/crmctl/internal/registry"
)

// TestNewestOutcomes: a server that lost a commit is told twice of a tenant, and one
// statement may touch a row only once.
func TestNewestOutcomes(t *testing.T) {
	t.Parallel()
	outcome := func(id string, state State) Outcome { return Outcome{Tenant: registry.Tenant{ID: id}, State: state} }
	got := newestOutcomes([]Outcome{outcome("a", Migrated), outcome("b", Failed), outcome("a", Current),
		outcome("c", Migrated), outcome("b", Migrated)})
	want := []Outcome{outcome("a", Current), outcome("c", Migrated), outcome("b", Migrated)}
	if len(got) != len(want) {
		t.Fatalf("%d outcomes, want %d: %+v", len(got), len(want), got)
	}
	for i, o := range got {
		if o.Tenant.ID != want[i].Tenant.ID || o.State != want[i].State {
			t.Errorf("outcome %d: %s %s, want %s %s", i, o.Tenant.ID, o.State, want[i].Tenant.ID, want[i].State)
		}
	}
}
