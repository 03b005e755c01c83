package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// recognize maps by name and by value what nobody asked for. A field that was
// asked for takes no further columns. What is to be the key must be beyond doubt:
// otherwise the error asks.
func (m *mapping) recognize() error {
	asked := map[Field]bool{}
	for field := range m.sources {
		asked[field] = true
	}
	found := m.findByName()
	m.resolveNames(found)
	ranks := map[int]int{}
	for i, f := range found {
		c := &m.columns[i]
		if !storable(f.field) || f.field == FieldEmail || c.Asked || c.Field != FieldMetadata || asked[f.field] {
			continue
		}
		if m.looks[i].holdsAddresses() {
			continue // whatever the header says, these are addresses
		}
		if m.nothing != "" && squeeze(c.Header) == m.nothing {
			c.Why = "no field of a contact in an export of " + m.preset
			continue
		}
		if isName(f.field) && m.looks[i].isNoName() {
			c.Why = "its header is that of a name, but these are none"
			continue
		}
		c.Kind, c.Why = f.kind, "its header"
		ranks[i] = f.rank
		m.assign(i, f.field)
	}
	m.guessNames(asked)
	m.guessPhones(found, asked, ranks)
	if !asked[FieldEmail] {
		if err := m.chooseEmail(found, ranks); err != nil {
			return err
		}
	}
	for field := range m.sources {
		if !asked[field] {
			slices.SortStableFunc(m.sources[field], func(a, b int) int { return cmp.Compare(ranks[a], ranks[b]) })
		}
	}
	return nil
}

// storable reports whether a field of the table of headers is one of a contact.
func storable(f Field) bool {
	return f != headerForeign && f != headerKnown && f != FieldCreatedAt && f != ""
}

// isName reports whether a field is a name of a person or a part of one.
func isName(f Field) bool { return f == FieldName || f == FieldFirstName || f == FieldLastName }

// findByName looks every header up.
func (m *mapping) findByName() []recognized {
	r := newRecognizer()
	found := make([]recognized, len(m.columns))
	for i, c := range m.columns {
		found[i], _ = r.find(c.Header)
	}
	return found
}

// resolveNames decides about headers that are a part of the name beside its other
// part and the whole name alone: "Nombre" beside "Apellidos", "Nom" beside
// "Prénom", "Name" beside "Vorname".
func (m *mapping) resolveNames(found []recognized) {
	has := func(field Field) bool {
		return slices.ContainsFunc(found, func(f recognized) bool { return f.field == field })
	}
	first, last := has(FieldFirstName), has(FieldLastName)
	for i := range found {
		switch found[i].field {
		case headerGiven:
			found[i].field = FieldName
			if last && !first {
				found[i].field = FieldFirstName
			}
		case headerFamily:
			found[i].field = FieldName
			if first && !last {
				found[i].field = FieldLastName
			}
		case FieldName:
			if first && !last && squeeze(m.columns[i].Header) == "name" {
				found[i].field = FieldLastName
			}
		}
	}
}

// guessNames takes the columns whose headers speak of the name of those whom the rows may be
// about, "Subscriber Name" or "Attendee First Name", when there is no other name and they are
// one kind of people.
func (m *mapping) guessNames(asked map[Field]bool) {
	names := []Field{FieldName, FieldFirstName, FieldLastName}
	if slices.ContainsFunc(names, func(f Field) bool { return asked[f] || len(m.sources[f]) > 0 }) {
		return
	}
	found, people := map[int]Field{}, map[string]bool{}
	for i := range m.columns {
		c := &m.columns[i]
		field, who := speaksOfName(c.Header)
		if field == "" || c.Asked || c.Field != FieldMetadata || m.looks[i].isNoName() || m.looks[i].holdsAddresses() {
			continue
		}
		found[i], people[who] = field, true
	}
	if len(people) != 1 {
		return
	}
	for i := range m.columns {
		if field, ok := found[i]; ok {
			m.columns[i].Why = "its header speaks of a name"
			m.assign(i, field)
		}
	}
}

// guessedRank is that of a column that was found by the words of its header, beside others
// that are synonyms.
const guessedRank = 1 << 30

// guessPhones takes the columns whose headers speak of the contact's own number in words no
// synonym has: any where there is no other, and besides others those that hold numbers.
func (m *mapping) guessPhones(found []recognized, asked map[Field]bool, ranks map[int]int) {
	if asked[FieldPhone] {
		return
	}
	others := len(m.sources[FieldPhone]) > 0
	for i := range m.columns {
		c := &m.columns[i]
		if c.Asked || c.Field != FieldMetadata || found[i].field != "" || m.looks[i].holdsAddresses() {
			continue
		}
		field, of, _ := speaks(c.Header)
		if field == FieldPhone && (of == ownerContact || of == ownerSubject && !others) &&
			(!others || m.looks[i].class == ClassPhone) {
			c.Why, ranks[i] = "its header speaks of a number", guessedRank
			m.assign(i, FieldPhone)
		}
	}
}

