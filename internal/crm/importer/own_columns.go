package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// own is how rows go into a table contacts that an application has made itself: its
// columns are filled from the fields of the same name, from the file's columns that are
// called like them, and as it was mapped.
type own struct {
	table   []TableColumn
	primary string           // the column that tells contacts apart
	at      map[Field]string // the table's columns for the address and so on
	columns []ownColumn
	used    []string // keys of metadata that have a column of their own
	rest    int      // columns of the file that go to metadata, for want of one of their own
	noPlace []string // headers of the file that no column of the table takes
	spare   []string // headers whose values are left out where a row has one of their field before
	keep    []int    // columns of the file that are stored by themselves, whatever they became
}

// ownColumn is a column that is written, and what of a folded row f goes there.
type ownColumn struct {
	*TableColumn

	value    string // an expression of the column's type
	bare     string // the text that it is made of, "" for what is never null
	fallback string // what stands in for null in a new contact, "" for nothing
	metadata bool
	created  bool // it keeps the time at which the contact was made
	updated  bool
	field    Field // what it is filled by, if not by one column of the file
	source   int   // the column of the file whose value is looked at, -1 for none
}

// textual reports whether a column takes any text, up to its length.
func (c *TableColumn) textual() bool {
	switch c.Base {
	case "text", "varchar", "bpchar", "citext", "name":
		return true
	}
	return false
}

// timed reports whether a column holds a day or a time.
func (c *TableColumn) timed() bool {
	return c.Base == "timestamp" || c.Base == "timestamptz" || c.Base == "date"
}

// ownTable matches the table's columns with what the file has. Beside an error that asks
// for a column it returns what it found.
func ownTable(table []TableColumn, m *mapping, key Key) (*own, error) {
	o := &own{table: table, at: map[Field]string{}}
	problem := func(format string, args ...any) error {
		return &MappingError{Reason: "the tenant's table contacts, which is an application's own, " +
			fmt.Sprintf(format, args...), Headers: m.headers()}
	}
	var names []string
	for _, c := range table {
		names = append(names, c.Name)
		if c.Primary {
			o.primary = c.Name
		}
	}
	o.findFields()
	placed := map[int]bool{}
	var asked error
	for i := range table {
		c := &table[i]
		if c.Generated {
			continue
		}
		written := o.match(c, m, placed)
		if written.value != "" {
			o.columns = append(o.columns, written)
		} else if c.Missing() && asked == nil {
			asked = askForColumn(c, m)
		}
	}
	if o.keepsRest() {
		o.rest = m.rest(placed)
	} else {
		for i, column := range m.columns {
			if column.Field != FieldSkip && !placed[i] {
				o.noPlace = append(o.noPlace, column.Header)
			}
		}
		for _, field := range []Field{FieldEmail, FieldPhone, FieldCompany} {
			for n, i := range m.sources[field] {
				if n > 0 && placed[i] {
					o.spare = append(o.spare, m.columns[i].Header)
				}
			}
		}
	}
	if o.primary == "" {
		return o, problem("has no primary key of one column")
	}
	for name := range strings.SplitSeq(string(key), ",") {
		if o.at[Field(name)] == "" {
			return o, problem("has no column %s, by which a contact would be known (it has %s)", name,
				strings.Join(names, ", "))
		}
	}
	return o, asked
}

// askForColumn returns the error that asks which column of the file fills c.
func askForColumn(c *TableColumn, m *mapping) error {
	e := &MappingError{
		Reason: fmt.Sprintf("the tenant's table contacts needs a value for its column %s (%s), and no column of the "+
			"file has it", c.Name, c.Type),
		Headers: m.headers(), Field: Field(c.Name),
	}
	for _, column := range m.columns {
		if column.Field == FieldMetadata && !column.Asked {
			e.Candidates = append(e.Candidates, Candidate{Header: column.Header, Sample: column.Sample})
		}
	}
	return e
}

// findFields finds the table's columns for the fields of a contact: those with the
// field's name, or else those with a name that a header might have, "phone_number".
func (o *own) findFields() {
	names := newRecognizer()
	ranks := map[Field]int{}
	for i := range o.table {
		c := &o.table[i]
		if c.Name == externalID {
			o.at[Field(externalID)] = c.Name
		}
		found, ok := names.find(c.Name)
		if !ok || !c.textual() {
			continue
		}
		if found.field == headerGiven || found.field == headerFamily {
			found.field = FieldName
		}
		rank := found.rank
		if c.Name == string(found.field) {
			rank = -1
		}
		switch found.field {
		case FieldEmail, FieldPhone, FieldName, FieldFirstName, FieldLastName, FieldCompany:
			if best, taken := ranks[found.field]; !taken || rank < best {
				ranks[found.field], o.at[found.field] = rank, c.Name
			}
		}
	}
}

