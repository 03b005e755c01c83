package main

import (
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// timeFlag is a flag that names a point in time: so long ago (24h, 7d), a day, or
// RFC 3339. The zero value is no time.
type timeFlag struct {
	text string
	ago  time.Duration
	then time.Time
}

// at returns the point in time, the zero time where none was given.
func (m *timeFlag) at(now time.Time) time.Time {
	if m.text != "" && m.then.IsZero() {
		return now.Add(-m.ago)
	}
	return m.then
}

func (m *timeFlag) String() string { return m.text }
func (m *timeFlag) Type() string   { return "time" }

// Set reads the flag. A day begins at midnight of this machine's time zone.
func (m *timeFlag) Set(s string) error {
	if d, err := config.ParseDuration(s); err == nil {
		*m = timeFlag{text: s, ago: d}
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			*m = timeFlag{text: s, then: t}
			return nil
		}
	}
	return cli.WantError("want 24h, 7d, 2026-11-23 or 2026-11-23T08:00:00Z")
}
