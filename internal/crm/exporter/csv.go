package exporter

import (
	"bufio"
	"bytes"
	"strings"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// csvEncoder writes delimited text as RFC 4180 has it, with line ends of one character. A
// null is an empty cell, an empty text a pair of quotes.
type csvEncoder struct {
	w     *bufio.Writer
	raw   bool
	kinds []Kind
	line  []byte
}

func (e *csvEncoder) begin(columns []Column) error {
	e.kinds = nil
	names := make([][]byte, len(columns))
	for i, c := range columns {
		names[i] = []byte(c.Name)
		e.kinds = append(e.kinds, c.Kind)
	}
	return e.row(names)
}

func (e *csvEncoder) row(texts [][]byte) error {
	line := e.line[:0]
	for i, text := range texts {
		if i > 0 {
			line = append(line, ',')
		}
		line = e.appendCell(line, e.kinds[i], text)
	}
	e.line = append(line, '\n')
	_, err := e.w.Write(e.line)
	return err
}

func (e *csvEncoder) appendCell(dst []byte, kind Kind, text []byte) []byte {
	if text == nil {
		return dst
	}
	if kind == UUID || kind == Time {
		return append(dst, text...)
	}
	guarded := (kind == Text || kind == Other || kind == dialled && !isDialled(text)) && contactfile.Guarded(text, e.raw)
	if !guarded && !wantsQuotes(text) {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	if guarded {
		dst = append(dst, '\'')
	}
	for {
		i := bytes.IndexByte(text, '"')
		if i < 0 {
			break
		}
		dst = append(append(dst, text[:i+1]...), '"')
		text = text[i+1:]
	}
	return append(append(dst, text...), '"')
}

// dialled is a text that is a telephone number for another program: one that is nothing but
// that has no apostrophe, which would become part of it. A spreadsheet makes no more of it
// than a number.
const dialled Kind = -1

func isDialled(text []byte) bool {
	return len(text) > 0 && text[0] == '+' && !bytes.ContainsFunc(text[1:], func(r rune) bool {
		return !strings.ContainsRune("0123456789 ()-./", r)
	})
}

// wantsQuotes reports whether a cell needs quotes around it.
func wantsQuotes(text []byte) bool {
	if len(text) == 0 || text[0] <= ' ' || text[len(text)-1] <= ' ' {
		return true
	}
	for _, c := range text {
		if c == ',' || c == '"' || c == '\n' || c == '\r' {
			return true
		}
	}
	return false
}

func (e *csvEncoder) end() error { return nil }