func (o *own) keepsRest() bool {
	return slices.ContainsFunc(o.columns, func(c ownColumn) bool { return c.metadata })
}

// match finds what fills a column of the table; its value is "" where nothing does.
func (o *own) match(c *TableColumn, m *mapping, placed map[int]bool) ownColumn {
	w := ownColumn{TableColumn: c, source: -1}
	switch {
	case c.Name == o.primary && c.Base == "uuid":
		w.value, c.Fills = "f.id", "an identifier of the import's"
	case squeeze(c.Name) == "createdat" && c.timed():
		w.created = true
		w.value, c.Fills = "coalesce(f.created_at, pg_catalog.now())::"+c.Cast, "the time of the import"
		o.take(&w, m, placed, FieldCreatedAt)
	case squeeze(c.Name) == "updatedat" && c.timed():
		w.updated = true
		w.value, c.Fills = "pg_catalog.now()::"+c.Cast, "the time of the import"
	case c.Name == string(FieldMetadata) && c.Base == "jsonb":
		w.value, w.metadata = "(f.metadata operator(pg_catalog.-) $1::pg_catalog.text[])", true
		c.Fills = "what has no column"
	case o.asked(&w, m, placed), o.byField(&w, m, placed), o.byName(&w, m, placed):
		w.fallback = constantDefault(c)
	}
	return w
}

// asked takes the file's column that was mapped to the table's by name.
func (o *own) asked(w *ownColumn, m *mapping, placed map[int]bool) bool {
	for i, column := range m.columns {
		if column.Asked && column.Field == FieldMetadata && column.Key == w.Name {
			o.store(w, m, placed, i)
			return true
		}
	}
	return false
}

// byField takes a field of the contact.
func (o *own) byField(w *ownColumn, m *mapping, placed map[int]bool) bool {
	for _, field := range []Field{FieldEmail, FieldPhone, FieldCompany, FieldName} {
		if o.at[field] == w.Name && o.take(w, m, placed, field) {
			w.bare = "f." + string(field)
			w.value = w.bare + "::" + w.Cast
			return true
		}
	}
	for _, field := range []Field{FieldFirstName, FieldLastName} {
		if columns := m.sources[field]; o.at[field] == w.Name && len(columns) > 0 && w.Name != o.primary {
			o.store(w, m, placed, columns[0])
			return true
		}
	}
	return false
}

// take notes that the columns of a field have a place, and reports whether there are any.
func (o *own) take(w *ownColumn, m *mapping, placed map[int]bool, field Field) bool {
	columns := m.sources[field]
	if field == FieldName {
		columns = slices.Concat(columns, m.sources[FieldFirstName], m.sources[FieldLastName])
	}
	for _, i := range columns {
		placed[i] = true
		w.From = append(w.From, m.columns[i].Header)
	}
	if len(columns) > 0 {
		w.field, w.source = field, columns[0]
	}
	return len(columns) > 0
}

// byName takes the file's column that is called like the table's.
func (o *own) byName(w *ownColumn, m *mapping, placed map[int]bool) bool {
	for i, column := range m.columns {
		if column.Key == "" || squeeze(column.Key) != squeeze(w.Name) && squeeze(column.Header) != squeeze(w.Name) {
			continue
		}
		if w.Name == o.primary {
			continue // another program's numbers are no keys here
		}
		o.store(w, m, placed, i)
		return true
	}
	return false
}

// store takes the value of a column of the file as it came.
func (o *own) store(w *ownColumn, m *mapping, placed map[int]bool, i int) {
	column := m.columns[i]
	placed[i], w.source = true, i
	w.From = append(w.From, column.Header)
	o.used, o.keep = append(o.used, column.Key), append(o.keep, i)
	w.bare = "(f.metadata operator(pg_catalog.->>) " + db.Literal(column.Key) + ")"
	w.value = w.bare + "::" + w.Cast
	if !w.textual() {
		w.value = "pg_catalog.btrim" + w.value
	}
}

// constants are the defaults that are the same for every row.
var constants = regexp.MustCompile(`^(?:'((?:[^']|'')*)'|(-?[0-9.]+|true|false))(?:::[^()]*(?:\([0-9, ]*\))?)?$`)

// constantDefault returns the default of a column that must have a value, where it is a
// constant or the time of day.
func constantDefault(c *TableColumn) string {
	if !c.NotNull || c.Default == "" {
		return ""
	}
	if c.Default == "now()" || c.Default == "CURRENT_TIMESTAMP" {
		return "pg_catalog.now()::" + c.Cast
	}
	m := constants.FindStringSubmatch(c.Default)
	switch {
	case m == nil:
		return ""
	case m[2] != "":
		return db.Literal(m[2]) + "::" + c.Cast
	}
	return db.Literal(strings.ReplaceAll(m[1], "''", "'")) + "::" + c.Cast
}
