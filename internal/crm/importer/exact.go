package importer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/tabular"
)

// exactFiles says how a file is known that this program has written, and whose values are
// taken as they stand.
func exactFiles() *tabular.Exact {
	return &tabular.Exact{
		Is: contactfile.IsOwn, JSON: []string{contactfile.Metadata}, Card: contactfile.CardPrefix,
		Product: contactfile.CardProduct, Limits: tabular.Limits{Cell: contactfile.MaxCell, Row: contactfile.MaxRow},
	}
}

// exactColumns are where the values of a contact stand in such a file: a long text of a
// workbook goes on in further columns.
type exactColumns struct {
	id                          int
	email, phone, name, company []int
	metadata, created           []int
	others                      []int // that somebody has added
}

// mapExact maps the columns of a file of ours. Some may be left out on request; where one is
// mapped to something else the file is read as any other, and it is false.
func (m *mapping) mapExact(kind tabular.Kind) bool {
	if kind == tabular.VCard || !contactfile.IsOwn(m.headers()) {
		return false
	}
	e := &exactColumns{id: -1}
	places := map[string]*[]int{contactfile.Email: &e.email, contactfile.Phone: &e.phone, contactfile.Name: &e.name,
		contactfile.Company: &e.company, contactfile.Metadata: &e.metadata, contactfile.CreatedAt: &e.created}
	last := ""
	for i, c := range m.columns {
		name := c.Header
		if last != "" && name == fmt.Sprintf("%s (%d)", last, len(*places[last])+1) {
			name = last
		}
		ours := slices.Contains(contactfile.Columns(), name)
		switch {
		case c.Asked && ours && c.Field != FieldSkip:
			return false
		case c.Asked && c.Field == FieldSkip:
		case name == contactfile.ID:
			e.id = i
		case places[name] != nil:
			*places[name] = append(*places[name], i)
			last = name
		case !ours:
			e.others = append(e.others, i)
		}
	}
	m.exact = e
	m.planExact(places)
	return true
}

// planExact says where the columns go.
func (m *mapping) planExact(places map[string]*[]int) {
	for i := range m.columns {
		if c := &m.columns[i]; !c.Asked && slices.Contains(contactfile.Columns(), c.Header) {
			c.Field, c.Key, c.Why = FieldSkip, "", "the tenant has its own"
		}
	}
	for name, columns := range places {
		for n, i := range *columns {
			c := &m.columns[i]
			c.Field, c.Key, c.Why, c.Rank = Field(name), "", "as it was exported", n
			m.sources[c.Field] = append(m.sources[c.Field], i)
		}
	}
}

// exactRow makes a contact of a row of a file of ours. What has an id is as it was exported;
// what somebody has added is cleaned as in any other file.
func (c *converter) exactRow(rec *tabular.Record) (contact, *rejection) {
	e := c.exact
	if r := c.spreadExact(rec.Fields); r != nil {
		return contact{}, r
	}
	out := contact{exact: e.id >= 0 && isUUID(string(c.cells[e.id]))}
	if r := c.exactFields(&out); r != nil {
		return contact{}, r
	}
	var r *rejection
	if out.metadata, r = c.exactMetadata(rec.Extra); r != nil {
		return contact{}, r
	}
	if at := c.joined(e.created); len(trimAll(at)) > 0 {
		if out.createdAt, out.hasCreatedAt = exactTime(string(trimAll(at))); !out.hasCreatedAt {
			return contact{}, c.reject(RejectBadCreatedAt, e.created[0],
				"%s is not a time like 2026-11-23 or 2026-11-23T20:15:04Z", shorten(at))
		}
	}
	r = c.refuseEmpty(&out)
	return out, r
}

// refuseEmpty rejects what nobody has exported and says nothing.
func (c *converter) refuseEmpty(out *contact) *rejection {
	if out.exact || len(out.email)+len(out.phone)+len(out.name)+len(out.company) > 0 {
		return nil
	}
	return &rejection{code: RejectEmpty, message: "neither an e-mail address nor a phone number, a name or a company"}
}

// spreadExact lays the cells of a row under the columns; nil is null.
func (c *converter) spreadExact(fields [][]byte) *rejection {
	for len(fields) > len(c.columns) && len(trimAll(fields[len(fields)-1])) == 0 {
		fields = fields[:len(fields)-1]
	}
	if len(fields) > len(c.columns) {
		return &rejection{code: RejectTooManyColumns, message: fmt.Sprintf("%d columns where the header has %d", len(fields),
			len(c.columns))}
	}
	n := copy(c.cells, fields)
	clear(c.cells[n:])
	if !c.guarded {
		return nil
	}
	for i, cell := range c.cells[:n] {
		if len(cell) > 0 && cell[0] == '\'' {
			c.cells[i] = contactfile.Unguard(cell)
		}
	}
	return nil
}

