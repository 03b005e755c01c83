package tabular

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// Exact is how a caller knows a file that it has written itself, whose values are to come
// back as they were: a null stays apart from an empty text.
type Exact struct {
	// Is reports whether a header is that of such a file.
	Is     func(header []string) bool
	Limits Limits // of such a file
	// JSON are the columns whose values are JSON, as which they come back.
	JSON []string
	// Card begins the names of the properties of a vCard that are the caller's, and Product
	// the line by which such a file is known.
	Card, Product string
}

// ownHeader reports whether the first line of delimited text is a header of the caller's.
func (e *Exact) ownHeader(sample []byte) bool {
	if e == nil {
		return false
	}
	line, _, _ := bytes.Cut(sample, []byte{'\n'})
	return e.Is(strings.Split(strings.TrimSuffix(string(line), "\r"), ","))
}

// ownCards reports whether a file of cards is the caller's.
func (e *Exact) ownCards(head []byte) bool {
	return e != nil && bytes.Contains(head[:min(len(head), 512)], []byte("\n"+e.Product))
}

// keepsJSON has the values of columns come as they stand, where the first object has the
// names of a file of the caller's.
func (j *objects) keepsJSON(e *Exact) error {
	head, _ := j.in.Peek(16)
	if e == nil || !bytes.HasPrefix(head, []byte(`{"id":"`)) && !bytes.HasPrefix(head, []byte(`{"tenant":"`)) {
		return nil
	}
	usual := j.limits
	j.limits = e.Limits.withDefaults() // to read the first
	names, err := j.firstNames()
	if err != nil || !e.Is(names) {
		j.limits = usual
		return nil //nolint:nilerr // what is no JSON is told row by row
	}
	j.whole = e.JSON
	return nil
}

// firstNames returns the names of the first line, which is left to be read.
func (j *objects) firstNames() ([]string, error) {
	var line []byte
	for {
		part, err := j.in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil || len(line) > j.limits.Row || !isFull(err) {
			break
		}
	}
	j.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(line), j.in), 64<<10)
	d := json.NewDecoder(bytes.NewReader(line))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var names []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, _ := name.(string)
		names = append(names, text)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func isFull(err error) bool { return err == bufio.ErrBufferFull } //nolint:errorlint // it is never wrapped

// wholeValue reads a value as it stands, where its column wants that.
func (j *objects) wholeValue(d *json.Decoder, name string) (bool, error) {
	if !slices.Contains(j.whole, name) {
		return false, nil
	}
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return true, err
	}
	if string(value) == "null" {
		value = nil
	}
	j.pairs = append(j.pairs, Pair{[]byte(name), value})
	return true, nil
}

// keepOwn keeps a line of a card that is the caller's, and of the others their text.
func (c *cards) keepOwn(line []byte) bool {
	if c.own == "" {
		return false
	}
	if !bytes.HasPrefix(line, []byte(c.own)) {
		c.record.Lines = append(append(c.record.Lines, line...), '\n')
		return false
	}
	if head, value, ok := cutProperty(line); ok {
		c.record.Own = append(c.record.Own, Pair{bytes.Clone(head), []byte(plain(string(value)))})
	}
	return true
}
