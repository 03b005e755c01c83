package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// durationForm says what ParseDuration accepts.
const durationForm = "a duration such as 500ms, 30s, 15m, 12h, 30d or 2w"

var errDuration = errors.New("want " + durationForm)

// ParseDuration reads a duration as time.ParseDuration does, and the units d
// (24 hours) and w (7 days) too: "30d", "1w2d12h". Negative durations and bare
// numbers other than 0 are errors.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	var total float64
	rest := s
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		number, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, errDuration
		}
		rest = rest[digits:]
		letters := strings.IndexAny(rest, "0123456789.")
		if letters < 0 {
			letters = len(rest)
		}
		unit, ok := unitOf(rest[:letters])
		if !ok {
			return 0, errDuration
		}
		total += number * float64(unit)
		rest = rest[letters:]
	}
	if s == "" || total > math.MaxInt64/2 {
		return 0, errDuration
	}
	return time.Duration(total), nil
}

func unitOf(name string) (time.Duration, bool) {
	switch name {
	case "ns":
		return time.Nanosecond, true
	case "us", "µs":
		return time.Microsecond, true
	case "ms":
		return time.Millisecond, true
	case "s":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return day, true
	case "w":
		return week, true
	}
	return 0, false
}

// FormatDuration is the inverse of ParseDuration: "30d", "2s", "1h30m", "0".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	var b strings.Builder
	if days := d / day; days > 0 {
		b.WriteString(strconv.FormatInt(int64(days), 10) + "d")
		d %= day
	}
	if d > 0 {
		s := d.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		b.WriteString(s)
	}
	return b.String()
}
