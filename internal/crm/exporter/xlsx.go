package exporter

import (
	"archive/zip"
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// What a sheet can hold.
const (
	maxSheetCell    = 32_767 // characters as UTF-16 counts them
	maxSheetColumns = 16_384
)

// errWider says that a text became longer than it was when all were measured.
var errWider = errors.New("a text has grown since the texts were measured; try again")

// sheet writes a workbook of one sheet, row by row. All cells are texts, so that nothing is
// computed and no digit is lost. A text that is longer than a cell goes on in columns of its
// own: "metadata", "metadata (2)".
type sheet struct {
	w     *bufio.Writer
	name  string
	total Measure
	zip   *zip.Writer
	part  *bufio.Writer
	cells []int // of each column
	count int
	line  []byte
}

func newSheet(w *bufio.Writer, table Table, m Measure) *sheet {
	return &sheet{w: w, name: string(table), total: m}
}

const xmlHead = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"

// workbookParts are what a workbook has beside its sheet; %s is the sheet's name.
func workbookParts(name string) [][2]string {
	const (
		types    = "http://schemas.openxmlformats.org/package/2006/content-types"
		links    = "http://schemas.openxmlformats.org/package/2006/relationships"
		office   = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
		main     = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
		mimeType = "application/vnd.openxmlformats-officedocument.spreadsheetml."
	)
	return [][2]string{
		{"[Content_Types].xml", `<Types xmlns="` + types + `"><Default Extension="rels" ContentType="` +
			`application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Default Extension="xml" ContentType="application/xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + mimeType + `sheet.main+xml"/>` +
			`<Override PartName="/xl/styles.xml" ContentType="` + mimeType + `styles+xml"/>` +
			`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="` + mimeType + `worksheet+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + links + `"><Relationship Id="rId1" Type="` + office +
			`/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns="` + main + `" xmlns:r="` + office + `"><sheets><sheet name="` + name +
			`" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + links + `"><Relationship Id="rId1" Type="` + office +
			`/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="` + office +
			`/styles" Target="styles.xml"/></Relationships>`},
		{"xl/styles.xml", `<styleSheet xmlns="` + main + `"><fonts count="2"><font/><font><b/></font></fonts>` +
			`<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>` +
			`</fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2">` +
			`<xf numFmtId="49" applyNumberFormat="1"/><xf fontId="1" applyFont="1"/></cellXfs></styleSheet>`},
	}
}

func (s *sheet) begin(columns []Column) error {
	s.zip = zip.NewWriter(s.w)
	s.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	for _, part := range workbookParts(s.name) {
		w, err := s.zip.Create(part[0])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, xmlHead+part[1]); err != nil {
			return err
		}
	}
	w, err := s.zip.Create("xl/worksheets/sheet1.xml")
	if err != nil {
		return err
	}
	s.part = bufio.NewWriterSize(w, 64<<10)
	_, err = s.part.WriteString(xmlHead + `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">` +
		`<sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" ` +
		`state="frozen"/></sheetView></sheetViews><sheetData>`)
	if err != nil {
		return err
	}
	return s.header(columns)
}

// header writes the names of the columns.
func (s *sheet) header(columns []Column) error {
	first := len(columns) - len(s.total.Longest) // the tenant's name is not measured
	var names [][]byte
	var cells []int
	for i, c := range columns {
		n := 1
		if i >= first && i-first < len(s.total.Longest) {
			n = cellsFor(s.total.Longest[i-first])
		}
		cells = append(cells, n)
		names = append(names, []byte(c.Name))
		for k := 2; k <= n; k++ {
			names = append(names, fmt.Appendf(nil, "%s (%d)", c.Name, k))
		}
	}
	for range names {
		s.cells = append(s.cells, 1)
	}
	if err := s.write(names, ` s="1"`); err != nil {
		return err
	}
	s.cells = cells
	return nil
}

func (s *sheet) row(texts [][]byte) error { return s.write(texts, "") }

func (s *sheet) write(texts [][]byte, style string) error {
	if s.count++; s.count > MaxSheetRows+1 {
		return &SheetError{Rows: int64(s.count) - 1}
	}
	line := append(s.line[:0], "<row>"...)
	column := 0
	for i, text := range texts {
		at := column
		column += s.cells[i]
		if text == nil {
			continue
		}
		for n := 0; n == 0 || len(text) > 0; n++ {
			if n == s.cells[i] {
				return errWider
			}
			cut := sheetCut(text)
			line = appendSheetCell(line, at+n, s.count, style, text[:cut])
			text = text[cut:]
		}
	}
	s.line = append(line, "</row>\n"...)
	_, err := s.part.Write(s.line)
	return err
}

// sheetCut returns how many bytes of a text fit into a cell.
func sheetCut(text []byte) int {
	if len(text) <= maxSheetCell {
		return len(text)
	}
	units := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		units++
		if r > 0xFFFF {
			units++
		}
		if units > maxSheetCell {
			return i
		}
		i += size
	}
	return len(text)
}

// appendSheetCell appends a cell, whose column counts from 0 and whose row from 1.
func appendSheetCell(dst []byte, column, row int, style string, text []byte) []byte {
	dst = append(dst, `<c r="`...)
	dst = strconv.AppendInt(appendColumnName(dst, column), int64(row), 10)
	dst = append(append(append(dst, '"'), style...), ` t="inlineStr"><is><t xml:space="preserve">`...)
	return append(appendXML(dst, text), "</t></is></c>"...)
}

// appendColumnName appends A for 0, Z for 25, AA for 26.
func appendColumnName(dst []byte, column int) []byte {
	if column >= 26 {
		dst = appendColumnName(dst, column/26-1)
	}
	return append(dst, byte('A'+column%26))
}

// appendXML appends a text of a workbook: what XML cannot hold is written as _x000D_, and so
// is the underscore of what would be taken for that.
func appendXML(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '&':
			dst = append(dst, "&amp;"...)
		case c == '<':
			dst = append(dst, "&lt;"...)
		case c == '>':
			dst = append(dst, "&gt;"...)
		case c == '_' && isSheetEscape(text[i:]):
			dst = append(dst, "_x005F_"...)
		case c < ' ' && c != '\t' && c != '\n':
			dst = append(hex.AppendEncode(append(dst, "_x00"...), text[i:i+1]), '_')
		case c == 0xEF && i+2 < len(text) && text[i+1] == 0xBF && text[i+2] >= 0xBE: // U+FFFE and U+FFFF
			dst = append(dst, "_xFFF"...)
			dst = append(dst, "EF"[text[i+2]-0xBE], '_')
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// isSheetEscape reports whether text begins like _x000D_.
func isSheetEscape(text []byte) bool {
	if len(text) < 7 || text[1] != 'x' || text[6] != '_' {
		return false
	}
	_, err := hex.DecodeString(string(text[2:6]))
	return err == nil
}

func (s *sheet) end() error {
	if _, err := s.part.WriteString("</sheetData></worksheet>"); err != nil {
		return err
	}
	if err := s.part.Flush(); err != nil {
		return err
	}
	return s.zip.Close()
}
