package cli

import (
	"testing"
	"time"
)

func TestHumanSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1500: "1.5 kB", 9_940: "9.9 kB", 9_960: "10 kB", 310_400: "310 kB",
		999_499: "999 kB", 999_600: "1.0 MB",
		96_000_000: "96 MB", 1_204_331_008: "1.2 GB", 12_400_000_000: "12.4 GB", 2_000_000_000_000: "2.0 TB",
		1<<63 - 1: "9.2 EB", -1500: "-1.5 kB",
	} {
		if got := HumanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestHumanCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1_204_331: "1,204,331", -4812: "-4,812",
		-812: "-812"} {
		if got := HumanCount(n); got != want {
			t.Errorf("humanCount(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestHumanDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 s", time.Microsecond: "<1 ms", 18 * time.Millisecond: "18 ms", 999999 * time.Microsecond: "999 ms",
		7940 * time.Millisecond:  "7.9 s",
		59999 * time.Millisecond: "59.9 s", 200 * time.Second: "3m20s", 125 * time.Minute: "2h05m", 76 * time.Hour: "3d4h",
		-time.Second: "-1.0 s",
	} {
		if got := HumanDuration(d); got != want {
			t.Errorf("humanDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestPresentation(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 23, 30, 0, 500_000_000, time.UTC)
	var none *time.Time
	p := Presentation{Loc: time.FixedZone("CET", 3600)}
	for _, tt := range []struct {
		value          any
		human, machine string
	}{
		{nil, "", ""},
		{"x", "x", "x"},
		{1234, "1,234", "1234"},
		{int64(-1234), "-1,234", "-1234"},
		{ByteSize(1500), "1.5 kB", "1500"},
		{1500 * time.Millisecond, "1.5 s", "1.5"},
		{1636 * time.Millisecond, "1.6 s", "1.636"},
		{at, "2026-03-02 00:30:00", "2026-03-01T23:30:00.5Z"},
		{&at, "2026-03-02 00:30:00", "2026-03-01T23:30:00.5Z"},
		{none, "", ""},
		{time.Time{}, "", ""},
		{Day(at), "2026-03-02", "2026-03-01T23:30:00.5Z"},
		{true, "yes", "true"},
		{Styled{ByteSize(1500), Red}, "1.5 kB", "1500"},
		{Either{Human: "4 *", Machine: 4}, "4 *", "4"},
		{Either{Human: "crm on db", Machine: struct {
			Host  string     `json:"host"`
			Moved *time.Time `json:"moved_at"`
			Rows  *int64     `json:"rows"`
		}{"db", &at, new(int64(7))}}, "crm on db", `{"host":"db","moved_at":"2026-03-01T23:30:00.5Z","rows":7}`},
	} {
		if got := p.Human(tt.value); got != tt.human {
			t.Errorf("human(%v) = %q, want %q", tt.value, got, tt.human)
		}
		if got := Machine(tt.value); got != tt.machine {
			t.Errorf("machine(%v) = %q, want %q", tt.value, got, tt.machine)
		}
	}
}
