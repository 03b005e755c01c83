package phone

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

var update = flag.Bool("update", false, "write table.tsv")

// makeTable writes the library's data as the table of this package.
func makeTable(t *testing.T) string {
	t.Helper()
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	place := func(m *phonenumbers.PhoneMetadata) int {
		return slices.Index(phonenumbers.GetRegionCodesForCountryCode(int(m.GetCountryCode())), m.GetId())
	}
	list := slices.Clone(all.GetMetadata())
	slices.SortFunc(list, func(a, b *phonenumbers.PhoneMetadata) int {
		if a.GetCountryCode() != b.GetCountryCode() {
			return int(a.GetCountryCode() - b.GetCountryCode())
		}
		return place(a) - place(b)
	})
	var b strings.Builder
	b.WriteString("# Made of libphonenumber's data by table_test.go (Apache License 2.0): country code, country, what is\n" +
		"# dialled before a country code, within the country, the pattern of that, what takes its place, all numbers.\n")
	for _, m := range list {
		var kinds []string
		for _, d := range []*phonenumbers.PhoneNumberDesc{
			m.GetFixedLine(), m.GetMobile(), m.GetTollFree(), m.GetPremiumRate(), m.GetSharedCost(), m.GetVoip(),
			m.GetPersonalNumber(),
			m.GetPager(), m.GetUan(), m.GetVoicemail(),
		} {
			if p := strings.Join(strings.Fields(d.GetNationalNumberPattern()), ""); p != "" && p != "NA" &&
				!slices.Contains(kinds, p) {
				kinds = append(kinds, p)
			}
		}
		fmt.Fprintln(&b, strings.Join([]string{
			strconv.Itoa(int(m.GetCountryCode())), m.GetId(), m.GetInternationalPrefix(), m.GetNationalPrefix(),
			strings.Join(strings.Fields(m.GetNationalPrefixForParsing()), ""), m.GetNationalPrefixTransformRule(),
			strings.Join(kinds, "|"),
		}, "\t"))
	}
	return b.String()
}

// The table is that of the library's version in go.mod.
func TestTableIsCurrent(t *testing.T) {
	t.Parallel()
	want := makeTable(t)
	if *update {
		if err := os.WriteFile("table.tsv", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != table {
		t.Error("table.tsv is not what the library has; go test ./internal/crm/phone -run TestTableIsCurrent -update " +
			"writes it")
	}
}

// theLibrary brings a number to E.164, "" when it is not valid.
func theLibrary(raw, country string) string {
	n, err := phonenumbers.Parse(raw, country)
	if err != nil || !phonenumbers.IsValidNumber(n) || n.GetExtension() != "" {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// Every example number of every country, written in every usual way, comes out as
// with the library.
func TestExamples(t *testing.T) {
	t.Parallel()
	different, checked := 0, 0
	for id := range phonenumbers.GetSupportedRegions() {
		p := NewParser(id)
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.VOICEMAIL; kind++ {
			n := phonenumbers.GetExampleNumberForType(id, kind)
			if n == nil {
				continue
			}
			for _, format := range []phonenumbers.PhoneNumberFormat{phonenumbers.E164, phonenumbers.INTERNATIONAL,
				phonenumbers.NATIONAL} {
				raw := phonenumbers.Format(n, format)
				got, _ := p.Append(nil, []byte(raw))
				checked++
				if want := theLibrary(raw, id); string(got) != want {
					different++
					if different < 40 {
						t.Logf("%s in %s: got %q, the library has %q", raw, id, got, want)
					}
				}
			}
		}
	}
	if different > checked/200 {
		t.Errorf("%d of %d numbers differ", different, checked)
	}
}

func TestRandomNumbers(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	countries := []string{"", "DE", "US", "GB", "FR", "IT", "ES", "BR", "NL", "PL", "RU", "CN", "JP", "AT", "CH", "IN"}
	parsers := map[string]*Parser{}
	for _, c := range countries {
		parsers[c] = NewParser(c)
	}
	different, valid := 0, 0
	const n = 6000
	for range n {
		c := countries[r.IntN(len(countries))]
		raw := [...]string{"", "+", "0", "00", "+49", "+1", "+44 ", "+33 ", "+39 ", "+7 "}[r.IntN(10)] +
			strconv.Itoa(r.IntN(1e9)+1e8)
		if r.IntN(2) == 0 {
			raw = raw[:3] + " " + raw[3:6] + "-" + raw[6:]
		}
		got, _ := parsers[c].Append(nil, []byte(raw))
		want := theLibrary(raw, c)
		if want != "" {
			valid++
		}
		if string(got) != want {
			if different++; different < 40 {
				t.Logf("%q in %q: got %q, the library has %q", raw, c, got, want)
			}
		}
	}
	if different > n/200 || valid < n/20 {
		t.Errorf("%d of %d numbers differ, %d are valid", different, n, valid)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ country, raw, want string }{
		{"DE", "0171 1234567", "+491711234567"},
		{"DE", "+49 (0)171 / 123 45 67", "+491711234567"},
		{"DE", "0049 171 1234567", "+491711234567"},
		{"FR", "33 6 12 34 56 78", "+33612345678"},
		{"", "0171 1234567", ""},
		{"", "+44 20 7946 0000", "+442079460000"},
		{"US", "(212) 555-0123", "+12125550123"},
		{"US", "1-212-555-0123", "+12125550123"},
		{"US", "011 49 171 1234567", "+491711234567"},
		{"IT", "06 6982", "+39066982"},
		{"DE", "+49 30 1234-5 ext. 6", ""},
		{"DE", "1-800-FLOWERS", ""},
		{"DE", "4.91E+11", ""},
		{"DE", "", ""},
		{"DE", "+", ""},
		{"DE", "((0171 1234567", ""},
		{"US", "+1 555 123 4567", ""},
	} {
		got, ok := NewParser(tt.country).Append([]byte("x"), []byte(tt.raw))
		if string(got) != "x"+tt.want || ok != (tt.want != "") {
			t.Errorf("%q in %q: got %q, %t, want %q", tt.raw, tt.country, got, ok, tt.want)
		}
	}
}

// What comes out comes out again, and is digits after a plus.
func FuzzAppend(f *testing.F) {
	for _, seed := range []string{"0171 1234567", "+49 (0)171", "00", "(((+", "tel:+1"} {
		f.Add(seed)
	}
	p := NewParser("DE")
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := p.Append(nil, []byte(raw))
		if !ok {
			return
		}
		again, ok := p.Append(nil, got)
		if !ok || string(again) != string(got) || got[0] != '+' || strings.Trim(string(got[1:]), "0123456789") != "" {
			t.Fatalf("%q: %q, and again %q, %t", raw, got, again, ok)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	p := NewParser("DE")
	var dst []byte
	for i := range b.N {
		dst, _ = p.Append(dst[:0], []byte("+49 171 "+strconv.Itoa(1_000_000+i%1_000_000)))
	}
}
