package fleet

import "testing"

func TestAutoConcurrency(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		cores, free, n int
		want           int
	}{
		{"two for each core", 2, 190, 1000, 4},
		{"a large machine has a limit", 64, 190, 1000, 16},
		{"half of what is free", 8, 9, 1000, 4},
		{"a full server still gets one", 8, -3, 1000, 1},
		{"a few tenants need few", 8, 190, 9, 3},
		{"one tenant", 8, 190, 1, 1},
		{"none", 8, 190, 0, 1},
	} {
		if got := autoConcurrency(c.cores, c.free, c.n); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
