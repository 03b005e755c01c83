package importer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/suggest"
	"github.com/crmctl/crmctl/internal/tabular"
)

// The columns a reject file adds to those of the original. They are passed over
// when the mended file is imported.
const (
	rejectLineColumn    = "_line"
	rejectColumnColumn  = "_column"
	rejectCodeColumn    = "_code"
	rejectMessageColumn = "_message"
)

// rejectColumns in the order they are written.
func rejectColumns() []string {
	return []string{rejectLineColumn, rejectColumnColumn, rejectCodeColumn, rejectMessageColumn}
}

// acceptColumns are what a file of accepted rows adds, in the order they are written.
func acceptColumns() []string { return []string{rejectLineColumn, "_id", "_result"} }

// ownColumns returns the columns of a header that a file of ours has added: those of a
// reject file, of accepted rows, or none, wherever they stand by now.
func ownColumns(header []string) []string {
	var ours []string
	for _, added := range [][]string{rejectColumns(), acceptColumns()} {
		if !slices.ContainsFunc(added, func(name string) bool { return !slices.Contains(header, name) }) {
			ours = append(ours, added...)
		}
	}
	return ours
}

// hasOwnColumns reports whether a file of ours has added columns to a header.
func hasOwnColumns(header []string) bool { return len(ownColumns(header)) > 0 }

// fields that --map can name, for errors.
var mapFields = []string{
	string(FieldEmail), string(FieldPhone), string(FieldName), string(FieldFirstName), string(FieldLastName),
	string(FieldCompany),
	string(FieldCreatedAt), externalID, string(FieldMetadata), "metadata.KEY", string(FieldSkip),
}

// mapping says where each column goes.
type mapping struct {
	columns []ColumnPlan
	// sources are the columns of each field, the preferred first.
	sources map[Field][]int
	labels  map[int]int // the column that says what kind of address or number is in another
	looks   []look
	preset  string        // the program the file is of, "" for none that is known
	nothing string        // a squeezed header that is no field there, or ""
	lenient bool          // a time that cannot be read stays in metadata
	exact   *exactColumns // of a file that this program has written, nil for others
	guarded bool          // and it is CSV
}

// request is one "Header=field" of the options.
type request struct {
	header string
	field  Field
	key    string // of metadata, "" for the header's name

	optional bool // the file need not have the column
}

