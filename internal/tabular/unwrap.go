package tabular

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// unwrap steps to the array of objects in an object that holds little else, as
// {"total": 2, "records": [{...}, {...}]}. An object that others follow is a row with a
// list in it, and so is one that has more names that are known than its list.
func (j *objects) unwrap(known func(string) bool) error {
	head, err := j.in.Peek(32 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	at := bytes.IndexFunc(head, func(r rune) bool { return !strings.ContainsRune(" \t\r\n", r) })
	if at < 0 || head[at] != '{' {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(head[at:]))
	if _, err := d.Token(); err != nil {
		return nil //nolint:nilerr // what is no JSON is told row by row
	}
	names := 0
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		if text, ok := name.(string); ok && known != nil && known(text) {
			names++
		}
		value, err := d.Token()
		if err != nil || value == json.Delim('{') {
			return nil //nolint:nilerr // as above
		}
		if value != json.Delim('[') {
			continue
		}
		from := at + int(d.InputOffset())
		rest := bytes.TrimLeft(head[from:], " \t\r\n")
		if len(rest) == 0 || rest[0] != '{' || goesOn(d, head[at:]) || knownNames(rest, known) < names {
			return nil
		}
		j.line += bytes.Count(head[:from], []byte{'\n'})
		j.list, j.began, j.wrapped = true, true, true
		_, err = j.in.Discard(from)
		return err
	}
	return nil
}

// goesOn reports whether something stands in head behind the object in whose list d is.
func goesOn(d *json.Decoder, head []byte) bool {
	for depth := 2; depth > 0; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return len(bytes.TrimLeft(head[d.InputOffset():], " \t\r\n")) > 0
}

// knownNames returns how many names of the object that text begins with are known.
func knownNames(text []byte, known func(string) bool) (n int) {
	var object map[string]json.RawMessage
	if known == nil || json.NewDecoder(bytes.NewReader(text)).Decode(&object) != nil {
		return 0
	}
	for name := range object {
		if known(name) {
			n++
		}
	}
	return n
}
