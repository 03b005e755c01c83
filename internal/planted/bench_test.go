package planted_test

import (
	"context"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/planted"
)

// BenchmarkFind measures the look at a whole fleet, and what one transaction pays.
func BenchmarkFind(b *testing.B) {
	f := fleettest.New(b)
	const tenants = 500
	made := f.Create(b, fleettest.TenantPlan(b, 0), fleettest.Names(tenants)...)
	schemas := []db.Schema{}
	for _, t := range made {
		schemas = append(schemas, t.Schema)
	}
	conn := f.Connect(b)
	ctx := context.Background()
	b.Run("fleet", func(b *testing.B) {
		for b.Loop() {
			if found, err := planted.Find(ctx, conn, schemas, nil); err != nil || len(found) > 0 {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("tenant", func(b *testing.B) {
		for b.Loop() {
			var p db.Pipeline
			var found []planted.Object
			planted.Queue(&p, schemas[0], nil, &found)
			if err := p.Run(ctx, conn); err != nil || len(found) > 0 {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("guard", func(b *testing.B) {
		var g planted.Guard
		if err := g.Prepare(ctx, conn, schemas); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			var p db.Pipeline
			g.Queue(&p, schemas[0], "goose_db_version")
			if err := p.Run(ctx, conn); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prepare", func(b *testing.B) {
		for b.Loop() {
			var g planted.Guard
			if err := g.Prepare(ctx, conn, schemas); err != nil || !g.Idle(schemas[0]) {
				b.Fatal(err)
			}
		}
	})
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			var p db.Pipeline
			p.Exec("select 1")
			if err := p.Run(ctx, conn); err != nil {
				b.Fatal(err)
			}
		}
	})
}