func parseRequests(pairs []string, columns ...string) ([]request, error) {
	requests := make([]request, 0, len(pairs))
	for _, pair := range pairs {
		r, err := parseRequest(pair, columns...)
		if err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	return requests, nil
}

func parseRequest(pair string, columns ...string) (request, error) {
	i := strings.LastIndexByte(pair, '=')
	if at := strings.LastIndex(pair, "=metadata."); at > 0 {
		i = at // a key may hold the sign as well
	}
	if i <= 0 {
		return request{}, &MappingError{Reason: fmt.Sprintf("mapping %q is not of the form Header=field", pair)}
	}
	r := request{header: strings.TrimSpace(pair[:i])}
	name := strings.TrimSpace(pair[i+1:])
	key, isKey := strings.CutPrefix(name, "metadata.")
	switch {
	case isKey && key != "":
		r.field, r.key = FieldMetadata, key
	case name == externalID:
		r.field, r.key = FieldMetadata, externalID
	case slices.Contains(columns, name) && !slices.Contains(mapFields, name):
		r.field, r.key = FieldMetadata, name
	case name == "skip":
		r.field = FieldSkip
	case slices.Contains(mapFields, name):
		r.field = Field(name)
	default:
		return request{}, &MappingError{
			Reason:     fmt.Sprintf("mapping %q: there is no field %q (%s)", pair, name, strings.Join(mapFields, ", ")),
			Suggestion: suggest.Nearest(name, mapFields),
		}
	}
	return r, nil
}

// knownHeader returns the test that finds the header row.
func knownHeader(requests []request) func(string) bool {
	r := newRecognizer()
	return func(header string) bool {
		if _, ok := r.find(header); ok {
			return true
		}
		if field, of, _ := speaks(header); field != "" && (of == ownerContact || of == ownerSubject) {
			return true
		}
		return slices.ContainsFunc(requests, func(q request) bool {
			return squeeze(q.header) != "" && squeeze(q.header) == squeeze(header)
		})
	}
}

// newMapping maps the columns of a file: as asked first, then by their names and
// by what the sample's rows hold in them, the rest to metadata.
func newMapping(format tabular.Format, sample [][]string, requests []request, nulls []string) (*mapping, error) {
	m := &mapping{columns: make([]ColumnPlan, len(format.Header)), sources: map[Field][]int{}, labels: map[int]int{}}
	for i, header := range format.Header {
		m.columns[i] = ColumnPlan{Header: header, Field: FieldMetadata, Key: header, Why: "no field has this header"}
	}
	m.look(sample, nulls)
	if err := m.apply(requests); err != nil {
		return nil, err
	}
	m.passOverOwnColumns()
	if err := m.refuseTenants(); err != nil {
		return nil, err
	}
	if m.mapExact(format.Kind) {
		m.guarded = format.Kind == tabular.CSV
		m.setKeys()
		return m, nil
	}
	m.applyPreset(format.Kind)
	if err := m.recognize(); err != nil {
		return m, err
	}
	m.findLabels()
	m.rank()
	m.setKeys()
	if err := m.check(format); err != nil {
		return nil, err
	}
	return m, nil
}

// rank numbers the columns of a field, the preferred first.
func (m *mapping) rank() {
	for _, columns := range m.sources {
		for n, i := range columns {
			m.columns[i].Rank = n
		}
	}
}

// look judges the columns by the values of the sample.
func (m *mapping) look(sample [][]string, nulls []string) {
	m.looks = make([]look, len(m.columns))
	isNull := func(v string) bool { return slices.Contains(nulls, v) }
	values := make([]string, 0, len(sample))
	for i := range m.columns {
		values = values[:0]
		for _, row := range sample {
			if i < len(row) {
				values = append(values, row[i])
			}
		}
		m.looks[i] = classify(values, isNull)
		c := &m.columns[i]
		c.Class, c.Confidence, c.Sample = m.looks[i].class, m.looks[i].share, m.looks[i].sample
	}
}

// passOverOwnColumns leaves out the columns that a file of ours adds, wherever they stand.
func (m *mapping) passOverOwnColumns() {
	own := ownColumns(m.headers())
	for i := range m.columns {
		if c := &m.columns[i]; slices.Contains(own, c.Header) && !c.Asked {
			c.Field, c.Why = FieldSkip, "added by an import"
		}
	}
}

// refuseTenants refuses a file of ours with the contacts of several tenants, which would be
// mixed, unless somebody has said what the names of the tenants are.
func (m *mapping) refuseTenants() error {
	headers := m.headers()
	i := slices.Index(headers, contactfile.Tenant)
	if i < 0 || m.columns[i].Asked || !contactfile.IsOwn(headers) {
		return nil
	}
	return &MappingError{Headers: headers, Reason: fmt.Sprintf("the file is an export of several tenants: column %q says "+
		"whose each contact is, and all of them would go into one; to do that, map it to a key of the metadata or to skip",
		contactfile.Tenant)}
}

// apply maps columns as asked.
func (m *mapping) apply(requests []request) error {
	if len(requests) == 0 {
		return nil
	}
	names := newRecognizer()
	for _, r := range requests {
		i, err := m.column(r.header)
		if r.optional && err != nil {
			continue
		}
		if err != nil {
			return err
		}
		c := &m.columns[i]
		if c.Asked {
			return &MappingError{Reason: fmt.Sprintf("column %q is mapped twice", c.Header), Headers: m.headers()}
		}
		c.Field, c.Asked, c.Why = r.field, true, "asked for"
		if found, ok := names.find(c.Header); ok && found.field == r.field {
			c.Kind = found.kind
		}
		if r.key != "" {
			c.Key = r.key
		}
		m.sources[r.field] = append(m.sources[r.field], i)
	}
	return nil
}

func (m *mapping) headers() []string {
	headers := make([]string, len(m.columns))
	for i, c := range m.columns {
		headers[i] = c.Header
	}
	return headers
}

// column finds a column by its header: exactly, or else without regard to case,
// blanks and punctuation when that fits only one.
func (m *mapping) column(header string) (int, error) {
	headers := m.headers()
	if i := slices.Index(headers, header); i >= 0 {
		return i, nil
	}
	found := -1
	for i, h := range headers {
		if squeeze(h) != squeeze(header) || squeeze(h) == "" {
			continue
		}
		if found >= 0 {
			return 0, &MappingError{Reason: fmt.Sprintf("%q can mean the columns %q and %q", header, headers[found], h),
				Headers: headers}
		}
		found = i
	}
	if found < 0 {
		return 0, missing(header, headers)
	}
	return found, nil
}

// setKeys gives the first and last name their own keys in metadata, where they
// stay beside the name they make, and takes the key from what is left out. Keys
// that nobody asked for are made unique.
func (m *mapping) setKeys() {
	for _, field := range []Field{FieldFirstName, FieldLastName} {
		if columns := m.sources[field]; len(columns) > 0 {
			m.columns[columns[0]].Key = string(field)
		}
	}
	taken := map[string]bool{}
	own := func(c ColumnPlan) bool { return c.Asked || c.Key != c.Header }
	for i, c := range m.columns {
		if c.Field == FieldSkip {
			m.columns[i].Key = ""
		} else if own(c) {
			taken[c.Key] = true
		}
	}
	for i, c := range m.columns {
		if c.Field == FieldSkip || own(c) {
			continue
		}
		for n := 2; taken[m.columns[i].Key]; n++ {
			m.columns[i].Key = fmt.Sprintf("%s (%d)", c.Header, n)
		}
		taken[m.columns[i].Key] = true
	}
}

// freeKey returns a key of metadata that no column has, as JSON.
func (m *mapping) freeKey(name string) []byte {
	key := name
	for n := 2; slices.ContainsFunc(m.columns, func(c ColumnPlan) bool { return c.Key == key }); n++ {
		key = fmt.Sprintf("%s (%d)", name, n)
	}
	return append(contactfile.AppendString(nil, []byte(key)), ':')
}

// check refuses a mapping in which two columns would overwrite each other in
// metadata, or that makes no contacts.
func (m *mapping) check(format tabular.Format) error {
	keys := map[string]string{}
	for _, c := range m.columns {
		if c.Key == "" {
			continue
		}
		if other, taken := keys[c.Key]; taken {
			return &MappingError{Reason: fmt.Sprintf("columns %q and %q both go to metadata.%s", other, c.Header, c.Key),
				Headers: m.headers()}
		}
		keys[c.Key] = c.Header
	}
	for _, field := range []Field{FieldEmail, FieldPhone, FieldName, FieldFirstName, FieldLastName, FieldCompany} {
		if len(m.sources[field]) > 0 {
			return nil
		}
	}
	reason := "no column holds an e-mail address, a phone number, a name or a company by its header: " +
		quoteList(m.headers())
	if len(m.columns) == 1 {
		reason = fmt.Sprintf("the file has only one column, %q, which is none of e-mail address, phone, name and company; "+
			"is %q its delimiter?", m.columns[0].Header, format.Delimiter)
	}
	return &MappingError{Reason: reason, Headers: m.headers()}
}

// quoteList returns the first few names, quoted.
func quoteList(names []string) string {
	const most = 8
	var b strings.Builder
	for i, name := range names[:min(len(names), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	if more := len(names) - most; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
