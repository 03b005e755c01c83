package cli

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
)

// Field is one line of an object: "display name   Acme Corp.".
type Field struct {
	Name  string // in JSON, YAML and CSV: "display_name"; people see it with spaces
	Title string // on a terminal; "" takes the name with blanks
	Value any
	Wide  bool // on a terminal only with -o wide
	// Optional leaves it out on a terminal and in documents where it is empty.
	Optional bool
	Document bool // only in JSON, YAML and NDJSON
}

func (f Field) label() string {
	return cmp.Or(f.Title, strings.ReplaceAll(f.Name, "_", " "))
}

// Object says how one thing is shown in every format.
type Object struct {
	Kind   string // key in JSON and YAML: "tenant"
	Name   string // what --quiet prints
	Fields []Field
	// Record is what JSON, YAML and NDJSON encode where that is not the fields.
	Record any
}

// PrintObject prints one object: aligned lines on a terminal, name and value
// separated by a tab in a pipe, {"version":1,"tenant":{…}} as JSON, a header and
// a line as CSV.
func PrintObject(p *Printer, o Object) error {
	w := bufio.NewWriter(p.Out)
	err := writeObject(p, w, o)
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func writeObject(p *Printer, w *bufio.Writer, o Object) error {
	switch {
	case p.NamesOnly():
		name := o.Name
		if p.Terminal {
			name = Visible(name)
		}
		_, err := w.WriteString(name + "\n")
		return err
	case p.Format == "json":
		text, err := EncodeJSON(o.encode(), "  ", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "{\n  \"version\": %d,\n  %q: %s\n}\n", DocumentVersion, o.Kind, text)
		return err
	case p.Format == "yaml":
		text, err := encodeYAML(map[string]any{o.Kind: o.encode()})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "version: %d\n%s", DocumentVersion, text)
		return err
	case p.Format == "ndjson":
		text, err := EncodeJSON(o.encode(), "", "")
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	case p.Format == "csv":
		return writeObjectCSV(p, w, o)
	}
	return writeFields(p, w, o)
}

// Document returns the object as documents have it, for a file that is none of stdout's.
func (o Object) Document() any { return o.encode() }

func (o Object) encode() any {
	if o.Record != nil {
		return o.Record
	}
	facts := make(record, 0, len(o.Fields))
	for _, f := range o.Fields {
		facts = facts.add(f.Name, f.Value, f.Optional)
	}
	return facts
}

// lines returns the fields that are one value.
func (o Object) lines() []Field {
	return slices.DeleteFunc(slices.Clone(o.Fields), func(f Field) bool { return f.Document })
}

func writeObjectCSV(p *Printer, w *bufio.Writer, o Object) error {
	var names, values []string
	for _, f := range o.lines() {
		names = append(names, f.Name)
		values = append(values, p.CSVCell(f.Value))
	}
	enc := csv.NewWriter(w)
	return enc.WriteAll([][]string{names, values})
}

func writeFields(p *Printer, w *bufio.Writer, o Object) error {
	width := 0
	for _, f := range o.lines() {
		width = max(width, len(f.label()))
	}
	for _, f := range o.lines() {
		if f.Wide && p.Format != "wide" {
			continue
		}
		label := f.label()
		if !p.Terminal {
			if _, err := fmt.Fprintf(w, "%s\t%s\n", f.Name, Visible(Machine(f.Value))); err != nil {
				return err
			}
			continue
		}
		text := Visible(p.Show.Human(f.Value))
		if f.Optional && text == "" {
			continue
		}
		head := label + strings.Repeat(" ", width-len(label)+columnGap+1)
		if room := p.Width - len(head); p.Format != "wide" && room >= MinColumn && strings.Contains(text, " ") {
			text = Fold(text, room, "")
		}
		text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(head)))
		line := head + p.Painter.Paint(ColorOf(f.Value), text)
		if _, err := w.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
			return err
		}
	}
	return nil
}