// joined returns the value that stands in columns.
func (c *converter) joined(columns []int) []byte {
	switch len(columns) {
	case 0:
		return nil
	case 1:
		return c.cells[columns[0]]
	}
	whole := c.cells[columns[0]]
	if len(c.cells[columns[1]]) > 0 {
		start := len(c.scratch)
		for _, i := range columns {
			c.scratch = append(c.scratch, c.cells[i]...)
		}
		whole = c.scratch[start:len(c.scratch):len(c.scratch)]
	}
	return whole
}

// exactFields takes the fields of a contact.
func (c *converter) exactFields(out *contact) *rejection {
	e := c.exact
	email, phone := c.joined(e.email), c.joined(e.phone)
	out.name, out.company = c.joined(e.name), c.joined(e.company)
	if !out.exact {
		out.name, out.company = trimBlanks(out.name), trimBlanks(out.company)
	}
	switch {
	case len(trimAll(email)) == 0:
	case out.exact && isStored(email):
		out.email = email
	default:
		dst, _, ok := cleanEmail(c.scratch, email, &c.changes)
		if !ok {
			return c.reject(RejectBadEmail, e.email[0], "%s is not an e-mail address", shorten(email))
		}
		out.email, c.scratch = dst[len(c.scratch):len(dst):len(dst)], dst
	}
	switch {
	case out.exact:
		out.phone = phone
	case len(trimAll(phone)) > 0:
		value, _, ok := c.number(phone)
		if !ok {
			return c.reject(RejectLongPhone, e.phone[0], "a phone number of more than %d bytes", maxPhone)
		}
		out.phone = value
	}
	return nil
}

// isStored reports whether the table takes an address as it stands, whatever it is: trimmed
// and in lower case.
func isStored(email []byte) bool {
	text := string(email)
	return strings.Trim(text, " ") == text && strings.ToLower(text) == text && utf8.ValidString(text) &&
		strings.IndexFunc(text, func(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) }) < 0
}

// exactMetadata returns the metadata of a row, with the columns that somebody has added.
func (c *converter) exactMetadata(extra []tabular.Pair) ([]byte, *rejection) {
	e := c.exact
	text := trimAll(c.joined(e.metadata))
	if len(text) == 0 {
		text = []byte("{}")
	}
	if err := contactfile.CheckObject(text); err != nil {
		return nil, c.reject(RejectBadValue, e.metadata[0], "%s is no metadata: %v", shorten(text), err)
	}
	if len(e.others) == 0 && len(extra) == 0 {
		return text, nil
	}
	out := append(c.json[:0], text[:len(text)-1]...)
	more := len(trimAll(text[1:len(text)-1])) > 0
	add := func(key, value []byte) {
		if more {
			out = append(out, ',')
		}
		more = true
		out = contactfile.AppendString(append(out, key...), value)
	}
	for _, i := range e.others {
		if len(c.cells[i]) > 0 && c.keys[i] != nil {
			add(c.keys[i], c.cells[i])
		}
	}
	for _, p := range extra {
		add(append(contactfile.AppendString(nil, p.Key), ':'), p.Value)
	}
	c.json = append(out, '}')
	return c.json, nil
}

// exactTime reads when a contact was made.
func exactTime(text string) (micros int64, ok bool) {
	if micros, ok = contactfile.ParseTime(text); ok {
		return micros, true
	}
	if t, ok := parseTime([]byte(text)); ok {
		return microseconds(t), true
	}
	return 0, false
}

// exactCard makes a contact of a card that is as this program has written it. One that
// somebody has changed is read as any other, and it is false.
func (c *converter) exactCard(rec *tabular.Record) (out contact, ok bool) {
	var text, sum []byte
	for _, p := range rec.Own {
		switch string(p.Key) {
		case contactfile.CardContact:
			text = p.Value
		case contactfile.CardSum:
			sum = p.Value
		}
	}
	var row contactfile.Row
	if rec.Problem != tabular.None || string(sum) != contactfile.SumCard(rec.Lines) || json.Unmarshal(text, &row) != nil ||
		contactfile.CheckObject(row.Metadata) != nil || !isUUID(row.ID) || row.Email != nil && !isStored([]byte(*row.Email)) {
		return out, false
	}
	at, hasTime := contactfile.ParseTime(row.CreatedAt)
	value := func(s *string) []byte {
		if s == nil {
			return nil
		}
		return []byte(*s)
	}
	return contact{
		exact: true, email: value(row.Email), phone: value(row.Phone), name: value(row.Name), company: value(row.Company),
		metadata: row.Metadata, createdAt: at, hasCreatedAt: hasTime,
	}, true
}
