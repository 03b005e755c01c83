package fleet_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
)

func TestSizer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		tell func(s *fleet.Sizer)
		want int
	}{
		"nothing is known":  {func(*fleet.Sizer) {}, 1},
		"no locks known":    {func(s *fleet.Sizer) { s.Took(time.Millisecond, 1) }, 1},
		"no duration known": {func(s *fleet.Sizer) { s.Locked(10, 10_000) }, 1},
		"quick":             {func(s *fleet.Sizer) { s.Locked(10, 10_000); s.Took(time.Millisecond, 1) }, 10},
		"slow":              {func(s *fleet.Sizer) { s.Locked(10, 10_000); s.Took(7*time.Millisecond, 1) }, 4},
		"a slow network": {func(s *fleet.Sizer) {
			s.Locked(10, 10_000)
			s.Trip(25 * time.Millisecond)
			s.Trip(20 * time.Millisecond)
			s.Took(22*time.Millisecond, 1)
		}, 10},
		"many locks": {func(s *fleet.Sizer) { s.Locked(100, 800); s.Took(time.Millisecond, 1) }, 1},
		"some locks": {func(s *fleet.Sizer) { s.Locked(100, 100*4*2*3); s.Took(time.Millisecond, 1) }, 3},
		"too many once": {func(s *fleet.Sizer) {
			s.Locked(10, 10_000)
			s.Took(time.Millisecond, 1)
			s.GaveUp(true)
		}, 5},
		"often in vain": {func(s *fleet.Sizer) {
			s.Locked(10, 10_000)
			s.Took(time.Millisecond, 1)
			for range 20 {
				s.GaveUp(false)
			}
		}, 1},
		"stopped": {func(s *fleet.Sizer) { s.Locked(10, 10_000); s.Took(time.Millisecond, 1); s.Stop() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &fleet.Sizer{Workers: 2, Most: 10, Aim: 30 * time.Millisecond, Share: 4}
			tt.tell(s)
			if got := s.Size(); got != tt.want {
				t.Errorf("%d together, want %d", got, tt.want)
			}
		})
	}
}
