package stats

import (
	"testing"
	"time"
)

// TestLoadWhileANodeIsAway: what a tenant did before its node went away is not told as done
// when it is back, nor as counters that went back.
func TestLoadWhileANodeIsAway(t *testing.T) {
	t.Parallel()
	at := time.Now()
	sample := func(seconds int, lost []string, tenants map[string]counted) LoadSample {
		return LoadSample{At: at.Add(time.Duration(seconds) * time.Second), Lost: lost, tenants: tenants}
	}
	there := func(blocks float64) counted { return counted{slug: "acme", Counters: Counters{Fetched: blocks}} }
	other := func(blocks float64) counted { return counted{slug: "globex", Counters: Counters{Fetched: blocks}} }
	all := sample(0, nil, map[string]counted{"1": there(100), "2": other(1000)})
	away := sample(10, []string{"b:5432"}, map[string]counted{"1": there(120)})
	back := sample(20, nil, map[string]counted{"1": there(130), "2": other(1010)})
	for name, l := range map[string]Load{"goes": LoadBetween(all, away), "comes": LoadBetween(away, back)} {
		if len(l.Tenants) != 1 || l.Tenants[0].Slug != "acme" || l.Back != 0 {
			t.Errorf("%s: %d went back, at work are %+v", name, l.Back, l.Tenants)
		}
	}
	if l := LoadBetween(all, away); len(l.Lost) != 1 {
		t.Errorf("no answer from %q", l.Lost)
	}
	if l := LoadBetween(all, back); len(l.Tenants) != 2 || l.Tenants[0].Fetched != 1.5 {
		t.Errorf("at work are %+v", l.Tenants)
	}
}
