package exporter

import (
	"bufio"
	"bytes"
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
