package tabular

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
)

// propertySize is about what a property takes beside its value.
const propertySize = 128

// isVCard reports whether a file begins as a vCard.
func isVCard(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) >= 11 && bytes.EqualFold(head[:11], []byte("BEGIN:VCARD"))
}

// property is a line of a card, unfolded and decoded.
type property struct {
	group, name string
	types       []string
	value       string
	primary     bool
	derived     bool // it was made of others
}

// cards reads vCards 2.1 to 4.0.
type cards struct {
	in       *bufio.Reader
	limits   Limits
	fallback encoding.Encoding // of what is no UTF-8 and names no charset; nil makes it a problem
	line     int
	started  int // lines begun, for the number of a card
	peeked   []byte
	hasPeek  bool
	ended    bool
	buf      []byte
	record   Record
	labels   map[string]string // by group, as item1.X-ABLabel
	props    []property
	size     int
	bad      Problem
	passing  bool   // the property before says nothing that is kept
	begun    bool   // the BEGIN of the next card is read
	own      string // begins properties of the caller's, "" where there are none
}

// openVCard reads a file of cards. r is decoded where it was UTF-16 or the like.
func (f *File) openVCard(r io.Reader, o Options) error {
	f.Format.Kind, f.Format.Delimiter = VCard, ','
	in := bufio.NewReaderSize(r, 256<<10)
	c := &cards{in: in, limits: o.Limits, labels: map[string]string{}}
	head, err := in.Peek(256 << 10)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return err
	}
	if o.Exact.ownCards(head) {
		c.own, c.limits = o.Exact.Card, o.Exact.Limits.withDefaults()
		c.limits.Cell = c.limits.Row // a whole contact is one value
	}
	if f.Format.Encoding == "" {
		name, evidence := "", "it was asked for"
		if name, err = encodingName(o.Encoding, ""); err != nil {
			return err
		}
		if name == "" {
			if name, evidence, err = guessEncoding(withPrintable(head)); err != nil {
				return err
			}
		}
		f.Format.Encoding, f.Format.Evidence = name, evidence
		if name != utf8Name {
			if c.fallback, err = encodingOf(name); err != nil {
				return err
			}
		}
	}
	f.rows = c
	f.nameColumns(cardHeader())
	return nil
}

// withPrintable returns what the encoding is judged by: the head of a file, and what
// its QUOTED-PRINTABLE values of no named charset say beyond ASCII.
func withPrintable(head []byte) []byte {
	if !bytes.Contains(bytes.ToUpper(head), []byte("QUOTED-PRINTABLE")) {
		return head
	}
	c := &cards{in: bufio.NewReader(bytes.NewReader(head)), limits: Limits{}.withDefaults()}
	out := bytes.Clone(head)
	for {
		line, err := c.logical()
		if err != nil {
			return out
		}
		name, value, ok := cutProperty(line)
		if !ok || binary(name) {
			continue
		}
		p, charset, coding := parseHead(string(name))
		if charset != "" || coding != "QUOTED-PRINTABLE" || passedOver(p.name) {
			continue
		}
		decoded, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(value))) // as far as it goes
		out = append(append(out, decoded...), '\n')
	}
}

// Next implements Reader.
func (c *cards) Next() (*Record, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	c.record = Record{Line: c.started}
	c.props, c.size, c.bad, c.passing = c.props[:0], 0, None, false
	clear(c.labels)
	for depth := 1; ; {
		line, err := c.logical()
		if errors.Is(err, io.EOF) {
			return nil, &Error{Line: c.record.Line, Reason: "the file ends in the middle of a card"}
		}
		if err != nil {
			return nil, err
		}
		switch upper := strings.ToUpper(strings.TrimSpace(string(line[:min(len(line), 16)]))); {
		case upper == "END:VCARD":
			if depth--; depth == 0 {
				return c.finish(), nil
			}
		case upper == "BEGIN:VCARD" && len(c.props) > 0 && c.props[len(c.props)-1].name == "AGENT":
			depth++
		case upper == "BEGIN:VCARD":
			// The card before has no end.
			c.begun, c.started = true, c.line
			c.bad = BadSyntax
			return c.finish(), nil
		case depth == 1:
			c.take(line)
		}
	}
}

// begin steps behind the next BEGIN.
func (c *cards) begin() error {
	for !c.begun {
		line, err := c.physical()
		if err != nil {
			return err
		}
		if bytes.EqualFold(bytes.TrimSpace(line), []byte("BEGIN:VCARD")) {
			c.begun, c.started = true, c.line
		}
	}
	c.begun = false
	return nil
}

// physical returns the next line without its end. What of it is over the limit of
// a cell is passed over.
func (c *cards) physical() ([]byte, error) {
	if c.hasPeek {
		c.hasPeek = false
		return c.peeked, nil
	}
	if c.ended {
		return nil, io.EOF
	}
	c.buf = c.buf[:0]
	c.line++
	for {
		part, err := c.in.ReadSlice('\n')
		if room := c.limits.Cell + 1 - len(c.buf); room > 0 {
			c.buf = append(c.buf, part[:min(len(part), room)]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			c.ended = true
			if len(c.buf) == 0 {
				return nil, io.EOF
			}
		case err != nil:
			return nil, err
		}
		return bytes.TrimRight(c.buf, "\r\n"), nil
	}
}

// logical returns the next line with the lines it is folded into.
func (c *cards) logical() ([]byte, error) {
	line, err := c.physical()
	if err != nil {
		return nil, err
	}
	head, _, _ := bytes.Cut(line, []byte{':'})
	quoted := bytes.Contains(bytes.ToUpper(head), []byte("QUOTED-PRINTABLE"))
	long := binary(head)
	out := bytes.Clone(line)
	for {
		soft := quoted && len(out) > 0 && out[len(out)-1] == '='
		next, err := c.physical()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case soft:
			out = append(out[:len(out)-1], next...)
		case len(next) > 0 && (next[0] == ' ' || next[0] == '\t'):
			if !long && len(out) <= c.limits.Cell {
				out = append(out, next[1:]...)
			}
		case long && len(next) > 0 && bytes.IndexByte(next, ':') < 0:
			// BASE64 of vCard 2.1 goes on to an empty line
		default:
			c.peeked, c.hasPeek = bytes.Clone(next), true
			return out, nil
		}
		if len(out) > 2*c.limits.Cell {
			out = out[:2*c.limits.Cell]
		}
	}
}

