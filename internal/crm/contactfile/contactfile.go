// Package contactfile is what a file of contacts looks like that this program has written:
// what writes it and what reads it again agree here. It imports nothing of the project.
package contactfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// The columns of a file of contacts.
const (
	ID        = "id"
	Email     = "email"
	Phone     = "phone"
	Name      = "name"
	Company   = "company"
	Metadata  = "metadata" // all of it, a JSON object
	CreatedAt = "created_at"
	UpdatedAt = "updated_at"
	Tenant    = "tenant" // before all others, where contacts of several are in one file
)

// Columns returns the columns of a file of contacts in the order of the table.
func Columns() []string {
	return []string{ID, Email, Phone, Name, Company, Metadata, CreatedAt, UpdatedAt}
}

// IsOwn reports whether a header is that of such a file. A tenant that is behind has no
// column company. Others may stand beside them.
func IsOwn(header []string) bool {
	for _, name := range Columns() {
		if name != Company && !slices.Contains(header, name) {
			return false
		}
	}
	return true
}

// Limits of a file of ours, in bytes: a text of 10 MB comes back, and no more is held than
// a row of them.
const (
	MaxCell = 16 << 20
	MaxRow  = 40 << 20
)

// formulas begin what a spreadsheet computes.
const formulas = "=+-@\t\r\n＝＋－＠"

// isFormula reports whether a spreadsheet would compute a text, but for the apostrophes
// before it, of which there are n.
func isFormula(text []byte) (n int, is bool) {
	for n < len(text) && text[n] == '\'' {
		n++
	}
	if n == len(text) {
		return n, false
	}
	if c := text[n]; c < utf8.RuneSelf {
		return n, c == '=' || c == '+' || c == '-' || c == '@' || c == '\t' || c == '\r' || c == '\n'
	}
	r, _ := utf8.DecodeRune(text[n:])
	return n, bytes.ContainsRune([]byte(formulas), r)
}

// Guarded reports whether a cell of CSV is written with an apostrophe before it. Raw files
// have one only where Unguard would take one away.
func Guarded(text []byte, raw bool) bool {
	if len(text) == 0 || text[0] > '@' && text[0] < utf8.RuneSelf {
		return false
	}
	n, is := isFormula(text)
	return is && (n > 0 || !raw)
}

// Unguard takes away the apostrophe that Guarded speaks of.
func Unguard(text []byte) []byte {
	if len(text) > 1 && text[0] == '\'' {
		if _, is := isFormula(text); is {
			return text[1:]
		}
	}
	return text
}

// Card names what a vCard has of ours beside what other programs understand.
const (
	CardProduct = "PRODID:-//crmctl//EN"
	CardPrefix  = "X-CRMCTL-"
	CardContact = "X-CRMCTL-CONTACT" // the contact as it is, a JSON object
	CardSum     = "X-CRMCTL-SUM"     // of the other lines, which tells whether they are as they were
)

// SumCard returns the sum of the lines of a card, unfolded, without the first, the last and
// those of ours.
func SumCard(lines []byte) string {
	sum := sha256.Sum256(lines)
	return hex.EncodeToString(sum[:8])
}

// Row is a contact as a card has it.
type Row struct {
	ID        string          `json:"id"`
	Email     *string         `json:"email"`
	Phone     *string         `json:"phone"`
	Name      *string         `json:"name"`
	Company   *string         `json:"company"`
	Metadata  json.RawMessage `json:"metadata"`
	CreatedAt string          `json:"created_at"`
}

// errNoObject says that a text is no JSON object.
var errNoObject = errors.New("it is no JSON object")

// CheckObject reports whether text is a JSON object that the database can hold.
func CheckObject(text []byte) error {
	text = bytes.TrimSpace(text)
	if len(text) < 2 || text[0] != '{' || !json.Valid(text) {
		return errNoObject
	}
	return checkEscapes(text)
}

// checkEscapes refuses what JSON may say and the server does not store: a NUL, and halves
// of a character.
func checkEscapes(text []byte) error {
	high := false // the escape before is the first half
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			if high {
				return errors.New("it holds half a character")
			}
			continue
		}
		i++
		if text[i] != 'u' {
			if high {
				return errors.New("it holds half a character")
			}
			continue
		}
		raw, _ := hex.DecodeString(string(text[i+1 : i+5])) // valid JSON
		i += 4
		code := int(raw[0])<<8 | int(raw[1])
		low := code >= 0xDC00 && code < 0xE000
		switch {
		case code == 0:
			return errors.New("it holds a NUL")
		case low != high:
			return errors.New("it holds half a character")
		}
		high = code >= 0xD800 && code < 0xDC00
	}
	return nil
}
