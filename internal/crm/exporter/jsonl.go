package exporter

import (
	"bufio"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// jsonEncoder writes a JSON object a line.
type jsonEncoder struct {
	w     *bufio.Writer
	names [][]byte // each as JSON, with what stands before and behind it
	kinds []Kind
	line  []byte
}

func (e *jsonEncoder) begin(columns []Column) error {
	for i, c := range columns {
		before := byte('{')
		if i > 0 {
			before = ','
		}
		e.names = append(e.names, append(contactfile.AppendString([]byte{before}, []byte(c.Name)), ':'))
		e.kinds = append(e.kinds, c.Kind)
	}
	return nil
}

func (e *jsonEncoder) row(texts [][]byte) error {
	line := e.line[:0]
	for i, text := range texts {
		line = append(line, e.names[i]...)
		switch {
		case text == nil:
			line = append(line, "null"...)
		case e.kinds[i] == JSON:
			line = append(line, oneLine(text)...)
		default:
			line = appendJSON(line, e.kinds[i], text)
		}
	}
	if len(texts) == 0 {
		line = append(line, '{')
	}
	e.line = append(line, '}', '\n')
	_, err := e.w.Write(e.line)
	return err
}

func (e *jsonEncoder) end() error { return nil }
