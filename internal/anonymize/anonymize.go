// Package anonymize makes up values in place of personal ones: addresses, numbers, names
// and texts.
//
// The same value always gets the same replacement, wherever it stands, so that what refers
// to it still does, and two addresses never get the same one. Without the key nobody can
// find out a value by trying candidates. It imports nothing of the project.
package anonymize

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Values gives replacements. It may be used by several goroutines.
type Values struct{ key [sha256.Size]byte }

// New returns the Values of a seed.
func New(seed string) *Values {
	return &Values{key: sha256.Sum256([]byte("crmctl disguise:" + seed))}
}

// stream returns bytes that depend on the key, the kind and the value alone.
func (d *Values) stream(kind string, value []byte) *fakeBytes {
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

// Email keeps unique addresses unique: 64 bits of it depend on the address.
func (d *Values) Email(value []byte) []byte {
	f := d.stream("email", normal(value))
	out := append(f.word(nil, false), '.')
	out = append(f.word(out, false), '.')
	for range 8 {
		out = fmt.Appendf(out, "%02x", f.next())
	}
	return append(out, "@example.com"...)
}

// Phone gives a number in a country code that nobody has.
func (d *Values) Phone(value []byte) []byte {
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

// Name gives two words in place of a name.
func (d *Values) Name(value []byte) []byte {
	f := d.stream("name", normal(value))
	return f.word(append(f.word(nil, true), ' '), true)
}

// Company gives the name of a company.
func (d *Values) Company(value []byte) []byte {
	f := d.stream("company", normal(value))
	return append(f.word(append(f.word(nil, true), ' '), true), " Ltd"...)
}

// Words gives a text of about as many words, up to a page.
func (d *Values) Words(value []byte) []byte {
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

// Label keeps what is a word of the program's own, like a status.
func (d *Values) Label(value []byte) []byte {
	const longest = 20
	if len(value) <= longest && bytes.IndexFunc(value, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '_' && r != '-'
	}) < 0 {
		return value
	}
	return d.stream("label", value).word(nil, false)
}

// Guess goes by how a value looks.
func (d *Values) Guess(value []byte) []byte {
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
		return d.Email(value)
	case number && digits >= fewDigits:
		return d.Phone(value)
	case len(bytes.Fields(value)) > manyWords:
		return d.Words(value)
	}
	return d.Name(value)
}

// ID gives a UUID, of version 8, in place of the 16 bytes of another.
func (d *Values) ID(id []byte) []byte {
	const version8, variant = 0x80, 0x80
	out := slices.Clone(d.stream("id", id).seed[:16])
	out[6], out[8] = out[6]&0x0F|version8, out[8]&0x3F|variant
	return out
}

// Emptied gives an empty value of JSON of the same kind.
func (*Values) Emptied(value []byte) []byte {
	switch trimmed := bytes.TrimSpace(value); {
	case bytes.HasPrefix(trimmed, []byte("{")):
		return []byte("{}")
	case bytes.HasPrefix(trimmed, []byte("[")):
		return []byte("[]")
	}
	return []byte("null")
}
