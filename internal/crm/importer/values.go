package importer

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// typed is one of several addresses or numbers of a contact.
type typed struct {
	value, kind []byte
	raw         []byte // as it came, nil when it is the same
}

// appendTyped appends a list of addresses or numbers to a JSON object.
func appendTyped(json, key []byte, list []typed) []byte {
	if len(list) == 0 {
		return json
	}
	if len(json) > 1 {
		json = append(json, ',')
	}
	json = append(append(json, key...), '[')
	for i, t := range list {
		if i > 0 {
			json = append(json, ',')
		}
		json = append(json, `{"value":`...)
		json = contactfile.AppendString(json, t.value)
		if len(t.kind) > 0 {
			json = append(json, `,"type":`...)
			json = contactfile.AppendString(json, t.kind)
		}
		if t.raw != nil {
			json = append(json, `,"raw":`...)
			json = contactfile.AppendString(json, t.raw)
		}
		json = append(json, '}')
	}
	return append(json, ']')
}

// kind returns what sort of address or number is in column i: what the column
// beside it says, or the header. primary reports that it is marked as the first.
func (c *converter) kind(i int) (kind []byte, labelled, primary bool) {
	if j, ok := c.labels[i]; ok && len(c.cells[j]) > 0 {
		label := trimAll(c.cells[j])
		if rest, ok := bytes.CutPrefix(label, []byte("*")); ok {
			return bytes.TrimSpace(rest), true, true
		}
		return label, true, false
	}
	return []byte(c.columns[i].Kind), false, false
}

// kindOf returns the kind of the n-th of several values in column i: the label has as
// many parts, or is that of all.
func (c *converter) kindOf(i, n int) (kind []byte, labelled bool) {
	kind, labelled, _ = c.kind(i)
	if !labelled || !bytes.Contains(kind, []byte(googleSeparator)) {
		return kind, labelled
	}
	parts := bytes.Split(kind, []byte(googleSeparator))
	part := bytes.TrimSpace(parts[min(n, len(parts)-1)])
	return bytes.TrimSpace(bytes.TrimPrefix(part, []byte("*"))), true
}

// faxOnly reports whether all that is in column i are machines by their labels.
func (c *converter) faxOnly(i int) bool {
	label, labelled, _ := c.kind(i)
	if !labelled {
		return false
	}
	for part := range bytes.SplitSeq(label, []byte(googleSeparator)) {
		if !isFax(headerWords(string(part))) {
			return false
		}
	}
	return true
}

// findEmail finds the contact's address: that of the most preferred column with a
// value. The others are kept beside it.
func (c *converter) findEmail(out *contact) *rejection {
	first := -1
	several := false
	for _, i := range c.email {
		if len(c.cells[i]) == 0 {
			continue
		}
		if first >= 0 {
			several = true
			break
		}
		first = i
	}
	if first < 0 {
		return nil
	}
	cell := c.cells[first]
	start := len(c.scratch)
	if plain, ok := appendPlainEmail(c.scratch, cell); ok && len(cell) <= maxEmail &&
		!bytes.Contains(plain[start:], []byte("xn--")) {
		c.scratch = plain
		out.email = c.scratch[start:]
		c.chosen[first] = true
		if _, labelled := c.labels[first]; !several && !labelled {
			return nil
		}
	} else if r := c.cleanEmail(first, out); r != nil {
		return r
	}
	if !several && len(c.emails) > 0 {
		return nil
	}
	c.otherEmails(out, first)
	return nil
}

// cleanEmail takes an address out of a cell that holds more than that.
func (c *converter) cleanEmail(i int, out *contact) *rejection {
	c.parts = splitAddresses(c.parts[:0], c.cells[i])
	for n, part := range c.parts {
		start := len(c.scratch)
		dst, name, ok := cleanEmail(c.scratch, part, &c.changes)
		if !ok {
			if n > 0 {
				c.chosen[i] = false // what is no address stays with its cell
				continue
			}
			c.note(c.cells[i])
			return c.reject(RejectBadEmail, i, "%s is not an e-mail address", shorten(c.cells[i]))
		}
		c.scratch = dst
		value := c.scratch[start:len(c.scratch):len(c.scratch)]
		if n == 0 {
			out.email, c.shownName = value, name
			c.chosen[i] = true
		}
		if len(c.parts) > 1 {
			c.addEmail(i, n, value)
		}
	}
	if len(c.parts) == 0 {
		return c.reject(RejectBadEmail, i, "%s is not an e-mail address", shorten(c.cells[i]))
	}
	if len(c.parts) > 1 {
		c.changes.note(changeSeveral)
	}
	return nil
}

