package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"strings"
)

// field is one line of an object: "display name   Acme Corp.".
type field struct {
	name  string // in CSV: "display_name"; people see it with spaces
	value any
	wide  bool // on a terminal only with -o wide
	// optional leaves the line out on a terminal where there is no value.
	optional bool
}

// object says how one thing is shown in every format.
type object struct {
	kind   string // key in JSON and YAML: "tenant"
	name   string // what --quiet prints
	fields []field
	record any // what JSON, YAML and NDJSON encode
}

// printObject prints one object: aligned lines on a terminal, name and value
// separated by a tab in a pipe, {"version":1,"tenant":{…}} as JSON, a header and
// a line as CSV.
func printObject(p *printer, o object) error {
	w := bufio.NewWriter(p.out)
	err := writeObject(p, w, o)
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func writeObject(p *printer, w *bufio.Writer, o object) error {
	switch {
	case p.namesOnly():
		name := o.name
		if p.terminal {
			name = visible(name)
		}
		_, err := w.WriteString(name + "\n")
		return err
	case p.format == "json":
		text, err := encodeJSON(o.record, "  ", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "{\n  \"version\": %d,\n  %q: %s\n}\n", documentVersion, o.kind, text)
		return err
	case p.format == "yaml":
		text, err := encodeYAML(map[string]any{o.kind: o.record})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "version: %d\n%s", documentVersion, text)
		return err
	case p.format == "ndjson":
		text, err := encodeJSON(o.record, "", "")
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	case p.format == "csv":
		return writeObjectCSV(p, w, o)
	}
	return writeFields(p, w, o)
}

func writeObjectCSV(p *printer, w *bufio.Writer, o object) error {
	var names, values []string
	for _, f := range o.fields {
		names = append(names, f.name)
		values = append(values, p.csvCell(f.value))
	}
	enc := csv.NewWriter(w)
	return enc.WriteAll([][]string{names, values})
}

func writeFields(p *printer, w *bufio.Writer, o object) error {
	width := 0
	for _, f := range o.fields {
		width = max(width, len(f.name))
	}
	for _, f := range o.fields {
		if f.wide && p.format != "wide" {
			continue
		}
		label := strings.ReplaceAll(f.name, "_", " ")
		if !p.terminal {
			if _, err := fmt.Fprintf(w, "%s\t%s\n", f.name, visible(machine(f.value))); err != nil {
				return err
			}
			continue
		}
		text := visible(p.show.human(f.value))
		if f.optional && text == "" {
			continue
		}
		line := label + strings.Repeat(" ", width-len(label)+columnGap+1) + p.painter.paint(colorOf(f.value), text)
		if _, err := w.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
			return err
		}
	}
	return nil
}
