package contactfile

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// y2k is 2000-01-01 in Unix seconds, from which the server counts.
const y2k = 946_684_800

// The times before and after all others.
const (
	pastText, futureText = "-infinity", "infinity"
)

// AppendTime appends a time as the server has it, in microseconds since 2000, as RFC 3339
// in UTC. Years beyond four digits have as many as they need, and those before the year 1
// a minus, as ISO 8601 counts them: 44 BC is -0043.
func AppendTime(dst []byte, micros int64) []byte {
	switch micros {
	case math.MaxInt64:
		return append(dst, futureText...)
	case math.MinInt64:
		return append(dst, pastText...)
	}
	seconds, rest := micros/1_000_000, micros%1_000_000
	return time.Unix(seconds+y2k, rest*1000).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z")
}

// ParseTime reads what AppendTime writes.
func ParseTime(text string) (micros int64, ok bool) {
	switch text {
	case futureText:
		return math.MaxInt64, true
	case pastText:
		return math.MinInt64, true
	}
	// The year may have any number of digits; of what is behind it a leap year of four is
	// the frame.
	at := strings.IndexByte(strings.TrimPrefix(text, "-"), '-')
	if at < 4 {
		return 0, false
	}
	at += len(text) - len(strings.TrimPrefix(text, "-"))
	year, err := strconv.Atoi(text[:at])
	if err != nil || year > 294_276 || year < -4_713 {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, "2000"+text[at:])
	if err != nil || !strings.HasSuffix(text, "Z") {
		return 0, false
	}
	whole := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	if whole.Day() != t.Day() {
		return 0, false // the 29th of February of another year
	}
	return (whole.Unix()-y2k)*1_000_000 + int64(whole.Nanosecond()/1000), true
}
