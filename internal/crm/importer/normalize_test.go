package importer

import (
	"bytes"
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendEmail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, want string // want is "" where the address is refused
	}{
		{"ada@example.com", "ada@example.com"},
		{" \tAda.L+crm@Mail.Example.COM\u00A0\u200B", "ada.l+crm@mail.example.com"},
		{"o'brien!#$%&*/=?^_`{|}~-@x.io", "o'brien!#$%&*/=?^_`{|}~-@x.io"},
		{"jürgen@example.de", "jürgen@example.de"},
		{"JÜRGEN@BÜCHER.DE", "jürgen@bücher.de"},
		{"a@b_c.example", "a@b_c.example"},
		{"", ""},
		{"@", ""},
		{"ada", ""},
		{"ada@", ""},
		{"@example.com", ""},
		{"ada@localhost", ""},
		{"ada@example.", ""},
		{"ada@.example", ""},
		{"ada@example..com", ""},
		{".ada@example.com", ""},
		{"ada.@example.com", ""},
		{"ada..l@example.com", ""},
		{"a b@example.com", ""},
		{"ada@exam ple.com", ""},
		{"ada@example.com, bob@example.com", ""},
		{"Ada <ada@example.com>", ""},
		{"<ada@example.com>", ""},
		{"ada@@example.com", ""},
		{"ada@[1.2.3.4]", ""},
		{`"a b"@example.com`, ""},
		{"mailto:ada@example.com", ""},
		{"ada@example.com\nbcc: x@y.z", ""},
		{"(blank)", ""},
		{strings.Repeat("a", 244) + "@example.it", ""},
		{strings.Repeat("a", 243) + "@example.it", strings.Repeat("a", 243) + "@example.it"},
	}
	for _, tt := range tests {
		got, ok := appendEmail([]byte("before"), []byte(tt.in))
		if ok != (tt.want != "") || string(got) != "before"+tt.want {
			t.Errorf("%q: got %q, %t; want %q", tt.in, got, ok, tt.want)
		}
	}
}

// What the quick way accepts, net/mail accepts as the very same address; and
// every accepted address is its own normal form.
func FuzzAppendEmail(f *testing.F) {
	for _, seed := range []string{"Ada@Example.com", "a.b@c-d.e", "ü@ü.ü", "a@b..c", "\"a\"@b.c", "a@-b.c", "İ@İ.tr",
		"ΟΔΟΣ@x.gr"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if quick, ok := appendPlainEmail(nil, in); ok {
			addr, err := mail.ParseAddress(string(in))
			if err != nil || !strings.EqualFold(addr.Address, string(quick)) || addr.Address != string(in) {
				t.Fatalf("%q: %q, but net/mail: %v, %v", in, quick, addr, err)
			}
		}
		got, ok := appendEmail(nil, in)
		if !ok {
			return
		}
		if again, ok := appendEmail(nil, got); !ok || !bytes.Equal(again, got) {
			t.Fatalf("%q: %q, and again %q, %t", in, got, again, ok)
		}
		if strings.ToLower(string(got)) != string(got) || strings.TrimSpace(string(got)) != string(got) ||
			len(got) > maxEmail || !utf8.Valid(got) {
			t.Fatalf("%q: %q is not normal", in, got)
		}
	})
}

func TestAppendPhone(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+49 (30) 1234-5 ext. 6":      "+49 (30) 1234-5 ext. 6",
		"  +49\u00A030\u2009\u20091 ": "+49 30 1",
		"\u202A+1 555\u202C":          "+1 555",
		"+1\t555\n6":                  "+1 555 6",
		"1-800-FLOWERS":               "1-800-FLOWERS",
		"０３-１２３４":                     "０３-１２３４",
	} {
		if got, ok := appendPhone(nil, []byte(in)); !ok || string(got) != want {
			t.Errorf("%q: got %q, %t; want %q", in, got, ok, want)
		}
	}
	if _, ok := appendPhone(nil, bytes.Repeat([]byte{'1'}, maxPhone+1)); ok {
		t.Error("a phone number over the limit is taken")
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 23, 20, 15, 0, 0, time.UTC)
	for _, in := range []string{"2026-11-23T20:15:00Z", " 2026-11-23 20:15:00 ", "2026-11-23 20:15",
		"2026-11-23T21:15:00+01:00", "2026-11-23 21:15:00 +0100", "2026-11-23 20:15:00+00"} {
		if got, ok := parseTime([]byte(in)); !ok || !got.Equal(want) {
			t.Errorf("%q: got %v, %t", in, got, ok)
		}
	}
	for _, in := range []string{"", "11/12/2026", "23.11.2026", "yesterday", "2026-13-01", "0000-01-01"} {
		if got, ok := parseTime([]byte(in)); ok {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestIDSource(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC)
	s, err := newIDSource(at)
	if err != nil {
		t.Fatal(err)
	}
	s.counter = 0xFFFF_FF00 // where the counter runs over into the time
	var last []byte
	for range 1000 {
		id := s.append(nil)
		if len(id) != 16 || bytes.Compare(id, last) <= 0 {
			t.Fatalf("%x follows %x", id, last)
		}
		if id[6]>>4 != 7 || id[8]>>6 != 0b10 {
			t.Fatalf("%x is not of version 7", id)
		}
		millis := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
		if d := millis - at.UnixMilli(); d < 0 || d > 1 {
			t.Fatalf("%x is %d ms off", id, d)
		}
		last = id
	}
}

// The filter never forgets, and with two bytes a key it is rarely wrong.
func TestFilter(t *testing.T) {
	t.Parallel()
	const n = 30_000
	f := newFilter(n * 32)
	key := func(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16), '@'} }
	wrong := 0
	for i := range n {
		if f.addEmail(key(i)) {
			wrong++
		}
	}
	for i := range n {
		if !f.addEmail(key(i)) {
			t.Fatalf("key %d is forgotten", i)
		}
	}
	if wrong > n/100 {
		t.Errorf("%d of %d new keys were taken for old ones", wrong, n)
	}
}
