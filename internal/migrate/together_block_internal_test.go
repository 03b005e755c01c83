package migrate

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// BenchmarkGroupText measures what the client does for a tenant of a group before anything
// is sent.
func BenchmarkGroupText(b *testing.B) {
	plan, err := Compile(b.Context(), fstest.MapFS{
		"1_a.sql": {Data: []byte("-- +goose Up\ncreate table a (x int);\n")},
		"2_b.sql": {Data: []byte("-- +goose Up\nalter table a add y int;\ncreate index idx_a_y on a (y);\n")},
	})
	if err != nil {
		b.Fatal(err)
	}
	t := registry.Tenant{ID: "1", Slug: "acme", Version: 1}
	if t.Schema, err = db.SchemaForSlug("acme"); err != nil {
		b.Fatal(err)
	}
	change, ok := plan.expect(Route{}, t)
	if !ok {
		b.Fatal("nothing to do")
	}
	b.ReportAllocs()
	for b.Loop() {
		var script strings.Builder
		if plan.addGroupText(&script, t, change, ApplyOptions{}); script.Len() == 0 {
			b.Fatal("no text")
		}
	}
}
