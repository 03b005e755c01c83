package registry_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Runs of the same number in two registries of a database hold different locks.
func TestRunLock(t *testing.T) {
	t.Parallel()
	a, errA := db.RegisteredSchema("a")
	b, errB := db.RegisteredSchema("b")
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	public, first, second := registry.Default().RunLock(), registry.In(a).RunLock(), registry.In(b).RunLock()
	if public != 0x63726d63 || first == second || first == public || second == public || first < 0 || second < 0 {
		t.Errorf("got %d, %d and %d", public, first, second)
	}
}
