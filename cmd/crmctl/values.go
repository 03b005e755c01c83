package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The values of cells. Each is shown in one way to people and in another to
// programs: 1.2 GB and 1204331008.
type (
	// byteSize is a number of bytes.
	byteSize int64
	// numeral is a number as PostgreSQL writes it, for people and programs alike.
	numeral string
	// day is a time of which people only see the date.
	day time.Time
	// styled is a value in a colour.
	styled struct {
		value any
		color color
	}
	// either shows people and programs two different texts.
	either struct {
		human   any
		machine any
	}
)

// presentation is how values are shown.
type presentation struct {
	loc *time.Location // of times shown to people
	now time.Time
}

// human returns a value as people read it in a table.
func (p presentation) human(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case byteSize:
		return humanSize(int64(v))
	case int:
		return humanCount(int64(v))
	case int64:
		return humanCount(v)
	case time.Duration:
		return humanDuration(v)
	case day:
		return p.time(time.Time(v), time.DateOnly)
	case time.Time:
		return p.time(v, "2006-01-02 15:04:05")
	case *time.Time:
		if v == nil {
			return ""
		}
		return p.human(*v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case styled:
		return p.human(v.value)
	case either:
		return p.human(v.human)
	}
	return fmt.Sprint(v)
}

func (p presentation) time(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.In(p.loc).Format(layout)
}

// machine returns a value as programs read it: bytes, seconds, RFC 3339 in UTC.
func machine(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case byteSize:
		return strconv.FormatInt(int64(v), 10)
	case time.Duration:
		// Rounded, or 1.636 s comes out as 1.6360000000000001.
		return strconv.FormatFloat(math.Round(v.Seconds()*1e6)/1e6, 'f', -1, 64)
	case day:
		return machine(time.Time(v))
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339Nano)
	case *time.Time:
		if v == nil {
			return ""
		}
		return machine(*v)
	case styled:
		return machine(v.value)
	case either:
		return machine(v.machine)
	}
	return fmt.Sprint(v)
}

// isNumber tells whether a value stays a number in a spreadsheet, so that the
// guard against formulas leaves its minus sign alone.
func isNumber(v any) bool {
	switch v := v.(type) {
	case byteSize, numeral, int, int64, float64, time.Duration, time.Time, *time.Time, day, bool:
		return true
	case styled:
		return isNumber(v.value)
	case either:
		return isNumber(v.machine)
	}
	return false
}

func colorOf(v any) color {
	if s, ok := v.(styled); ok {
		return s.color
	}
	return plain
}

// humanSize returns "96 MB" or "1.2 GB": powers of ten, as disks are sold.
func humanSize(n int64) string {
	const unit = 1000
	if n < 0 {
		return "-" + humanSize(-n)
	}
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, names := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	i := 0
	// 999.6 kB would be shown as 1000 kB.
	for i+1 < len(names) && value >= unit-0.5 {
		value /= unit
		i++
	}
	decimals := 0
	if value < 9.95 || i >= 3 {
		decimals = 1
	}
	return strconv.FormatFloat(value, 'f', decimals, 64) + " " + names[i]
}

// humanCount returns "1,204,331".
func humanCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// humanDuration returns "18 ms", "7.9 s", "3m20s", "2h05m" or "3d4h".
func humanDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + humanDuration(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// itoa returns a number that is a name, such as a process id: without commas,
// and nothing for 0.
func itoa(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
