package main

import (
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// moment is a flag that names a point in time: so long ago (24h, 7d), a day, or
// RFC 3339. The zero moment is none.
type moment struct {
	text string
	ago  time.Duration
	then time.Time
}

// at returns the point in time, the zero time where none was given.
func (m *moment) at(now time.Time) time.Time {
	if m.text != "" && m.then.IsZero() {
		return now.Add(-m.ago)
	}
	return m.then
}

func (m *moment) String() string { return m.text }
func (m *moment) Type() string   { return "time" }

// Set reads the flag. A day begins at midnight of this machine's time zone.
func (m *moment) Set(s string) error {
	if d, err := config.ParseDuration(s); err == nil {
		*m = moment{text: s, ago: d}
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			*m = moment{text: s, then: t}
			return nil
		}
	}
	return cli.WantError("want 24h, 7d, 2026-11-23 or 2026-11-23T08:00:00Z")
}
