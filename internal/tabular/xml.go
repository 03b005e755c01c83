package tabular

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// markup reads the XML that spreadsheets write, one piece after another: many
// times faster than a general parser, in constant memory, and without entities of
// its own making. What spreadsheets never write, such as a document type, is an
// error.
type markup struct {
	in    *bufio.Reader
	limit int // bytes of a text
	tag   []byte
	text  []byte
	long  bool // the text was over the limit

	name  []byte // of the tag, without its prefix
	attrs []byte
	empty bool // <tag/>
	close bool // </tag>
}

const maxTag = 64 << 10

var errMarkup = &Error{Reason: "the workbook's XML is damaged"}

// next steps to the next tag and keeps the text before it where keep is set. It
// returns io.EOF at the end.
func (m *markup) next(keep bool) error {
	m.text, m.long = m.text[:0], false
	for {
		if err := m.readText(keep); err != nil {
			return err
		}
		tag, err := m.readTag()
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(tag, []byte("?")):
		case bytes.HasPrefix(tag, []byte("!--")):
			for !bytes.HasSuffix(m.tag, []byte("--")) {
				if _, err := m.readMore(); err != nil {
					return err
				}
			}
		case bytes.HasPrefix(tag, []byte("![CDATA[")):
			for !bytes.HasSuffix(m.tag, []byte("]]")) {
				if _, err := m.readMore(); err != nil {
					return err
				}
			}
			if inner := m.tag[8 : len(m.tag)-2]; keep {
				m.add(inner)
			}
		case len(tag) == 0 || tag[0] == '!':
			return errMarkup
		default:
			m.split(tag)
			return nil
		}
	}
}

func (m *markup) add(b []byte) {
	if room := m.limit - len(m.text); len(b) > room {
		m.long, b = true, b[:max(room, 0)]
	}
	m.text = append(m.text, b...)
}

func (m *markup) readText(keep bool) error {
	for {
		part, err := m.in.ReadSlice('<')
		full := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !full {
			return err
		}
		if !full {
			part = part[:len(part)-1]
		}
		if keep {
			m.add(part)
		}
		if !full {
			return nil
		}
	}
}

func (m *markup) readTag() ([]byte, error) {
	m.tag = m.tag[:0]
	return m.readMore()
}

// readMore adds to the tag what there is up to the next '>'.
func (m *markup) readMore() ([]byte, error) {
	if len(m.tag) > 0 {
		m.tag = append(m.tag, '>')
	}
	for {
		part, err := m.in.ReadSlice('>')
		if len(m.tag)+len(part) > maxTag {
			return nil, errMarkup
		}
		m.tag = append(m.tag, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		m.tag = m.tag[:len(m.tag)-1]
		if len(m.tag) == 0 {
			return nil, errMarkup
		}
		// A '>' may stand in an attribute.
		if m.tag[0] != '!' && m.tag[0] != '?' && bytes.Count(m.tag, []byte{'"'})%2 == 1 {
			m.tag = append(m.tag, '>')
			continue
		}
		return m.tag, nil
	}
}

func (m *markup) split(tag []byte) {
	m.close = tag[0] == '/'
	if m.close {
		tag = tag[1:]
	}
	m.empty = len(tag) > 0 && tag[len(tag)-1] == '/'
	if m.empty {
		tag = tag[:len(tag)-1]
	}
	end := bytes.IndexAny(tag, " \t\r\n")
	if end < 0 {
		end = len(tag)
	}
	m.name, m.attrs = tag[:end], tag[end:]
	if i := bytes.IndexByte(m.name, ':'); i >= 0 {
		m.name = m.name[i+1:]
	}
}

func (m *markup) is(name string) bool { return string(m.name) == name }

// attr returns the value of an attribute, nil when there is none. A prefix does
// not count unless name has one.
func (m *markup) attr(name string) []byte {
	rest := m.attrs
	for {
		rest = bytes.TrimLeft(rest, " \t\r\n")
		eq := bytes.IndexByte(rest, '=')
		if eq < 0 {
			return nil
		}
		key := bytes.TrimSpace(rest[:eq])
		rest = bytes.TrimLeft(rest[eq+1:], " \t\r\n")
		if len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
			return nil
		}
		end := bytes.IndexByte(rest[1:], rest[0])
		if end < 0 {
			return nil
		}
		if string(key) == name {
			return rest[1 : 1+end]
		}
		rest = rest[end+2:]
	}
}

// appendUnescaped appends text with its entities resolved.
func appendUnescaped(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '&')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		text = text[i:]
		end := bytes.IndexByte(text, ';')
		r, ok := rune(0), false
		if end > 1 && end < 12 {
			r, ok = entity(string(text[1:end]))
		}
		if !ok {
			dst = append(dst, '&')
			text = text[1:]
			continue
		}
		dst = utf8.AppendRune(dst, r)
		text = text[end+1:]
	}
}

func entity(name string) (rune, bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if name[0] != '#' || len(name) < 2 {
		return 0, false
	}
	base, digits := 10, name[1:]
	if digits[0] == 'x' || digits[0] == 'X' {
		base, digits = 16, digits[1:]
	}
	n, err := strconv.ParseUint(digits, base, 32)
	return rune(n), err == nil && n <= utf8.MaxRune && utf8.ValidRune(rune(n))
}

// appendEscapes appends text in which _x000D_ stands for a control character, as
// spreadsheets write them.
func appendEscapes(dst, text []byte) []byte {
	for {
		i := bytes.Index(text, []byte("_x"))
		if i < 0 || i+7 > len(text) {
			return append(dst, text...)
		}
		n, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 32)
		if err != nil || text[i+6] != '_' || n == 0 || !utf8.ValidRune(rune(n)) {
			dst = append(dst, text[:i+2]...)
			text = text[i+2:]
			continue
		}
		dst = append(dst, text[:i]...)
		dst = utf8.AppendRune(dst, rune(n))
		text = text[i+7:]
	}
}
