package tabular

import (
	"slices"
	"strconv"
	"strings"
)

// How many addresses and the like have columns of their own; further ones share
// the last.
const (
	cardEmails    = 4
	cardPhones    = 6
	cardAddresses = 2
	cardSites     = 2
)

// several stands between values that share a cell, as in Google's exports.
const several = " ::: "

// cardHeader returns the columns that cards become: those of Google's CSV.
func cardHeader() []string {
	header := []string{
		"Name", "First Name", "Middle Name", "Last Name", "Name Prefix", "Name Suffix", "Nickname", "Organization Name",
		"Organization Department", "Organization Title", "Birthday", "Notes", "Labels",
	}
	for _, list := range []struct {
		name, value string
		n           int
	}{{"E-mail", "Value", cardEmails}, {"Phone", "Value", cardPhones}, {"Address", "Formatted", cardAddresses},
		{"Website", "Value", cardSites}} {
		for i := range list.n {
			at := list.name + " " + strconv.Itoa(i+1)
			header = append(header, at+" - Label", at+" - "+list.value)
		}
	}
	return header
}

// Where the columns are in cardHeader.
const (
	colName = iota
	colFirst
	colMiddle
	colLast
	colPrefix
	colSuffix
	colNickname
	colOrg
	colDepartment
	colTitle
	colBirthday
	colNotes
	colLabels
	colEmail
	colPhone   = colEmail + 2*cardEmails
	colAddress = colPhone + 2*cardPhones
	colSite    = colAddress + 2*cardAddresses
	cardWidth  = colSite + 2*cardSites
)

// finish makes a row of the card.
func (c *cards) finish() *Record {
	r := &c.record
	r.Problem = c.bad
	fields := make([][]byte, cardWidth)
	for _, p := range c.props {
		c.place(fields, p)
	}
	r.Fields = fields
	if len(fields[colName]) == 0 && len(fields[colFirst]) == 0 && len(fields[colLast]) == 0 &&
		len(fields[colNickname]) > 0 {
		fields[colName] = fields[colNickname]
	}
	if len(fields[colFirst]) > 0 && len(fields[colLast]) > 0 && len(fields[colMiddle])+len(fields[colPrefix])+
		len(fields[colSuffix]) == 0 && len(fields[colName]) == 0 {
		fields[colName] = []byte(string(fields[colFirst]) + " " + string(fields[colLast]))
	}
	if r.Problem != None {
		r.Raw = []byte(c.text())
	}
	return r
}

// text returns what is known of a card with a problem.
func (c *cards) text() string {
	var b strings.Builder
	for _, p := range c.props {
		b.WriteString(p.name + ":" + p.value + "\n")
		if b.Len() > rawPrefix {
			break
		}
	}
	return strings.ToValidUTF8(b.String(), "?")
}

// passedOver reports whether a property says nothing of a contact that is kept.
func passedOver(name string) bool {
	switch name {
	case "VERSION", "PRODID", "BEGIN", "REV", "LABEL", "CLASS", "PROFILE", "MAILER", "SOURCE", "KIND", "AGENT",
		"SORT-STRING":
		return true
	}
	return false
}

// place puts a property into its column.
func (c *cards) place(fields [][]byte, p property) {
	switch p.name {
	case "AGENT":
	case "FN":
		join(fields, colName, plain(p.value), " ")
	case "N":
		parts := structured(p.value)
		for i, column := range []int{colLast, colFirst, colMiddle, colPrefix, colSuffix} {
			if i < len(parts) {
				join(fields, column, parts[i], " ")
			}
		}
	case "NICKNAME":
		join(fields, colNickname, plain(p.value), several)
	case "ORG":
		parts := structured(p.value)
		join(fields, colOrg, parts[0], several)
		join(fields, colDepartment, strings.Join(parts[1:], ", "), several)
	case "TITLE":
		join(fields, colTitle, plain(p.value), several)
	case "BDAY":
		join(fields, colBirthday, plain(p.value), several)
	case "NOTE":
		join(fields, colNotes, plain(p.value), "\n")
	case "CATEGORIES":
		join(fields, colLabels, strings.ReplaceAll(plain(p.value), ",", several), several)
	case "EMAIL":
		c.list(fields, colEmail, cardEmails, p, strings.TrimPrefix(plain(p.value), "mailto:"))
	case "TEL":
		value := plain(p.value)
		if len(value) > 4 && strings.EqualFold(value[:4], "tel:") {
			value = value[4:]
		}
		c.list(fields, colPhone, cardPhones, p, value)
	case "ADR":
		parts := structured(p.value)
		parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
		c.list(fields, colAddress, cardAddresses, p, strings.Join(parts, ", "))
	case "URL":
		c.list(fields, colSite, cardSites, p, plain(p.value))
	default:
		if value := plain(p.value); value != "" {
			c.record.Extra = append(c.record.Extra, Pair{[]byte(strings.ToLower(p.name)), []byte(value)})
		}
	}
}

// list puts a value into the next free of several pairs of columns.
func (c *cards) list(fields [][]byte, first, n int, p property, value string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	label := strings.Join(p.types, " ")
	if own := c.labels[p.group]; p.group != "" && own != "" {
		label = own
	}
	if p.primary {
		label = strings.TrimSpace("* " + label)
	}
	for i := range n {
		at := first + 2*i
		if len(fields[at+1]) == 0 {
			if label != "" {
				fields[at] = []byte(label)
			}
			fields[at+1] = []byte(value)
			return
		}
	}
	join(fields, first+2*n-1, value, several)
}

// join adds a value to a cell.
func join(fields [][]byte, column int, value, between string) {
	value = strings.TrimSpace(value)
	switch {
	case value == "":
	case len(fields[column]) == 0:
		fields[column] = []byte(value)
	default:
		fields[column] = append(append(fields[column], between...), value...)
	}
}

// structured splits a value at its semicolons, and takes the escapes out.
func structured(value string) []string {
	var parts []string
	start := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case ';':
			parts = append(parts, strings.TrimSpace(plain(value[start:i])))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(plain(value[start:])))
}

// plain takes the escapes out of a value.
func plain(value string) string {
	if strings.IndexByte(value, '\\') < 0 {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		i++
		switch value[i] {
		case 'n', 'N':
			b.WriteByte('\n')
		case ',', ';', ':', '\\', '"':
			b.WriteByte(value[i])
		default:
			b.WriteByte('\\')
			b.WriteByte(value[i])
		}
	}
	return b.String()
}
