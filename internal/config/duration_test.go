package config_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/config"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		text string
		want time.Duration
		back string
	}{
		{"0", 0, "0"},
		{"0s", 0, "0"},
		{"500ms", 500 * time.Millisecond, "500ms"},
		{"2s", 2 * time.Second, "2s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"15m", 15 * time.Minute, "15m"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"12h", 12 * time.Hour, "12h"},
		{"24h", day, "1d"},
		{"30d", 30 * day, "30d"},
		{"2w", 14 * day, "14d"},
		{"1w2d12h", 9*day + 12*time.Hour, "9d12h"},
		{"1.5d", 36 * time.Hour, "1d12h"},
	}
	for _, tt := range tests {
		got, err := config.ParseDuration(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
		}
		if back := config.FormatDuration(got); back != tt.back {
			t.Errorf("FormatDuration(%v) = %q, want %q", got, back, tt.back)
		}
	}
	for _, text := range []string{"", "5", "-1d", "d", "3x", "1 d", "1d ", "9999999w", "1.2.3s", "١d", "1e3s", "infs"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Add("1w2d3h4m5s6ms")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := config.ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("ParseDuration(%q) = %v", text, d)
		}
		again, err := config.ParseDuration(config.FormatDuration(d))
		if err != nil || again != d {
			t.Errorf("%q is %v, written %q, read as %v, %v", text, d, config.FormatDuration(d), again, err)
		}
	})
}
