package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// EncodeJSON returns one value as JSON, without the escapes for HTML and with
// everything escaped that a terminal would obey.
func EncodeJSON(v any, prefix, indent string) ([]byte, error) {
	text, err := MarshalJSON(v, prefix, indent)
	return escapeHazards(text, jsonEscape), err
}

// MarshalJSON encodes a value without the escapes for HTML that encoding/json adds.
func MarshalJSON(v any, prefix, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, indent)
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// escapeHazards escapes the characters that encoders leave as they are and a
// terminal obeys. They can only stand within quotes, so the document means the
// same.
func escapeHazards(text []byte, escape func(r rune) string) []byte {
	if !bytes.ContainsFunc(text, isEncodedHazard) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if isEncodedHazard(r) {
			b.WriteString(escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// jsonEscape writes what lies beyond 16 bits as a pair of surrogates.
func jsonEscape(r rune) string {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// yamlEscape differs: YAML knows no surrogates.
func yamlEscape(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// isEncodedHazard leaves out ASCII, where line breaks are the document's own
// and the encoders have escaped the rest (all but DEL).
func isEncodedHazard(r rune) bool {
	return r == 0x7f || (r >= 0x80 && r != utf8.RuneError && Hazardous(r))
}

// writeJSON prints {"version":1,"tenants":[…]}, row by row.
func writeJSON[T any](w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	if _, err := fmt.Fprintf(w, "{\n  \"version\": %d,\n  %q: [", DocumentVersion, l.Plural); err != nil {
		return err
	}
	separator := "\n    "
	for row, err := range rows {
		if err != nil {
			return err
		}
		text, err := EncodeJSON(l.encode(row), "    ", "  ")
		if err != nil {
			return err
		}
		if _, err := w.WriteString(separator + string(text)); err != nil {
			return err
		}
		separator = ",\n    "
	}
	end := "]"
	if separator[0] == ',' {
		end = "\n  ]"
	}
	if l.Summary != nil {
		text, err := EncodeJSON(l.Summary(), "  ", "  ")
		if err != nil {
			return err
		}
		end += ",\n  \"summary\": " + string(text)
	}
	_, err := w.WriteString(end + "\n}\n")
	return err
}

// writeNDJSON prints one object a line.
func writeNDJSON[T any](w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		text, err := EncodeJSON(l.encode(row), "", "")
		if err != nil {
			return err
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// writeYAML prints the document of writeJSON as YAML.
func writeYAML[T any](w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	if _, err := fmt.Fprintf(w, "version: %d\n%s:", DocumentVersion, l.Plural); err != nil {
		return err
	}
	separator := "\n"
	for row, err := range rows {
		if err != nil {
			return err
		}
		text, err := encodeYAML([]any{l.encode(row)})
		if err != nil {
			return err
		}
		if _, err := w.WriteString(separator + string(text)); err != nil {
			return err
		}
		separator = ""
	}
	if separator != "" {
		if _, err := w.WriteString(" []\n"); err != nil {
			return err
		}
	}
	if l.Summary == nil {
		return nil
	}
	text, err := encodeYAML(map[string]any{"summary": l.Summary()})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// encodeYAML goes through JSON, so that both have the same names in the same
// order.
func encodeYAML(v any) ([]byte, error) {
	text, err := MarshalJSON(v, "", "")
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(escapeHazards(text, yamlEscape), &node); err != nil {
		return nil, err
	}
	blockStyle(&node)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return nil, err
	}
	return escapeHazards(b.Bytes(), yamlEscape), nil
}

// blockStyle takes off the braces and quotes that came from JSON. Texts with
// hazardous characters keep their quotes, in which \uXXXX is an escape.
func blockStyle(node *yaml.Node) {
	if node.Kind != yaml.ScalarNode || !strings.ContainsFunc(node.Value, Hazardous) {
		node.Style = 0
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}

// writeCSV prints all columns that are one value, with names that programs know.
func writeCSV[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	enc := csv.NewWriter(w)
	columns := l.cells()
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = p.CSVCell(c.Name) // tenant exec: the tenant's SQL names it
	}
	if err := enc.Write(cells); err != nil {
		return err
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		for i, c := range columns {
			cells[i] = p.CSVCell(c.Value(row))
		}
		if err := enc.Write(cells); err != nil {
			return err
		}
	}
	enc.Flush()
	return enc.Error()
}

// CSVCell returns a value as a cell of a CSV file.
func (p *Printer) CSVCell(v any) string {
	text := Machine(v)
	if !isNumber(v) {
		text = guardFormula(text)
	}
	if p.Terminal {
		return Visible(text)
	}
	return text
}

// harmless is a number or a telephone number: it begins like a formula and is
// none.
var harmless = regexp.MustCompile(`^[+-]?[0-9]([0-9 ()./-]*[0-9)])?$|^[+-]?[0-9]*[.,][0-9]+$`)

// guardFormula puts an apostrophe before a cell that a spreadsheet would take
// for a formula. https://owasp.org/www-community/attacks/CSV_Injection
func guardFormula(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) || harmless.MatchString(s) {
		return s
	}
	return "'" + s
}
