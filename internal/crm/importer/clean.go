package importer

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/encoding/charmap"
)

// Change names a kind of cleaning that values were given.
type Change string

// The kinds of cleaning, in the order of a summary.
const (
	ChangeUnwrapped Change = "unwrapped"        // "Ann <a@b.example>", mailto:, a trailing dot: only the address is kept
	ChangeSeveral   Change = "several_values"   // several addresses or numbers in a cell: the first counts, all are kept
	ChangeInvisible Change = "invisible"        // characters that cannot be seen were taken out
	ChangeIDN       Change = "idn"              // an internationalized domain brought to its usual form
	ChangeFormula   Change = "formula"          // ="0123" became 0123
	ChangePhone     Change = "phone_e164"       // a number brought to +491711234567; the raw one is in the metadata
	ChangeNoPhone   Change = "not_a_phone"      // 4.91E+11, "N/A": left in the metadata
	ChangeName      Change = "name_joined"      // the name was put together of its parts
	ChangeHalfName  Change = "half_name"        // a part of the name is missing: it replaces no whole one
	ChangeMojibake  Change = "mojibake_noticed" // text that was decoded wrongly before ("MÃ¼ller"); stored as it came
	ChangeTime      Change = "preset_time"      // a time in a form that only a known program writes
)

// changeKind indexes the counts.
type changeKind int

const (
	changeUnwrapped changeKind = iota
	changeSeveral
	changeInvisible
	changeIDN
	changeFormula
	changePhone
	changeNoPhone
	changeName
	changeHalfName
	changeMojibake
	changeTime
	changeKinds
)

// changes counts what cleaning did, a row once for each kind.
type changes struct {
	count [changeKinds]int64
	row   uint32 // kinds met in the current row
}

func (c *changes) note(k changeKind) { c.row |= 1 << k }

// settle counts the current row's changes when the row is kept.
func (c *changes) settle(kept bool) {
	if kept && c.row != 0 {
		for k := range changeKinds {
			if c.row&(1<<k) != 0 {
				c.count[k]++
			}
		}
	}
	c.row = 0
}

// ChangeCount is how many rows were cleaned in one way.
type ChangeCount struct {
	Change Change
	Rows   int64
}

// changeNames returns the names of the kinds.
func changeNames() [changeKinds]Change {
	return [changeKinds]Change{
		ChangeUnwrapped, ChangeSeveral, ChangeInvisible, ChangeIDN, ChangeFormula, ChangePhone, ChangeNoPhone, ChangeName,
		ChangeHalfName,
		ChangeMojibake, ChangeTime,
	}
}

// addAll adds what was counted before.
func (c *changes) addAll(before map[Change]int64) {
	for k, name := range changeNames() {
		c.count[k] += before[name]
	}
}

// list returns the kinds that occurred.
func (c *changes) list() []ChangeCount {
	names := changeNames()
	var out []ChangeCount
	for k, n := range c.count {
		if n > 0 {
			out = append(out, ChangeCount{names[k], n})
		}
	}
	return out
}

// invisible reports whether r cannot be seen and says nothing in an address: zero
// width spaces and joiners, marks of direction, soft hyphens, byte order marks,
// variation selectors.
func invisible(r rune) bool {
	return unicode.Is(unicode.Cf, r) || r >= 0xFE00 && r <= 0xFE0F || r == 0x034F || r == 0x115F ||
		r == 0x1160 || r == 0x3164
}

// dropInvisible appends b without what cannot be seen, and with the full-width
// forms of ASCII as ASCII where full is set. It notes what it did.
func dropInvisible(dst, b []byte, full bool, c *changes) []byte {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			dst = append(dst, b[i])
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case invisible(r):
			c.note(changeInvisible)
		case full && r >= 0xFF01 && r <= 0xFF5E:
			dst = append(dst, byte(r-0xFEE0))
			c.note(changeInvisible)
		default:
			dst = append(dst, b[i:i+size]...)
		}
		i += size
	}
	return dst
}

// cleanEmail appends the normal form of an address as people write it. It returns
// also the name that stands before it, as in "Ann <ann@example.com>".
func cleanEmail(dst, raw []byte, c *changes) (out, name []byte, ok bool) {
	addr := trimAll(raw)
	if out, ok := appendPlainEmail(dst, addr); ok && len(addr) <= maxEmail {
		if len(addr) != len(raw) && hasInvisible(raw) {
			c.note(changeInvisible)
		}
		if bytes.Contains(out[len(dst):], []byte("xn--")) {
			out = domainForm(out, len(dst), c)
		}
		return out, nil, true
	}
	if len(addr) > 4*maxEmail {
		return dst, nil, false
	}
	text := addr
	if !ascii(text) {
		text = trimAll(dropInvisible(nil, text, true, c))
	}
	text, name = unwrapAddress(text, c)
	if out, ok := appendEmail(dst, text); ok {
		return domainForm(out, len(dst), c), name, true
	}
	return dst, nil, false
}

