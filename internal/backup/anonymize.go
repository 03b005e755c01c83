package backup

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// ErrUnknownColumns says that a schema has columns of which nobody has said whether
// they hold something personal.
var ErrUnknownColumns = errors.New("columns that may hold personal data")

// Anonymizer replaces personal data in rows: names, addresses, numbers and what people
// wrote. The same value always gets the same replacement, in every column, so that
// references stay intact, and two addresses never get the same one. Without the key
// nobody can find out a value by trying candidates.
//
// Ids, times, numbers of rows and the words of the program (a status, a direction)
// stay. JSON is emptied: its keys may be as personal as its values.
type Anonymizer struct {
	key  [sha256.Size]byte
	keep []string
}

// NewAnonymizer returns an Anonymizer for a seed. The columns to keep as they are, each
// as "table.column", are trusted to hold nothing personal.
func NewAnonymizer(seed string, keep []string) *Anonymizer {
	return &Anonymizer{key: sha256.Sum256([]byte("crmctl disguise:" + seed)), keep: keep}
}

// anonymizeRule returns the replacement of a value.
type anonymizeRule func(d *Anonymizer, value []byte) []byte

// knownColumns says what stands in the columns of a CRM.
func knownColumns() map[string]anonymizeRule {
	return map[string]anonymizeRule{
		"contacts.email":        (*Anonymizer).email,
		"contacts.phone":        (*Anonymizer).phone,
		"contacts.name":         (*Anonymizer).name,
		"contacts.company":      (*Anonymizer).company,
		"conversations.channel": (*Anonymizer).label,
		"conversations.status":  (*Anonymizer).label,
		"conversations.subject": (*Anonymizer).words,
		"messages.direction":    (*Anonymizer).label,
		"messages.sender":       (*Anonymizer).guess,
		"messages.content":      (*Anonymizer).words,
	}
}

// rules returns for each table what is done to its columns, nil for a column that
// stays and no entry for a table that stays as a whole. Columns of other tables
// that could hold anything about a person are an error.
func (d *Anonymizer) rules(s *structure) (map[string][]anonymizeRule, error) {
	known := knownColumns()
	out := map[string][]anonymizeRule{}
	var unknown []string
	kept := map[string]bool{}
	for _, t := range s.of("r") {
		if t.Name == versionTable {
			continue
		}
		list := make([]anonymizeRule, len(t.Columns))
		changes := false
		for i, column := range t.Columns {
			name := t.Name + "." + column
			if slices.Contains(d.keep, name) {
				kept[name] = true
				continue
			}
			rule, ok := known[name]
			if !ok {
				rule, ok = ruleForType(t.Name, t.Types[i], t.Classes[i])
			}
			if !ok {
				unknown = append(unknown, name)
			}
			list[i], changes = rule, changes || rule != nil
		}
		if changes {
			out[t.Name] = list
		}
	}
	for _, name := range d.keep {
		if !kept[name] {
			return nil, fmt.Errorf("there is no column %s to keep", name)
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnknownColumns, strings.Join(unknown, ", "))
	}
	return out, nil
}

// ruleForType says what becomes of a column that is not known by name: what cannot
// tell anything about a person stays, text and JSON of a CRM's own tables is
// replaced, and of everything else nobody knows.
func ruleForType(table, typ, class string) (anonymizeRule, bool) {
	own := table == "contacts" || table == "conversations" || table == "messages"
	switch {
	case class == "B", class == "E", typ == "uuid", typ == "smallint", typ == "integer", typ == "bigint",
		strings.HasPrefix(typ, "timestamp"):
		return nil, true
	case own && class == "S":
		return (*Anonymizer).guess, true
	case own && (typ == "jsonb" || typ == "json"):
		return (*Anonymizer).emptied, true
	}
	return nil, false
}

// stream returns bytes that depend on the key, the kind and the value alone.
func (d *Anonymizer) stream(kind string, value []byte) *fakeBytes {
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write([]byte(kind))
	mac.Write([]byte{0})
	mac.Write(value)
	return &fakeBytes{seed: mac.Sum(nil)}
}

// fakeBytes is an endless stream of bytes.
type fakeBytes struct {
	seed  []byte
	block []byte
	count uint64
}

func (f *fakeBytes) next() int {
	if len(f.block) == 0 {
		f.count++
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(slices.Clone(f.seed), f.count))
		f.block = sum[:]
	}
	b := f.block[0]
	f.block = f.block[1:]
	return int(b)
}

// word appends a word that no language has: it begins with q and a vowel, and so is
// never by chance what stood there before.
func (f *fakeBytes) word(to []byte, capital bool) []byte {
	const vowels, consonants = "aeio", "bdfgklmnprstvz"
	first := byte('q')
	if capital {
		first = 'Q'
	}
	to = append(to, first, vowels[f.next()%len(vowels)])
	for range 2 + f.next()%2 {
		to = append(to, consonants[f.next()%len(consonants)], vowels[f.next()%len(vowels)])
	}
	return to
}

func normal(value []byte) []byte { return bytes.ToLower(bytes.TrimSpace(value)) }

