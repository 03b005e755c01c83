package app_test

import (
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

// TestMoveRegistry moves the registry, and refuses where it stands already.
func TestMoveRegistry(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	var wrong *app.InputError
	o := app.RegistryMoveOptions{To: registry.Default(), LockTimeout: 5 * time.Second}
	if _, err := a.MoveRegistry(t.Context(), o); !errors.As(err, &wrong) {
		t.Errorf("where it stands: %v", err)
	}
	schema, err := db.RegisteredSchema("crmctl")
	if err != nil {
		t.Fatal(err)
	}
	o.To = registry.In(schema)
	for _, o.DryRun = range []bool{true, false} {
		moved, err := a.MoveRegistry(t.Context(), o)
		if err != nil || len(moved) == 0 {
			t.Errorf("dry run %v: %v, %v", o.DryRun, moved, err)
		}
	}
	if _, err := o.To.List(t.Context(), f.Connect(t), registry.Filter{}); err != nil {
		t.Errorf("where it moved to: %v", err)
	}
}
