package exporter

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/tabular"
)

// sheetOf returns a workbook of one row with a text.
func sheetOf(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	s := newSheet(w, Contacts, Measure{Rows: 1, Longest: []int64{1, int64(len(text)), 1}})
	if err := s.begin([]Column{{Name: "email"}, {Name: "name"}, {Name: "phone"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.row([][]byte{[]byte("ann@example.com"), text, nil}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzSheetText(f *testing.F) {
	for _, text := range []string{"", "a", "_x000D_", "_x005F_x000D_", "__x000D_", "_x_x000D_x", "a\r\nb", "<&>]]>", "\x01\x7f\v",
		"\ufffe\uffff", "e\u0301\u2028\u202e\ufeff", " a ", "\n", "\t", "😀", "=1+1", "_xD83D_", "_X000d_", "_x000d_",
		strings.Repeat("😀=x", 20_000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Skip()
		}
		file, err := tabular.Open(bytes.NewReader(sheetOf(t, []byte(text))), tabular.Options{HeaderRow: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		rec, err := file.Next()
		if err != nil {
			t.Fatal(err)
		}
		got := string(bytes.Join(rec.Fields[1:min(len(rec.Fields), 1+cellsFor(int64(len(text))))], nil))
		if rec.Problem != tabular.None || got != text {
			t.Errorf("%q comes back as %q (%v)", text, got, rec.Problem)
		}
	})
}

// A cell holds 32,767 characters as UTF-16 counts them, and no half of one.
func TestSheetCells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want []int // bytes of each cell
	}{
		{strings.Repeat("a", 32_767), []int{32_767}},
		{strings.Repeat("a", 32_768), []int{32_767, 1}},
		{strings.Repeat("Ä", 32_768), []int{65_534, 2}},
		{"a" + strings.Repeat("😀", 16_384), []int{1 + 4*16_383, 4}},
		{strings.Repeat("😀", 16_384), []int{4 * 16_383, 4}},
		{strings.Repeat("\r", 32_768), []int{32_767, 1}},
	} {
		rest, got := []byte(c.text), []int{}
		for len(rest) > 0 {
			n := sheetCut(rest)
			got, rest = append(got, n), rest[n:]
		}
		if !slices.Equal(got, c.want) || cellsFor(int64(len(c.text))) < len(got) {
			t.Errorf("%.10q of %d bytes: %d, want %d, %d columns", c.text, len(c.text), got, c.want,
				cellsFor(int64(len(c.text))))
		}
	}
}

// What has become more since it was measured is told, and so are too many columns.
func TestSheetGrows(t *testing.T) {
	t.Parallel()
	s := newSheet(bufio.NewWriter(io.Discard), Contacts, Measure{Rows: 1, Longest: []int64{5}})
	if err := s.begin([]Column{{Name: "email"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.row([][]byte{bytes.Repeat([]byte("a"), 32_768)}); !errors.Is(err, errWider) {
		t.Errorf("a longer text: %v", err)
	}
	s.count = MaxSheetRows // and the header
	if err := s.row([][]byte{nil}); err != nil {
		t.Errorf("the last row: %v", err)
	}
	if e, ok := errors.AsType[*SheetError](s.row([][]byte{nil})); !ok || e.Rows != MaxSheetRows+1 {
		t.Errorf("one row more: %v", e)
	}
	wide := Measure{Rows: 1, Longest: []int64{500 << 20, 100 << 20}}
	if e, ok := errors.AsType[*SheetError](wide.fits()); !ok || e.Columns < 16_385 ||
		!strings.Contains(e.Error(), "a sheet has 16384 columns") {
		t.Errorf("%v", wide.fits())
	}
}
