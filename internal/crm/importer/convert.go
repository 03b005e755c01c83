package importer

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/crm/phone"
	"github.com/crmctl/crmctl/internal/tabular"
)

// contact is one row as it goes to the database. Empty means null. Its slices
// are valid until the next row.
type contact struct {
	email, phone, name, company []byte
	metadata                    []byte // a JSON object of strings
	createdAt                   int64  // microseconds since 2000, if hasCreatedAt
	hasCreatedAt                bool
	half                        bool // name is a part of one, and replaces no whole name
	exact                       bool // an empty value is no null
}

// rejection says why a row was not taken.
type rejection struct {
	code    RejectCode
	column  string // header, "" when the whole row is to blame
	message string
}

// converter turns the rows of a file into contacts. It is not safe for
// concurrent use.
type converter struct {
	columns     []ColumnPlan
	keys        [][]byte // of metadata as `"key":`, nil for none
	email       []int
	phone       []int
	name        []int
	company     []int
	first, last []int
	created     []int
	nulls       [][]byte
	rejectShort bool
	limits      tabular.Limits

	labels    map[int]int   // as in mapping
	lenient   bool          // as in mapping
	exact     *exactColumns // as in mapping
	guarded   bool          // cells have an apostrophe before what a spreadsheet would compute
	parser    *phone.Parser
	emailsKey []byte
	phonesKey []byte
	changes   changes
	words     map[string]int64 // what stood where an address or a number was to be, and how often

	emails    []typed // of the current row, only where there are several
	phones    []typed
	parts     [][]byte
	shownName []byte // before the address of the current row

	cells   [][]byte // of the current row, empty where the value means nothing
	chosen  []bool   // columns whose value became a field as a whole
	keep    []bool   // columns that stay in metadata even then
	scratch []byte
	json    []byte
}

func newConverter(m *mapping, o Options) *converter {
	c := &converter{
		columns: m.columns,
		keys:    make([][]byte, len(m.columns)),
		email:   m.sources[FieldEmail], phone: m.sources[FieldPhone], name: m.sources[FieldName],
		company: m.sources[FieldCompany],
		first:   m.sources[FieldFirstName], last: m.sources[FieldLastName], created: m.sources[FieldCreatedAt],
		rejectShort: o.RejectShortRows,
		limits:      o.Limits,
		cells:       make([][]byte, len(m.columns)),
		chosen:      make([]bool, len(m.columns)),
		keep:        make([]bool, len(m.columns)),
		labels:      m.labels,
		lenient:     m.lenient,
		exact:       m.exact,
		guarded:     m.exact != nil && m.guarded,
		parser:      phone.NewParser(o.Region),
		words:       map[string]int64{},
	}
	c.emailsKey, c.phonesKey = m.freeKey("emails"), m.freeKey("phones")
	for i, column := range m.columns {
		if column.Key != "" {
			c.keys[i] = append(contactfile.AppendString(nil, []byte(column.Key)), ':')
		}
	}
	for _, null := range o.Null {
		if trimmed := trimAll([]byte(null)); len(trimmed) > 0 {
			c.nulls = append(c.nulls, trimmed)
		}
	}
	return c
}

// emailHeader returns the header of the preferred column of addresses, or "".
func (c *converter) emailHeader() string {
	if len(c.email) == 0 {
		return ""
	}
	return c.columns[c.email[0]].Header
}

// keepColumns has the values of columns stored by themselves, whatever they became.
func (c *converter) keepColumns(columns []int) {
	for _, i := range columns {
		c.keep[i] = true
	}
}

// convert makes a contact of a row, or says why it cannot.
func (c *converter) convert(rec *tabular.Record) (contact, *rejection) {
	out, rejected := c.contact(rec)
	c.changes.settle(rejected == nil)
	return out, rejected
}