// otherEmails keeps the addresses of the other columns, with their kinds.
func (c *converter) otherEmails(out *contact, first int) {
	if len(c.emails) == 0 {
		c.addEmail(first, 0, out.email)
	}
	for _, i := range c.email {
		if i == first || len(c.cells[i]) == 0 {
			continue
		}
		c.parts = splitAddresses(c.parts[:0], c.cells[i])
		whole := len(c.parts) > 0
		for n, part := range c.parts {
			start := len(c.scratch)
			dst, _, ok := cleanEmail(c.scratch, part, &c.changes)
			if !ok {
				whole = false
				continue
			}
			c.scratch = dst
			c.addEmail(i, n, c.scratch[start:len(c.scratch):len(c.scratch)])
		}
		c.chosen[i] = whole
	}
	if len(c.emails) == 1 {
		if _, labelled, _ := c.kind(first); !labelled {
			c.emails = c.emails[:0]
		}
	}
}

// addEmail adds an address, the n-th in column i, to the list, once.
func (c *converter) addEmail(i, n int, value []byte) {
	if slices.ContainsFunc(c.emails, func(t typed) bool { return bytes.Equal(t.value, value) }) {
		return
	}
	kind, labelled := c.kindOf(i, n)
	if labelled {
		c.chosen[c.labels[i]] = true
	}
	c.emails = append(c.emails, typed{value: value, kind: kind})
}

// note counts a word that stands where an address or a number was to be.
func (c *converter) note(cell []byte) {
	const most, long = 64, 24
	if len(cell) > long || bytes.IndexByte(cell, '@') >= 0 {
		return
	}
	word := string(trimAll(cell))
	if _, known := c.words[word]; known || len(c.words) < most {
		c.words[word]++
	}
}

// nullWords returns the words that were met often.
func (c *converter) nullWords() []string {
	const often = 3
	var words []string
	for word, n := range c.words {
		if n >= often {
			words = append(words, word)
		}
	}
	slices.SortFunc(words, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.words[b], c.words[a]), strings.Compare(a, b))
	})
	return words[:min(len(words), 5)]
}

