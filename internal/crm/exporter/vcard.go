package exporter

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// cardEncoder writes vCard 4.0 (RFC 6350). Beside what other programs understand a card has
// the contact as it is, and a sum that tells whether somebody has changed the card.
type cardEncoder struct {
	w      *bufio.Writer
	people people
	exact  bool // the columns are those of contactfile
	names  []string
	lines  []byte // of a card, unfolded
	card   []byte // folded
}

func (e *cardEncoder) begin(columns []Column) error {
	if e.people = newPeople(columns); !e.people.known() {
		return errNobody
	}
	for _, c := range columns {
		e.names = append(e.names, c.Name)
	}
	e.exact = contactfile.IsOwn(e.names)
	return nil
}

func (e *cardEncoder) row(texts [][]byte) error {
	e.lines, e.card = e.lines[:0], append(e.card[:0], "BEGIN:VCARD\r\n"...)
	e.line("VERSION:4.0")
	e.line(contactfile.CardProduct)
	if id := cell(texts, e.people.id); len(id) == len("00000000-0000-0000-0000-000000000000") {
		e.line("UID:urn:uuid:" + id)
	}
	p := e.people.of(texts)
	derived := ""
	if p.derived {
		derived = ";DERIVED=TRUE"
	}
	e.line("FN" + derived + ":" + cardText(p.name))
	if p.first != "" || p.last != "" {
		e.line("N:" + cardText(p.last) + ";" + cardText(p.first) + ";;;")
	}
	e.several("EMAIL", p.emails)
	e.several("TEL", p.phones)
	if p.company != "" {
		e.line("ORG:" + cardText(p.company))
	}
	if tenant := cell(texts, e.people.tenant); tenant != "" {
		e.line("CATEGORIES:" + cardText(tenant))
	}
	if at, err := time.Parse(time.RFC3339Nano, cell(texts, e.people.updated)); err == nil {
		e.line("REV:" + at.UTC().Format("20060102T150405Z"))
	}
	sum := contactfile.SumCard(e.lines)
	if e.exact {
		e.line(contactfile.CardContact + ":" + cardText(string(e.contact(texts))))
		e.line(contactfile.CardSum + ":" + sum)
	}
	_, err := e.w.Write(append(e.card, "END:VCARD\r\n"...))
	return err
}

// contact returns a contactfile.Row as JSON.
func (e *cardEncoder) contact(texts [][]byte) []byte {
	var out []byte
	for _, name := range contactfile.Columns() {
		i := slices.Index(e.names, name)
		if i < 0 || name == contactfile.UpdatedAt {
			continue
		}
		out = append(out, ',')
		out = append(contactfile.AppendString(out, []byte(name)), ':')
		switch {
		case texts[i] == nil:
			out = append(out, "null"...)
		case name == contactfile.Metadata:
			out = append(out, bytes.ReplaceAll(texts[i], []byte{0x7F}, []byte(`\u007f`))...)
		default:
			out = contactfile.AppendString(out, texts[i])
		}
	}
	out[0] = '{'
	return append(out, '}')
}

// several writes addresses or numbers, the first as the preferred one.
func (e *cardEncoder) several(name string, values []labelled) {
	for i, v := range values {
		head := name
		if i == 0 {
			head += ";PREF=1"
		}
		if kind := strings.ToLower(v.Type); isToken(kind) {
			if kind == "mobile" {
				kind = "cell"
			}
			head += ";TYPE=" + kind
		}
		e.line(head + ":" + cardText(v.Value))
	}
}

// isToken reports whether a kind may stand as it is.
func isToken(kind string) bool {
	return kind != "" && strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// cardText returns a value as a card has it. A card has no control characters: a line may
// end in it, and that is all.
func cardText(value string) string {
	if strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F || strings.ContainsRune(`\,;`, r) }) < 0 {
		return value
	}
	value = cardEscapes().Replace(value)
	if strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F }) < 0 {
		return value
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7F {
			return -1
		}
		return r
	}, value)
}

// cardEscapes writes what has a meaning in a card.
var cardEscapes = sync.OnceValue(func() *strings.Replacer { //nolint:gochecknoglobals // never changed
	return strings.NewReplacer("\r\n", `\n`, "\r", `\n`, "\n", `\n`, `\`, `\\`, ",", `\,`, ";", `\;`)
})

// line adds a line, in pieces of at most 75 bytes.
func (e *cardEncoder) line(text string) {
	const most = 75
	e.lines = append(append(e.lines, text...), '\n')
	room := most
	for len(text) > room {
		cut := room
		for cut > 1 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		e.card = append(append(e.card, text[:cut]...), "\r\n "...)
		text, room = text[cut:], most-1
	}
	e.card = append(append(e.card, text...), "\r\n"...)
}

func (e *cardEncoder) end() error { return nil }