func (c *converter) contact(rec *tabular.Record) (contact, *rejection) {
	if rec.Problem != tabular.None {
		return contact{}, c.unreadable(rec)
	}
	clear(c.chosen)
	c.scratch, c.emails, c.phones, c.shownName = c.scratch[:0], c.emails[:0], c.phones[:0], nil
	if c.exact != nil {
		return c.exactRow(rec)
	}
	if len(rec.Own) > 0 {
		if out, ok := c.exactCard(rec); ok {
			return out, nil
		}
	}
	if r := c.spread(rec.Fields); r != nil {
		return contact{}, r
	}
	var out contact
	if r := c.findEmail(&out); r != nil {
		return contact{}, r
	}
	if r := c.findPhone(&out); r != nil {
		return contact{}, r
	}
	if i := c.choose(c.company); i >= 0 {
		company, others, _ := bytes.Cut(c.cells[i], []byte(googleSeparator))
		out.company = c.visible(trimBlanks(company))
		if len(others) > 0 {
			c.chosen[i] = false // all of them stay in metadata
			c.changes.note(changeSeveral)
		}
	}
	out.name, out.half = c.fullName()
	if i := c.choose(c.created); i >= 0 {
		t, ok := parseTime(c.cells[i])
		if !ok {
			if t, ok = parsePresetTime(c.cells[i]); ok {
				c.changes.note(changeTime)
			}
		}
		switch {
		case !ok && c.lenient:
			c.chosen[i] = false
		case !ok:
			return contact{}, c.reject(RejectBadCreatedAt, i, "%s is not a time like 2026-11-23 or 2026-11-23T20:15:04Z",
				shorten(c.cells[i]))
		default:
			out.createdAt, out.hasCreatedAt = microseconds(t), true
		}
	}
	if len(out.email) == 0 && len(out.phone) == 0 && len(out.name) == 0 && len(out.company) == 0 {
		return contact{}, &rejection{code: RejectEmpty,
			message: "neither an e-mail address nor a phone number, a name or a company"}
	}
	out.metadata = c.metadata(rec.Extra)
	return out, nil
}

// spread lays the cells of a row under the columns and takes out what means
// nothing.
func (c *converter) spread(fields [][]byte) *rejection {
	if n := len(c.columns); len(fields) > n {
		for _, cell := range fields[n:] {
			if len(trimAll(cell)) > 0 {
				return &rejection{code: RejectTooManyColumns, message: fmt.Sprintf("%d columns where the header has %d",
					len(fields), n)}
			}
		}
		fields = fields[:n]
	}
	if len(fields) < len(c.columns) && c.rejectShort {
		return &rejection{code: RejectTooFewColumns, message: fmt.Sprintf("%d columns where the header has %d", len(fields),
			len(c.columns))}
	}
	n := copy(c.cells, fields)
	clear(c.cells[n:])
	for i, cell := range c.cells[:n] {
		if len(cell) == 0 {
			continue
		}
		if cell[0] == '=' {
			if inner, ok := unwrapFormula(cell); ok {
				c.changes.note(changeFormula)
				cell, c.cells[i] = inner, inner
			}
		}
		if len(cell) == 0 || cell[0] <= ' ' || cell[0] >= 0x80 || len(c.nulls) > 0 {
			trimmed := trimAll(cell)
			if len(trimmed) == 0 || c.isNull(trimmed) {
				c.cells[i] = nil
			}
		}
		if !ascii(cell) && mojibake(cell) {
			c.changes.note(changeMojibake)
		}
	}
	return nil
}

func (c *converter) isNull(value []byte) bool {
	for _, null := range c.nulls {
		if bytes.Equal(value, null) {
			return true
		}
	}
	return false
}

// choose returns the first of columns that has a value, or -1, and notes that
// this column needs no place in metadata.
func (c *converter) choose(columns []int) int {
	for _, i := range columns {
		if len(c.cells[i]) > 0 {
			c.chosen[i] = true
			return i
		}
	}
	return -1
}