// findPhone finds the contact's number, and keeps the others beside it.
func (c *converter) findPhone(out *contact) *rejection {
	best, numbers, labelled := -1, 0, false
	for _, i := range c.phone {
		cell := c.cells[i]
		if len(cell) == 0 {
			continue
		}
		_, has, primary := c.kind(i)
		if c.faxOnly(i) {
			continue
		}
		if !isPhone(cell) {
			c.changes.note(changeNoPhone)
			c.note(cell)
			continue
		}
		numbers++
		labelled = labelled || has
		if bytes.ContainsAny(cell, ":;\n|") {
			numbers++ // perhaps several
		}
		if best < 0 || primary {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	if numbers > 1 || labelled {
		return c.severalPhones(out, best)
	}
	value, raw, ok := c.number(c.cells[best])
	if !ok {
		return c.reject(RejectLongPhone, best, "a phone number of more than %d bytes", maxPhone)
	}
	out.phone = value
	c.chosen[best] = raw == nil // the number as it came stays in metadata
	return nil
}

// number returns the form in which a number is stored, and the number as it came
// when that is another.
func (c *converter) number(cell []byte) (value, raw []byte, ok bool) {
	start := len(c.scratch)
	if c.scratch, ok = appendPhone(c.scratch, cell); !ok {
		c.scratch = c.scratch[:start]
		return nil, nil, false
	}
	value = c.scratch[start:len(c.scratch):len(c.scratch)]
	if plainNumber(value) {
		return value, nil, true
	}
	from := len(c.scratch)
	dst, valid := c.parser.Append(c.scratch, value)
	if !valid {
		return value, nil, true
	}
	c.scratch = dst
	c.changes.note(changePhone)
	return c.scratch[from:len(c.scratch):len(c.scratch)], value, true
}

// plainNumber reports whether a number stands in the form of E.164 already.
func plainNumber(b []byte) bool {
	if len(b) < 8 || len(b) > 16 || b[0] != '+' {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// severalPhones makes the list of a contact's numbers.
func (c *converter) severalPhones(out *contact, best int) *rejection {
	for _, i := range c.phone {
		cell := c.cells[i]
		if len(cell) == 0 || !isPhone(cell) || c.faxOnly(i) {
			continue
		}
		c.parts = splitNumbers(c.parts[:0], cell)
		if len(c.parts) > 1 {
			c.changes.note(changeSeveral)
		}
		c.chosen[i] = true
		for n, part := range c.parts {
			kind, has := c.kindOf(i, n)
			value, raw, ok := c.number(part)
			switch {
			case has && isFax(headerWords(string(kind))):
				c.chosen[i] = false // a machine stays with its cell
				continue
			case !ok:
				return c.reject(RejectLongPhone, i, "a phone number of more than %d bytes", maxPhone)
			case !isPhone(part):
				c.chosen[i] = false // what is no number stays with its cell
				continue
			case i == best && len(out.phone) == 0:
				out.phone = value
			}
			if slices.ContainsFunc(c.phones, func(t typed) bool { return bytes.Equal(t.value, value) }) {
				continue
			}
			if has {
				c.chosen[c.labels[i]] = true
			}
			c.phones = append(c.phones, typed{value: value, kind: kind, raw: raw})
		}
	}
	if _, labelled, _ := c.kind(best); len(c.phones) == 1 && !labelled {
		c.chosen[best] = c.phones[0].raw == nil
		c.phones = c.phones[:0]
	}
	return nil
}

// splitNumbers splits a cell of several numbers.
func splitNumbers(dst [][]byte, cell []byte) [][]byte {
	for part := range bytes.SplitSeq(cell, []byte(googleSeparator)) {
		for p := range bytes.FieldsFuncSeq(part, func(r rune) bool {
			return r == ';' || r == '\n' || r == '\r' || r == '|'
		}) {
			if p = bytes.TrimSpace(p); len(p) > 0 {
				dst = append(dst, p)
			}
		}
	}
	return dst
}

// isPhone reports whether a cell holds a number, not a word, an error of a
// spreadsheet or what is left of a number that one has rounded (4.91E+11).
func isPhone(cell []byte) bool {
	digits, letters, at := 0, 0, false
	for _, b := range cell {
		switch {
		case b >= '0' && b <= '9':
			digits++
		case b|0x20 >= 'a' && b|0x20 <= 'z':
			letters++
		case b == '@' || b == '#' && letters == 0 && digits == 0:
			at = true
		case b >= utf8.RuneSelf:
			return wideDigits(cell)
		}
	}
	switch {
	case at || digits == 0:
		return false
	case letters == 0:
		return true
	}
	return digits >= 4 && !roundedNumber(cell)
}

func wideDigits(cell []byte) bool {
	return bytes.ContainsFunc(cell, unicode.IsDigit) && bytes.IndexByte(cell, '@') < 0
}

// roundedNumber reports whether cell is a number in scientific notation.
func roundedNumber(cell []byte) bool {
	cell = bytes.TrimSpace(cell)
	e := bytes.IndexAny(cell, "eE")
	if e <= 0 || e == len(cell)-1 {
		return false
	}
	exponent := bytes.TrimLeft(cell[e+1:], "+-")
	return len(bytes.Trim(cell[:e], "0123456789.,+-")) == 0 && len(exponent) > 0 &&
		len(bytes.Trim(exponent, "0123456789")) == 0
}

// eastAsian reports whether a name is written in Chinese, Japanese or Korean.
func eastAsian(name []byte) bool {
	r, _ := utf8.DecodeRune(name)
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}
