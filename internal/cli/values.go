package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// The values of cells. Each is shown in one way to people and in another to
// programs: 1.2 GB and 1204331008.
type (
	// ByteSize is a number of bytes.
	ByteSize int64
	// Numeral is a number as PostgreSQL writes it, for people and programs alike.
	Numeral string
	// Serial is a number that names something, such as a version or a run: people read
	// it without commas.
	Serial int64
	// Day is a time of which people only see the date.
	Day time.Time
	// Styled is a value in a colour.
	Styled struct {
		Value any
		Color Color
	}
	// Either shows people and programs two different texts.
	Either struct {
		Human   any
		Machine any
		// Document is what JSON and YAML have where that is not Machine.
		Document any
	}
)

// Presentation is how values are shown.
type Presentation struct {
	Loc *time.Location // of times shown to people
	Now time.Time
}

// Human returns a value as people read it in a table.
func (p Presentation) Human(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case ByteSize:
		return HumanSize(int64(v))
	case Serial:
		return strconv.FormatInt(int64(v), 10)
	case int:
		return HumanCount(int64(v))
	case int64:
		return HumanCount(v)
	case time.Duration:
		return HumanDuration(v)
	case Day:
		return p.time(time.Time(v), time.DateOnly)
	case time.Time:
		return p.time(v, "2006-01-02 15:04:05")
	case *time.Time:
		if v == nil {
			return ""
		}
		return p.Human(*v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []string:
		return strings.Join(v, ", ")
	case json.RawMessage:
		return string(v)
	case Styled:
		return p.Human(v.Value)
	case Either:
		return p.Human(v.Human)
	}
	return fmt.Sprint(v)
}

// Minute returns a time without its seconds.
func (p Presentation) Minute(t time.Time) string { return p.time(t, "2006-01-02 15:04") }

func (p Presentation) time(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.In(p.Loc).Format(layout)
}

// Machine returns a value as programs read it: bytes, seconds, RFC 3339 in UTC, and several facts
// as JSON.
func Machine(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case ByteSize:
		return strconv.FormatInt(int64(v), 10)
	case time.Duration:
		// Rounded, or 1.636 s comes out as 1.6360000000000001.
		return strconv.FormatFloat(math.Round(v.Seconds()*1e6)/1e6, 'f', -1, 64)
	case Day:
		return Machine(time.Time(v))
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339Nano)
	case *time.Time:
		if v == nil {
			return ""
		}
		return Machine(*v)
	case []string:
		return strings.Join(v, ", ")
	case json.RawMessage:
		return string(v)
	case Styled:
		return Machine(v.Value)
	case Either:
		return Machine(v.Machine)
	case fmt.Stringer:
		return fmt.Sprint(v) // also of nil
	}
	if reflect.Indirect(reflect.ValueOf(v)).Kind() == reflect.Struct {
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}

// isNumber reports whether a value stays a number in a spreadsheet, so that the
// guard against formulas leaves its minus sign alone.
func isNumber(v any) bool {
	switch v := v.(type) {
	case ByteSize, Numeral, Serial, int, int64, float64, time.Duration, time.Time, *time.Time, Day, bool:
		return true
	case Styled:
		return isNumber(v.Value)
	case Either:
		return isNumber(v.Machine)
	}
	return false
}

// ColorOf returns the colour of a styled value, Plain for any other.
func ColorOf(v any) Color {
	if s, ok := v.(Styled); ok {
		return s.Color
	}
	return Plain
}

// HumanSize returns "96 MB" or "1.2 GB": powers of ten, as disks are sold.
func HumanSize(n int64) string {
	const unit = 1000
	if n < 0 {
		return "-" + HumanSize(-n)
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

// HumanCount returns "1,204,331".
func HumanCount(n int64) string {
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

// HumanDuration returns "18 ms", "7.9 s", "3m20s", "2h05m" or "3d4h".
func HumanDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + HumanDuration(-d)
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

// ID returns a number that is a name, such as a process id: without commas,
// and nothing for 0.
func ID(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
