package catalog_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
)

func TestDiffering(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70)
	for _, c := range []struct{ want, got, first, second string }{
		{"", "text", "", "text"},
		{"integer", "text", "integer", "text"},
		{"a\nb\nc", "a\nB\nc", "b", "B"},
		{"a\nc", "a\nb\nc", "c", "b\nc"},
		{long + "1", long + "2", "... " + strings.Repeat("x", 20) + "1", "... " + strings.Repeat("x", 20) + "2"},
		{"x1" + long, "x2" + long, "x1" + long, "x2" + long},
	} {
		first, second := catalog.Difference{Want: c.want, Got: c.got}.Differing()
		if first != c.first || second != c.second {
			t.Errorf("%q and %q: %q and %q", c.want, c.got, first, second)
		}
	}
}
