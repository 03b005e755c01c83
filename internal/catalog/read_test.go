package catalog_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

func targets(tenants []registry.Tenant) []catalog.Target {
	out := make([]catalog.Target, len(tenants))
	for i, t := range tenants {
		out[i] = catalog.Target{Schema: t.Schema}
	}
	return out
}

func TestFingerprintIsThatOfTheShape(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := targets(f.Create(t, fleettest.TenantPlan(t, 0), "a", "b"))
	conn := f.Connect(t)
	readings, err := catalog.Fingerprints(t.Context(), conn, tenants, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shape, err := catalog.Read(t.Context(), conn, tenants[0], catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range shape.Objects {
		t.Logf("%-12s %-14s %-30s %s", o.Kind, o.Parent, o.Name, o.Definition)
	}
	if readings[0] != readings[1] || readings[0].Fingerprint != shape.Fingerprint() {
		t.Errorf("fingerprints %v, of the shape %v", readings, shape.Fingerprint())
	}
}