// fullName returns the name, or the first and last name put together, and whether
// one of the two is missing. The parts stay in metadata either way.
func (c *converter) fullName() (name []byte, half bool) {
	if i := c.choose(c.name); i >= 0 {
		return c.visible(trimBlanks(c.cells[i])), false
	}
	var first, last []byte
	if i := c.choose(c.first); i >= 0 {
		c.chosen[i] = false
		first = c.visible(trimBlanks(c.cells[i]))
	}
	if i := c.choose(c.last); i >= 0 {
		c.chosen[i] = false
		last = c.visible(trimBlanks(c.cells[i]))
	}
	switch {
	case len(first) == 0 && len(last) == 0:
		return c.shownName, false
	case len(first) == 0 || len(last) == 0:
		c.changes.note(changeHalfName)
		return append(first, last...), true
	}
	c.changes.note(changeName)
	start := len(c.scratch)
	if eastAsian(first) && eastAsian(last) {
		// The family name comes first, and no blank stands between.
		c.scratch = append(append(c.scratch, last...), first...)
	} else {
		c.scratch = append(append(append(c.scratch, first...), ' '), last...)
	}
	return c.scratch[start:], false
}

// visible takes out of a name what says nothing and cannot be seen.
func (c *converter) visible(text []byte) []byte {
	if ascii(text) {
		return text
	}
	drop := func(r rune) bool { return r == 0x200B || r == 0x2060 || r == 0xFEFF || r == 0x00AD }
	if !bytes.ContainsFunc(text, drop) {
		return text
	}
	c.changes.note(changeInvisible)
	return bytes.Map(func(r rune) rune {
		if drop(r) {
			return -1
		}
		return r
	}, text)
}

// metadata returns everything that became no field, as a JSON object.
func (c *converter) metadata(extra []tabular.Pair) []byte {
	json := append(c.json[:0], '{')
	for i, cell := range c.cells {
		if len(cell) == 0 || c.keys[i] == nil || c.chosen[i] && !c.keep[i] {
			continue
		}
		if len(json) > 1 {
			json = append(json, ',')
		}
		json = append(json, c.keys[i]...)
		json = contactfile.AppendString(json, cell)
	}
	for _, pair := range extra {
		if len(json) > 1 {
			json = append(json, ',')
		}
		json = append(contactfile.AppendString(json, pair.Key), ':')
		json = contactfile.AppendString(json, pair.Value)
	}
	json = appendTyped(json, c.emailsKey, c.emails)
	json = appendTyped(json, c.phonesKey, c.phones)
	c.json = append(json, '}')
	return c.json
}

func (c *converter) reject(code RejectCode, column int, format string, args ...any) *rejection {
	return &rejection{code: code, column: c.columns[column].Header, message: fmt.Sprintf(format, args...)}
}

// unreadable explains a row that could not be split into cells.
func (c *converter) unreadable(rec *tabular.Record) *rejection {
	r := &rejection{message: rec.Problem.Describe(c.limits)}
	switch {
	case rec.Column > len(c.columns):
		r.column = strconv.Itoa(rec.Column)
	case rec.Column > 0:
		r.column = c.columns[rec.Column-1].Header
	}
	switch rec.Problem {
	case tabular.BadQuotes:
		r.code = RejectBadQuotes
	case tabular.OpenQuote:
		r.code = RejectOpenQuote
	case tabular.LongCell:
		r.code = RejectLongCell
	case tabular.LongRow:
		r.code = RejectLongRow
	case tabular.ManyColumns:
		r.code = RejectTooManyColumns
	case tabular.NUL:
		r.code = RejectNUL
	case tabular.BadSyntax:
		r.code = RejectBadSyntax
	case tabular.NotUTF8, tabular.None:
		r.code = RejectNotUTF8
	}
	return r
}

// shorten returns a value in quotes, cut to what fits a line.
func shorten(value []byte) string {
	const most = 60
	runes := []rune(string(value[:min(len(value), 4*most)]))
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	for i, r := range runes {
		if unicode.IsControl(r) {
			runes[i] = ' '
		}
	}
	return `"` + string(runes) + `"`
}
