package tabular

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxDepth bounds how deep values may be nested.
const maxDepth = 64

// isJSON reports whether a text begins as a list of objects does.
func isJSON(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 {
		return false
	}
	rest := bytes.TrimLeft(head[1:], " \t\r\n")
	switch head[0] {
	case '{':
		return len(rest) > 0 && (rest[0] == '"' || rest[0] == '}')
	case '[':
		return len(rest) == 0 || rest[0] == '{' || rest[0] == ']'
	}
	return false
}

// objects reads JSON objects: of an array, of lines, or one after another. Their
// nested values become columns of their own: {"name":{"first":"Ann"}} is
// "name.first".
type objects struct {
	in      *bufio.Reader
	limits  Limits
	line    int
	list    bool // of an array
	wrapped bool // which is in an object
	began   bool
	ended   bool // the array is
	buf     []byte
	columns map[string]int
	names   []string
	ready   bool     // the columns are known
	syntax  error    // of the first object that is none
	whole   []string // columns whose values come as they stand
	record  Record
	pairs   []Pair
}

// openJSON finds out the columns of a list of objects from its first ones.
func (f *File) openJSON(r io.Reader, o Options) error {
	f.Format.Kind, f.Format.Delimiter = JSON, ','
	in := bufio.NewReaderSize(r, 64<<10)
	j := &objects{in: in, limits: o.Limits, line: 1, columns: map[string]int{}}
	f.rows = j
	if err := j.keepsJSON(o.Exact); err != nil {
		return err
	}
	if err := j.unwrap(o.Known); err != nil {
		return err
	}
	held := 0
	for len(f.ahead) < 200 && held < sampleBytes {
		rec, err := j.Next()
		if errors.Is(err, io.EOF) {
			f.err = io.EOF
			break
		}
		if err != nil {
			return err
		}
		held += len(rec.Raw) + 64
		for _, p := range rec.Extra {
			held += len(p.Key) + len(p.Value)
			name := string(p.Key)
			if _, ok := j.columns[name]; !ok && len(j.names) < o.Limits.Columns {
				j.columns[name] = len(j.names)
				j.names = append(j.names, name)
			}
		}
		f.ahead = append(f.ahead, rec.clone())
	}
	if n := len(f.ahead); n > 0 && len(j.names) == 0 && f.ahead[0].Problem != None {
		why := f.ahead[0].Problem.Describe(o.Limits)
		if j.syntax != nil {
			why = strings.TrimPrefix(j.syntax.Error(), "json: ")
		}
		return &Error{Line: f.ahead[0].Line,
			Reason: fmt.Sprintf("none of the first %d objects can be read; the first: %s", n, why)}
	}
	j.ready = true
	for i := range f.ahead {
		j.lay(&f.ahead[i])
	}
	f.nameColumns(slices.Clone(j.names))
	return nil
}

// Next implements Reader.
func (j *objects) Next() (*Record, error) {
	c, err := j.start()
	if err != nil {
		return nil, err
	}
	j.record = Record{Line: j.line}
	if c != '{' {
		return j.stray(c)
	}
	whole, err := j.object()
	if err != nil {
		return nil, err
	}
	j.record.Raw = j.buf
	if !whole {
		j.record.Problem, j.record.Raw = LongRow, cutRune(j.buf[:min(len(j.buf), rawPrefix)])
		return &j.record, nil
	}
	j.pairs = j.pairs[:0]
	if err := j.flatten(); err != nil {
		j.record.Problem = BadSyntax
		if j.syntax == nil {
			j.syntax = err
		}
		return &j.record, nil // the row is handed on with its problem
	}
	j.record.Extra = j.pairs
	j.lay(&j.record)
	return &j.record, nil
}