// chooseEmail finds the columns of the contact's own address, the merge key.
func (m *mapping) chooseEmail(found []recognized, ranks map[int]int) error {
	var named, own, subjects, doubt, other []int
	subject := map[string]bool{}
	for i, c := range m.columns {
		if c.Asked || c.Field != FieldMetadata {
			continue
		}
		addresses := m.looks[i].holdsAddresses()
		if found[i].field == FieldEmail {
			named = append(named, i)
			continue
		}
		if found[i].field == headerForeign || found[i].field == headerKnown {
			if addresses {
				other = append(other, i)
			}
			continue
		}
		field, of, who := speaks(c.Header)
		switch {
		case of == ownerOther && addresses:
			other = append(other, i)
		case of == ownerOther || !addresses && (field != FieldEmail || m.looks[i].filled > 0):
		case field == FieldEmail && of == ownerContact:
			own = append(own, i)
		case field == FieldEmail && of == ownerSubject:
			subjects, subject[who] = append(subjects, i), true
		case addresses:
			doubt = append(doubt, i)
		}
	}
	for _, i := range other {
		m.columns[i].Why = "addresses, but other people's by its header"
	}
	for _, i := range doubt {
		m.columns[i].Why = "addresses, but its header does not say whose"
	}
	holds := func(i int) bool { return m.looks[i].holdsAddresses() }
	if slices.ContainsFunc(named, holds) {
		// A column called "Email" that holds something else is not it.
		named = slices.DeleteFunc(named, func(i int) bool { return m.looks[i].filled > 0 && m.looks[i].address == 0 })
	}
	wrong := slices.DeleteFunc(slices.Clone(named), func(i int) bool { return m.looks[i].address > 0 })
	elsewhere := slices.ContainsFunc(slices.Concat(own, subjects, doubt), holds)
	switch {
	case len(named) > 0 && len(wrong) == len(named) && elsewhere:
		return m.askForEmail(slices.Concat(named, own, subjects, doubt, other),
			"the column called e-mail holds no addresses, but another does")
	case len(named) > 0:
		m.takeEmail(named, found, ranks, "its header")
		return nil
	case len(doubt) > 0, len(own) > 0 && len(subjects) > 0, len(subject) > 1:
		return m.askForEmail(slices.Concat(own, subjects, doubt, other),
			"no column is beyond doubt the contact's own e-mail address")
	case len(own)+len(subjects) > 0:
		m.takeEmail(append(own, subjects...), found, ranks, "its header speaks of an address")
		return nil
	case len(other) > 0:
		return m.askForEmail(other, "the addresses in the file seem to be other people's")
	}
	return nil
}

func (m *mapping) takeEmail(columns []int, found []recognized, ranks map[int]int, why string) {
	for _, i := range columns {
		c := &m.columns[i]
		c.Kind, c.Why = found[i].kind, why
		ranks[i] = found[i].rank
		m.assign(i, FieldEmail)
	}
}

// askForEmail returns the error that names the columns that may hold the address.
func (m *mapping) askForEmail(columns []int, reason string) error {
	slices.Sort(columns)
	e := &MappingError{Reason: reason, Headers: m.headers(), Field: FieldEmail}
	var parts []string
	for _, i := range columns {
		c := m.columns[i]
		sample := c.Sample
		if m.looks[i].filled == 0 {
			sample = ""
		}
		e.Candidates = append(e.Candidates, Candidate{Header: c.Header, Sample: sample})
		parts = append(parts, fmt.Sprintf("%q (%s)", c.Header, shorten([]byte(sample))))
	}
	e.Reason += ": " + strings.Join(parts[:min(len(parts), 8)], ", ")
	return e
}

func (m *mapping) assign(i int, field Field) {
	m.columns[i].Field = field
	m.sources[field] = append(m.sources[field], i)
}

// findLabels links "E-mail 1 - Value" with "E-mail 1 - Label", or "- Type".
func (m *mapping) findLabels() {
	at := map[string]int{}
	for i, c := range m.columns {
		at[squeeze(c.Header)] = i
	}
	for _, field := range []Field{FieldEmail, FieldPhone} {
		for _, i := range m.sources[field] {
			base, ok := strings.CutSuffix(squeeze(m.columns[i].Header), "value")
			if !ok {
				continue
			}
			for _, name := range []string{base + "label", base + "type"} {
				if j, ok := at[name]; ok && m.columns[j].Field == FieldMetadata && !m.columns[j].Asked {
					m.labels[i] = j
					m.columns[j].Why = "says the kind of " + m.columns[i].Header
				}
			}
		}
	}
}