func hasInvisible(b []byte) bool {
	return !ascii(b) && bytes.ContainsFunc(b, invisible)
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unwrapAddress takes off what people and programs put around an address.
func unwrapAddress(text []byte, c *changes) (addr, name []byte) {
	addr = text
	if open := bytes.LastIndexByte(addr, '<'); open >= 0 && addr[len(addr)-1] == '>' {
		name = bytes.Trim(addr[:open], " \t\"'")
		addr = bytes.TrimSpace(addr[open+1 : len(addr)-1])
	} else if at := bytes.IndexByte(addr, '('); at > 0 && addr[len(addr)-1] == ')' && bytes.IndexByte(addr[:at], '@') > 0 {
		name = bytes.TrimSpace(addr[at+1 : len(addr)-1]) // "ann@example.com (Ann)"
		addr = bytes.TrimSpace(addr[:at])
	}
	if len(addr) > 7 && bytes.EqualFold(addr[:7], []byte("mailto:")) {
		addr = addr[7:]
		if q := bytes.IndexByte(addr, '?'); q > 0 {
			addr = addr[:q]
		}
	}
	if n := len(addr); n > 2 && (addr[0] == '\'' && addr[n-1] == '\'' || addr[0] == '"' && addr[n-1] == '"') {
		addr = addr[1 : n-1]
	}
	addr = bytes.TrimRight(addr, ".,;: \t")
	addr = bytes.TrimLeft(addr, ",;: \t")
	if len(addr) != len(text) {
		c.note(changeUnwrapped)
	}
	if bytes.IndexByte(name, '@') >= 0 {
		name = nil // "a@b.example <a@b.example>"
	}
	return addr, name
}

// domainForm brings the domain of the address in b[start:] to the form that is
// displayed: xn--bcher-kva.example becomes bücher.example, so that both spellings
// are one contact.
func domainForm(b []byte, start int, c *changes) []byte {
	at := start + bytes.LastIndexByte(b[start:], '@')
	domain := string(b[at+1:])
	if ascii(b[at+1:]) && !strings.Contains(domain, "xn--") {
		return b
	}
	toASCII, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return b
	}
	shown, err := idna.Lookup.ToUnicode(toASCII)
	if err != nil || shown == domain || len(shown)+at-start+1 > maxEmail {
		return b
	}
	c.note(changeIDN)
	return append(b[:at+1], shown...)
}

// splitAddresses splits a cell of several addresses: by " ::: " as Google does,
// by semicolons, line ends, bars, and by commas or blanks where both sides hold
// an address. A cell of one address is one part.
func splitAddresses(dst [][]byte, cell []byte) [][]byte {
	if bytes.Count(cell, []byte{'@'})+bytes.Count(cell, []byte("＠")) < 2 {
		return append(dst, bytes.Trim(cell, ";, \t\r\n"))
	}
	start, quoted, angle := 0, false, false
	part := func(end int) {
		if p := bytes.Trim(cell[start:end], " \t\r\n,;|"); len(p) > 0 && !bytes.Equal(p, []byte(":::")) {
			dst = append(dst, p)
		}
	}
	for i := 0; i < len(cell); i++ {
		switch ch := cell[i]; {
		case ch == '"':
			quoted = !quoted
		case ch == '<':
			angle = true
		case ch == '>':
			angle = false
		case quoted || angle:
		case bytes.HasPrefix(cell[i:], []byte(googleSeparator)):
			part(i)
			i += len(googleSeparator) - 1
			start = i + 1
		case ch == ';', ch == '\n', ch == '|', ch == '\r':
			part(i)
			start = i + 1
		case (ch == ',' || ch == ' ' || ch == '/') && bytes.IndexByte(cell[start:i], '@') >= 0 &&
			bytes.IndexByte(cell[i:], '@') >= 0 &&
			!openName(cell[i+1:]):
			part(i)
			start = i + 1
		}
	}
	part(len(cell))
	return dst
}

// openName reports whether rest goes on with the address in angle brackets that
// belongs to the text before it, as in "ann@example.com <ann@example.com>".
func openName(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " ")
	return len(rest) > 0 && rest[0] == '<'
}

// unwrapFormula returns the text of ="0123", which spreadsheets write to keep a
// zero.
func unwrapFormula(cell []byte) ([]byte, bool) {
	if n := len(cell); n >= 3 && cell[0] == '=' && cell[1] == '"' && cell[n-1] == '"' {
		if inner := cell[2 : n-1]; bytes.IndexByte(inner, '"') < 0 {
			return inner, true
		}
	}
	return cell, false
}

// mojibake reports whether text was UTF-8 that somebody read as Windows-1252:
// "MÃ¼ller". It is asked only of text that holds one of the letters this begins
// with.
func mojibake(text []byte) bool {
	if !bytes.Contains(text, []byte("Ã")) && !bytes.Contains(text, []byte("Â")) && !bytes.Contains(text, []byte("â")) &&
		!bytes.Contains(text, []byte("Ð")) && !bytes.Contains(text, []byte("Ñ")) {
		return false
	}
	found := false
	var back [utf8.UTFMax]byte
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		lead, ok := windows1252Byte(r)
		need := 0
		switch {
		case !ok || lead < 0xC2:
		case lead < 0xE0:
			need = 1
		case lead < 0xF0:
			need = 2
		case lead < 0xF5:
			need = 3
		}
		i += size
		if need == 0 {
			continue
		}
		back[0] = lead
		j := i
		n := 1
		for ; n <= need && j < len(text); n++ {
			r, size := utf8.DecodeRune(text[j:])
			b, ok := windows1252Byte(r)
			if !ok || b < 0x80 || b > 0xBF {
				break
			}
			back[n] = b
			j += size
		}
		if n == need+1 && utf8.Valid(back[:n]) {
			found = true
			i = j
		}
	}
	return found
}

// windows1252Byte returns the byte that text decoded as Windows-1252 had for r.
func windows1252Byte(r rune) (byte, bool) {
	if r <= 0xFF { // programs leave what Windows-1252 does not have as it is
		return byte(r), true
	}
	return charmap.Windows1252.EncodeRune(r)
}