// start steps to the first character of the next object.
func (j *objects) start() (byte, error) {
	for {
		c, err := j.in.ReadByte()
		if errors.Is(err, io.EOF) {
			if j.list && !j.ended {
				return 0, &Error{Line: j.line, Reason: "the file ends before its list does"}
			}
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		switch {
		case c == '\n':
			j.line++
		case c == ' ', c == '\t', c == '\r', c == ',':
		case j.ended && j.wrapped:
			return 0, &Error{Line: j.line, Reason: "the file goes on after the object with its list"}
		case c == '[' && (!j.began || j.ended): // also one list behind the other
			j.list, j.began, j.ended = true, true, false
		case c == ']' && j.list && !j.ended:
			j.ended = true
			if !j.wrapped {
				continue
			}
			// What else the object holds is passed over.
			j.record = Record{Line: j.line}
			if _, err := j.object(); err != nil {
				return 0, err
			}
		default:
			j.began = true
			return c, nil
		}
	}
}

// stray hands on what is no object: the rest of the line.
func (j *objects) stray(c byte) (*Record, error) {
	j.buf = append(j.buf[:0], c)
	for {
		c, err := j.in.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if c == '\n' {
			j.line++
			break
		}
		if len(j.buf) < rawPrefix {
			j.buf = append(j.buf, c)
		}
	}
	j.record.Raw, j.record.Problem = j.buf, BadSyntax
	return &j.record, nil
}

// object reads on to the end of an object. It is false when the object is over the
// limit, of which it keeps the beginning.
func (j *objects) object() (whole bool, err error) {
	j.buf = append(j.buf[:0], '{')
	depth, quoted, escaped, whole := 1, false, false, true
	for depth > 0 {
		c, err := j.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, &Error{Line: j.record.Line, Reason: "the file ends in the middle of an object"}
		}
		if err != nil {
			return false, err
		}
		if whole = whole && len(j.buf) < j.limits.Row; whole {
			j.buf = append(j.buf, c)
		}
		switch {
		case c == '\n':
			j.line++
			// A line of its own is an object of its own: what its text breaks off ends.
			if quoted {
				quoted, escaped = false, false
			}
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return whole, nil
}

// lay moves the values that have columns from a record's pairs to its fields.
func (j *objects) lay(rec *Record) {
	if !j.ready || rec.Problem != None {
		return
	}
	rec.Fields = append(rec.Fields[:0], make([][]byte, len(j.names))...)
	rest := rec.Extra[:0]
	rec.Blank = true
	for _, p := range rec.Extra {
		rec.Blank = rec.Blank && len(bytes.TrimSpace(p.Value)) == 0
		if i, ok := j.columns[string(p.Key)]; ok {
			rec.Fields[i] = p.Value
		} else if len(p.Value) > 0 {
			rest = append(rest, p)
		}
		if bytes.IndexByte(p.Value, 0) >= 0 {
			rec.Problem = NUL
		}
		if len(p.Value) > j.limits.Cell {
			rec.Problem = LongCell
		}
	}
	rec.Extra = rest
}

// flatten reads the object in j.buf into j.pairs.
func (j *objects) flatten() error {
	if !json.Valid(j.buf) {
		var whole json.RawMessage
		if err := json.Unmarshal(j.buf, &whole); err != nil { // which says what is wrong
			return err
		}
	}
	d := json.NewDecoder(bytes.NewReader(j.buf))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return err
	}
	return j.members(d, "", 1)
}

// members reads the members of an object whose brace is read.
func (j *objects) members(d *json.Decoder, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		whole, err := false, error(nil)
		if prefix == "" {
			whole, err = j.wholeValue(d, name)
		}
		if err == nil && !whole {
			err = j.value(d, prefix+name, depth)
		}
		if err != nil {
			return err
		}
		if len(j.pairs) > j.limits.Columns {
			return fmt.Errorf("more than %d values", j.limits.Columns)
		}
	}
	_, err := d.Token()
	return err
}

func (j *objects) value(d *json.Decoder, name string, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return j.members(d, name+".", depth+1)
		}
		values, err := elements(d, depth+1)
		if err != nil {
			return err
		}
		j.pairs = append(j.pairs, Pair{[]byte(name), []byte(strings.Join(values, "; "))})
	case string:
		j.pairs = append(j.pairs, Pair{[]byte(name), []byte(v)})
	case nil:
		j.pairs = append(j.pairs, Pair{[]byte(name), nil})
	default:
		j.pairs = append(j.pairs, Pair{[]byte(name), fmt.Append(nil, v)})
	}
	return nil
}

// elements reads the elements of an array whose bracket is read, each as a text: of
// an object that says what kind of value it has, the value.
func elements(d *json.Decoder, depth int) ([]string, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	var out []string
	for d.More() {
		var element any
		if err := d.Decode(&element); err != nil {
			return nil, err
		}
		switch v := element.(type) {
		case nil:
		case string:
			out = append(out, v)
		case map[string]any:
			out = append(out, valueOf(v))
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			out = append(out, string(text))
		}
	}
	_, err := d.Token()
	return out, err
}

// valueOf returns the value of an object such as {"type":"work","value":"a@b"}, or
// the object as JSON.
func valueOf(object map[string]any) string {
	for _, key := range []string{"value", "email", "address", "number", "phone", "phoneNumber", "name"} {
		if text, ok := object[key].(string); ok {
			return text
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return ""
	}
	return string(text)
}
