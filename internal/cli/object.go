package cli

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"strings"
)

// Field is one line of an object: "display name   Acme Corp.".
type Field struct {
	Name  string // in CSV: "display_name"; people see it with spaces
	Value any
	Wide  bool // on a terminal only with -o wide
	// Optional leaves the line out on a terminal where there is no value.
	Optional bool
}

// Object says how one thing is shown in every format.
type Object struct {
	Kind   string // key in JSON and YAML: "tenant"
	Name   string // what --quiet prints
	Fields []Field
	Record any // what JSON, YAML and NDJSON encode
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
		text, err := EncodeJSON(o.Record, "  ", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "{\n  \"version\": %d,\n  %q: %s\n}\n", DocumentVersion, o.Kind, text)
		return err
	case p.Format == "yaml":
		text, err := encodeYAML(map[string]any{o.Kind: o.Record})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "version: %d\n%s", DocumentVersion, text)
		return err
	case p.Format == "ndjson":
		text, err := EncodeJSON(o.Record, "", "")
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

func writeObjectCSV(p *Printer, w *bufio.Writer, o Object) error {
	var names, values []string
	for _, f := range o.Fields {
		names = append(names, f.Name)
		values = append(values, p.CSVCell(f.Value))
	}
	enc := csv.NewWriter(w)
	return enc.WriteAll([][]string{names, values})
}

func writeFields(p *Printer, w *bufio.Writer, o Object) error {
	width := 0
	for _, f := range o.Fields {
		width = max(width, len(f.Name))
	}
	for _, f := range o.Fields {
		if f.Wide && p.Format != "wide" {
			continue
		}
		label := strings.ReplaceAll(f.Name, "_", " ")
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
		line := label + strings.Repeat(" ", width-len(label)+columnGap+1) + p.Painter.Paint(ColorOf(f.Value), text)
		if _, err := w.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
			return err
		}
	}
	return nil
}
