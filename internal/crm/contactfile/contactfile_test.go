package contactfile_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// guard writes a cell as a file has it.
func guard(text []byte, raw bool) []byte {
	if contactfile.Guarded(text, raw) {
		return append([]byte{'\''}, text...)
	}
	return text
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"=1+1": "'=1+1", "+491711234567": "'+491711234567", "-5": "'-5", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1",
		"'=1": "''=1", "''+1": "'''+1", "＝1": "'＝1", "'": "'", "O'Hara": "O'Hara", "": "", "'quoted'": "'quoted'",
		"{\"a\":1}": "{\"a\":1}", "Änne": "Änne",
	} {
		if got := string(guard([]byte(text), false)); got != want {
			t.Errorf("%q is written as %q, want %q", text, got, want)
		}
	}
	if got := string(guard([]byte("=1+1"), true)); got != "=1+1" {
		t.Errorf("raw: %q", got)
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte("'=1"), true)
	f.Add([]byte("''''+"), false)
	f.Fuzz(func(t *testing.T, text []byte, raw bool) {
		if got := contactfile.Unguard(guard(text, raw)); !bytes.Equal(got, text) {
			t.Errorf("%q comes back as %q", text, got)
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for text, micros := range map[string]int64{
		"2000-01-01T00:00:00Z": 0, "1999-12-31T23:59:59.999999Z": -1, "infinity": math.MaxInt64,
		"-infinity": math.MinInt64, "2024-02-29T12:00:00.5Z": 762523200500000,
		"-4712-01-01T00:00:00Z": -211810204800000000, "294276-12-31T23:59:59Z": 9223371331199000000,
	} {
		if got := string(contactfile.AppendTime(nil, micros)); got != text {
			t.Errorf("%d is %s, want %s", micros, got, text)
		}
		if got, ok := contactfile.ParseTime(text); !ok || got != micros {
			t.Errorf("%s is %d %v, want %d", text, got, ok, micros)
		}
	}
	for _, text := range []string{"", "2023-02-29T00:00:00Z", "2023-01-01", "today", "23-01-01T00:00:00Z", "--"} {
		if got, ok := contactfile.ParseTime(text); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestCheckObject(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{}`: true, ` {"a": [1, {"b": null}]} `: true, `{"a":"\u00e4\ud83d\ude00\\u0000"}`: true,
		`{"a":"\u0000"}`: false, `{"a":"\ud83d"}`: false, `{"a":"\ude00"}`: false, `{"a":"\ud83dx"}`: false,
		`{"a":"\ud83d\n"}`: false, `[]`: false, `null`: false, ``: false, `{"a"}`: false,
	} {
		if err := contactfile.CheckObject([]byte(text)); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
