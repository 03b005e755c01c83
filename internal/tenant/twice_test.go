package tenant_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// Of several that create one tenant at once exactly one does, and the others find it.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	const runs = 6
	f := fleettest.New(t)
	script, err := fleettest.TenantPlan(t, 0).Build()
	if err != nil {
		t.Fatal(err)
	}
	var made, found atomic.Int32
	var wg sync.WaitGroup
	for range runs {
		conn := f.Connect(t)
		wg.Go(func() {
			_, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: "acme"}, tenant.CreateOptions{
				Template: tenant.Template{Script: script, Version: 1}, Actor: "x", Program: "test", LockTimeout: 30 * time.Second,
			})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, registry.ErrExists):
				found.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || found.Load() != runs-1 {
		t.Errorf("%d made it, %d found it", made.Load(), found.Load())
	}
}