// binary reports whether a property is a picture, a sound or a key.
func binary(head []byte) bool {
	upper := strings.ToUpper(string(head))
	name, params, _ := strings.Cut(upper, ";")
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	switch name {
	case "PHOTO", "LOGO", "SOUND", "KEY":
		return true
	}
	return strings.Contains(params, "BASE64") || strings.Contains(params, "ENCODING=B;") ||
		strings.HasSuffix(params, "ENCODING=B")
}

// take adds a line to the card.
func (c *cards) take(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 || c.keepOwn(line) {
		return
	}
	head, value, ok := cutProperty(line)
	if !ok {
		// What has no name goes on with the line before.
		if n := len(c.props); n > 0 && !c.passing && c.size+len(line) <= c.limits.Row {
			c.props[n-1].value += "\n" + c.toUTF8(line, "")
			c.size += len(c.props[n-1].value) + propertySize
		}
		return
	}
	if c.passing = binary(head); c.passing {
		return
	}
	p, charset, coding := parseHead(string(head))
	if c.passing = passedOver(p.name) && p.name != "AGENT" || p.derived; c.passing {
		return
	}
	switch coding {
	case "QUOTED-PRINTABLE":
		if decoded, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(value))); err == nil || len(decoded) > 0 {
			value = decoded
		}
	case "B", "BASE64":
		if decoded, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(value))); err == nil {
			value = decoded
		}
	}
	switch {
	case len(value) > c.limits.Cell:
		c.bad = LongCell
		return
	case c.size+len(value) > c.limits.Row:
		c.bad = LongRow
		return
	}
	c.size += len(value) + propertySize
	p.value = c.toUTF8(value, charset)
	if strings.IndexByte(p.value, 0) >= 0 {
		c.bad = NUL
	}
	if p.name == "X-ABLABEL" {
		c.labels[p.group] = strings.TrimSuffix(strings.TrimPrefix(p.value, "_$!<"), ">!$_")
		return
	}
	c.props = append(c.props, p)
}

// toUTF8 decodes a value.
func (c *cards) toUTF8(value []byte, charset string) string {
	enc := c.fallback
	if charset != "" {
		if name, err := encodingName(charset, ""); err == nil && name == utf8Name {
			enc = nil
		} else if named, err := encodingOf(name); err == nil {
			enc = named
		}
	}
	if enc == nil || charset == "" && utf8.Valid(value) {
		if !utf8.Valid(value) {
			c.bad = NotUTF8
		}
		return string(value)
	}
	decoded, err := enc.NewDecoder().Bytes(value)
	if err != nil || bytes.Contains(decoded, []byte("\uFFFD")) {
		c.bad = NotUTF8
	}
	return string(decoded)
}

// cutProperty cuts a line at the colon before its value.
func cutProperty(line []byte) (head, value []byte, ok bool) {
	quoted := false
	for i, b := range line {
		switch {
		case b == '"':
			quoted = !quoted
		case b == ':' && !quoted:
			return line[:i], line[i+1:], i > 0
		case i == 0 && !isASCIILetter(b):
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// parseHead reads the name of a property and its parameters: TEL;TYPE=work,voice,
// and as vCard 2.1 has it, TEL;WORK;VOICE.
func parseHead(head string) (p property, charset, coding string) {
	parts := strings.Split(head, ";")
	p.name = strings.ToUpper(strings.TrimSpace(parts[0]))
	if group, name, ok := strings.Cut(p.name, "."); ok {
		p.group, p.name = group, name
	}
	for _, param := range parts[1:] {
		name, value, named := strings.Cut(param, "=")
		name = strings.ToUpper(strings.TrimSpace(name))
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case !named && (name == "QUOTED-PRINTABLE" || name == "BASE64"):
			coding = name
		case !named:
			p.addType(name)
		case name == "ENCODING":
			coding = strings.ToUpper(value)
		case name == "CHARSET":
			charset = value
		case name == "TYPE":
			for t := range strings.SplitSeq(value, ",") {
				p.addType(strings.ToUpper(t))
			}
		case name == "DERIVED": // RFC 9554
			p.derived = strings.EqualFold(value, "true")
		case name == "PREF":
			p.primary = value == "1"
		}
	}
	return p, charset, coding
}

func (p *property) addType(t string) {
	switch t {
	case "PREF":
		p.primary = true
	case "", "INTERNET", "VOICE", "X400", "POSTAL", "PARCEL", "DOM", "INTL":
	default:
		if t = strings.ToLower(t); !slices.Contains(p.types, t) {
			p.types = append(p.types, t)
		}
	}
}
