package importer

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode"

	"github.com/crmctl/crmctl/internal/tabular"
)

// contact is one row as it goes to the database. Empty means null. Its slices
// are valid until the next row.
type contact struct {
	email, phone, name, company []byte
	metadata                    []byte // a JSON object of strings
	createdAt                   int64  // microseconds since 2000, if hasCreatedAt
	hasCreatedAt                bool
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

	cells   [][]byte // of the current row, empty where the value means nothing
	chosen  []bool   // columns whose value became a field as a whole
	scratch []byte
	json    []byte
}

func newConverter(m *mapping, o Options) *converter {
	c := &converter{
		columns: m.columns,
		keys:    make([][]byte, len(m.columns)),
		email:   m.sources[FieldEmail], phone: m.sources[FieldPhone], name: m.sources[FieldName], company: m.sources[FieldCompany],
		first: m.sources[FieldFirstName], last: m.sources[FieldLastName], created: m.sources[FieldCreatedAt],
		rejectShort: o.RejectShortRows,
		limits:      o.Limits,
		cells:       make([][]byte, len(m.columns)),
		chosen:      make([]bool, len(m.columns)),
	}
	for i, column := range m.columns {
		if column.Key != "" {
			c.keys[i] = append(appendJSONString(nil, []byte(column.Key)), ':')
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

// convert makes a contact of a row, or says why it cannot.
func (c *converter) convert(rec *tabular.Record) (contact, *rejection) {
	if rec.Problem != tabular.None {
		return contact{}, c.unreadable(rec)
	}
	if r := c.spread(rec.Fields); r != nil {
		return contact{}, r
	}
	clear(c.chosen)
	c.scratch = c.scratch[:0]
	var out contact
	if i := c.choose(c.email); i >= 0 {
		start := len(c.scratch)
		var ok bool
		if c.scratch, ok = appendEmail(c.scratch, firstValue(c.cells[i])); !ok {
			return contact{}, c.reject(RejectBadEmail, i, "%s is not an e-mail address", shorten(c.cells[i]))
		}
		out.email = c.scratch[start:]
	}
	if i := c.choose(c.phone); i >= 0 {
		start := len(c.scratch)
		var ok bool
		if c.scratch, ok = appendPhone(c.scratch, firstValue(c.cells[i])); !ok {
			return contact{}, c.reject(RejectLongPhone, i, "a phone number of more than %d bytes", maxPhone)
		}
		out.phone = c.scratch[start:]
	}
	if i := c.choose(c.company); i >= 0 {
		out.company = trimBlanks(c.cells[i])
	}
	out.name = c.fullName()
	if i := c.choose(c.created); i >= 0 {
		t, ok := parseTime(c.cells[i])
		if !ok {
			return contact{}, c.reject(RejectBadCreatedAt, i, "%s is not a time like 2026-11-23 or 2026-11-23T20:15:04Z", shorten(c.cells[i]))
		}
		out.createdAt, out.hasCreatedAt = microseconds(t), true
	}
	if len(out.email) == 0 && len(out.phone) == 0 && len(out.name) == 0 && len(out.company) == 0 {
		return contact{}, &rejection{code: RejectEmpty, message: "neither an e-mail address nor a phone number, a name or a company"}
	}
	out.metadata = c.metadata()
	return out, nil
}

// spread lays the cells of a row under the columns and takes out what means
// nothing.
func (c *converter) spread(fields [][]byte) *rejection {
	if n := len(c.columns); len(fields) > n {
		for _, cell := range fields[n:] {
			if len(trimAll(cell)) > 0 {
				return &rejection{code: RejectTooManyColumns, message: fmt.Sprintf("%d columns where the header has %d", len(fields), n)}
			}
		}
		fields = fields[:n]
	}
	if len(fields) < len(c.columns) && c.rejectShort {
		return &rejection{code: RejectTooFewColumns, message: fmt.Sprintf("%d columns where the header has %d", len(fields), len(c.columns))}
	}
	n := copy(c.cells, fields)
	clear(c.cells[n:])
	for i, cell := range c.cells[:n] {
		if len(cell) == 0 {
			continue
		}
		if cell[0] <= ' ' || cell[0] >= 0x80 || len(c.nulls) > 0 {
			trimmed := trimAll(cell)
			if len(trimmed) == 0 || c.isNull(trimmed) {
				c.cells[i] = nil
			}
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
			// Further values in the cell stay in metadata with it.
			c.chosen[i] = !bytes.Contains(c.cells[i], []byte(googleSeparator))
			return i
		}
	}
	return -1
}

// fullName returns the name, or the first and last name put together. Those
// stay in metadata either way.
func (c *converter) fullName() []byte {
	if i := c.choose(c.name); i >= 0 {
		c.chosen[i] = true
		return trimBlanks(c.cells[i])
	}
	first, last := c.choose(c.first), c.choose(c.last)
	start := len(c.scratch)
	if first >= 0 {
		c.chosen[first] = false
		c.scratch = append(c.scratch, trimBlanks(c.cells[first])...)
	}
	if last >= 0 {
		c.chosen[last] = false
		if len(c.scratch) > start {
			c.scratch = append(c.scratch, ' ')
		}
		c.scratch = append(c.scratch, trimBlanks(c.cells[last])...)
	}
	return c.scratch[start:]
}

// metadata returns everything that became no field, as a JSON object.
func (c *converter) metadata() []byte {
	json := append(c.json[:0], '{')
	for i, cell := range c.cells {
		if len(cell) == 0 || c.chosen[i] || c.keys[i] == nil {
			continue
		}
		if len(json) > 1 {
			json = append(json, ',')
		}
		json = append(json, c.keys[i]...)
		json = appendJSONString(json, cell)
	}
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