// email keeps unique addresses unique: 64 bits of it depend on the address.
func (d *Anonymizer) email(value []byte) []byte {
	f := d.stream("email", normal(value))
	out := append(f.word(nil, false), '.')
	out = append(f.word(out, false), '.')
	for range 8 {
		out = fmt.Appendf(out, "%02x", f.next())
	}
	return append(out, "@example.com"...)
}

// phone gives a number in a country code that nobody has.
func (d *Anonymizer) phone(value []byte) []byte {
	digits := bytes.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, value)
	f := d.stream("phone", digits)
	out := []byte("+999")
	for range 10 {
		out = append(out, byte('0'+f.next()%10))
	}
	return out
}

func (d *Anonymizer) name(value []byte) []byte {
	f := d.stream("name", normal(value))
	return f.word(append(f.word(nil, true), ' '), true)
}

func (d *Anonymizer) company(value []byte) []byte {
	f := d.stream("company", normal(value))
	return append(f.word(append(f.word(nil, true), ' '), true), " Ltd"...)
}

// words gives a text of about as many words, up to a page.
func (d *Anonymizer) words(value []byte) []byte {
	const most = 400
	f := d.stream("words", value)
	var out []byte
	for i := range min(len(bytes.Fields(value)), most) {
		if i > 0 {
			out = append(out, ' ')
		}
		out = f.word(out, i == 0)
	}
	return append(out, '.')
}

// label keeps what is a word of the program's own, like a status.
func (d *Anonymizer) label(value []byte) []byte {
	const longest = 20
	if len(value) <= longest && bytes.IndexFunc(value, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '_' && r != '-'
	}) < 0 {
		return value
	}
	return d.stream("label", value).word(nil, false)
}

// guess goes by how a value looks.
func (d *Anonymizer) guess(value []byte) []byte {
	const fewDigits, manyWords = 6, 5
	digits := 0
	number := bytes.IndexFunc(value, func(r rune) bool {
		if unicode.IsDigit(r) {
			digits++
		}
		return !unicode.IsDigit(r) && !strings.ContainsRune(" +-/().", r)
	}) < 0
	switch {
	case bytes.ContainsRune(value, '@') && !bytes.ContainsAny(bytes.TrimSpace(value), " \t\n"):
		return d.email(value)
	case number && digits >= fewDigits:
		return d.phone(value)
	case len(bytes.Fields(value)) > manyWords:
		return d.words(value)
	}
	return d.name(value)
}

func (d *Anonymizer) emptied(value []byte) []byte {
	switch trimmed := bytes.TrimSpace(value); {
	case bytes.HasPrefix(trimmed, []byte("{")):
		return []byte("{}")
	case bytes.HasPrefix(trimmed, []byte("[")):
		return []byte("[]")
	}
	return []byte("null")
}

// anonymizingWriter replaces the values in COPY text and passes it on.
type anonymizingWriter struct {
	out   io.Writer
	d     *Anonymizer
	rules []anonymizeRule
	line  []byte // begun
	made  []byte
	value []byte
}

// Write implements io.Writer.
func (w *anonymizingWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			w.line = append(w.line, rest...)
			break
		}
		line := rest[:end]
		if len(w.line) > 0 {
			w.line = append(w.line, line...)
			line = w.line
		}
		if err := w.row(line); err != nil {
			return 0, err
		}
		w.line, rest = w.line[:0], rest[end+1:]
	}
	return len(p), nil
}

// row changes one row. A value that is null or blank stays.
func (w *anonymizingWriter) row(line []byte) error {
	w.made = w.made[:0]
	for i, rule := range w.rules {
		field, rest, more := bytes.Cut(line, []byte{'\t'})
		if more != (i < len(w.rules)-1) {
			return fmt.Errorf("a row has not the %d columns it should have", len(w.rules))
		}
		line = rest
		if i > 0 {
			w.made = append(w.made, '\t')
		}
		if rule == nil || string(field) == `\N` {
			w.made = append(w.made, field...)
			continue
		}
		w.value = unescape(w.value[:0], field)
		if len(bytes.TrimSpace(w.value)) == 0 {
			w.made = append(w.made, field...)
			continue
		}
		w.made = escape(w.made, rule(w.d, w.value))
	}
	w.made = append(w.made, '\n')
	_, err := w.out.Write(w.made)
	return err
}

// unescape appends the value of a field of COPY text.
func unescape(to, field []byte) []byte {
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '\\' && i+1 < len(field) {
			i++
			c = field[i]
			if at := strings.IndexByte("bfnrtv", c); at >= 0 {
				c = "\b\f\n\r\t\v"[at]
			}
		}
		to = append(to, c)
	}
	return to
}

// escape appends a value as a field of COPY text.
func escape(to, value []byte) []byte {
	for _, c := range value {
		if at := strings.IndexByte("\b\f\n\r\t\v\\", c); at >= 0 {
			to = append(to, '\\', `bfnrtv\`[at])
			continue
		}
		to = append(to, c)
	}
	return to
}
