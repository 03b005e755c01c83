package doctor_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/doctor"
)

// BenchmarkExamine looks at a fleet of 1,000 tenants, each class for itself and all.
func BenchmarkExamine(b *testing.B) {
	p := healthy(b, 1000)
	p.Exec(b, "analyze")
	for _, class := range append([]doctor.Class{"all"}, doctor.Classes()...) {
		b.Run(string(class), func(b *testing.B) {
			o := doctor.Options{Only: []doctor.Class{class}}
			if class == "all" {
				o.Only = nil
			}
			for b.Loop() {
				p.examine(b, o)
			}
		})
	}
}
