package exporter_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/crm/exporter"
)

// cells returns the texts of a file, by column.
func cells(t *testing.T, file []byte, format exporter.Format) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	switch format {
	case exporter.JSONLines:
		for d := json.NewDecoder(bytes.NewReader(file)); ; {
			var row map[string]any
			if err := d.Decode(&row); errors.Is(err, io.EOF) {
				return out
			} else if err != nil {
				t.Fatal(err)
			}
			for name, value := range row {
				text, _ := value.(string)
				out[name] = append(out[name], text)
			}
		}
	case exporter.CSV:
		// encoding/csv makes \n of \r\n, also within a cell.
		rows, err := csv.NewReader(bytes.NewReader(bytes.ReplaceAll(file, []byte("\r"), []byte("\x00")))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			for i, text := range row {
				text = strings.ReplaceAll(text, "\x00", "\r")
				out[rows[0][i]] = append(out[rows[0][i]], string(contactfile.Unguard([]byte(text))))
			}
		}
		return out
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	part, err := z.Open("xl/worksheets/sheet1.xml")
	if err != nil {
		t.Fatal(err)
	}
	var sheet struct {
		Rows []struct {
			Cells []struct {
				Place string `xml:"r,attr"`
				Text  string `xml:"is>t"`
			} `xml:"c"`
		} `xml:"sheetData>row"`
	}
	if err := xml.NewDecoder(part).Decode(&sheet); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // "C" -> "content"
	for i, row := range sheet.Rows {
		for _, c := range row.Cells {
			if n := len(utf16.Encode([]rune(c.Text))); n > 32_767+len("_x000D_") { // an escape counts as one
				t.Errorf("%s has %d characters", c.Place, n)
			}
			column, text := strings.TrimRight(c.Place, "0123456789"), unescaped(c.Text)
			if i == 0 {
				names[column], _, _ = strings.Cut(text, " (")
				continue
			}
			if list := out[names[column]]; len(list) == i {
				list[i-1] += text // it goes on
				continue
			}
			out[names[column]] = append(out[names[column]], text)
		}
	}
	return out
}

var escapes = regexp.MustCompile(`_x([0-9A-Fa-f]{4})_`)

// unescaped reads _x000D_ as a workbook means it.
func unescaped(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(e string) string {
		n, _ := strconv.ParseUint(e[2:6], 16, 16)
		return string(rune(n))
	})
}
