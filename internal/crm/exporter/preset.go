package exporter

import (
	"errors"
	"strconv"
	"strings"
)

// Preset is a program whose header the columns of CSV have.
type Preset string

// The presets. What a contact has beside them is not in such a file.
const (
	PresetGoogle  Preset = "google"
	PresetOutlook Preset = "outlook"
)

// Presets returns all presets.
func Presets() []Preset { return []Preset{PresetGoogle, PresetOutlook} }

// errNobody says that a table has no column by which a person is known.
var errNobody = errors.New("the table has no column email, phone or name")

// presetEncoder writes CSV for another program.
type presetEncoder struct {
	preset Preset
	csv    csvEncoder
	people people
	line   [][]byte
}

// How many addresses and numbers have columns.
const (
	presetEmails = 3
	presetPhones = 4
)

func (e *presetEncoder) begin(columns []Column) error {
	if e.people = newPeople(columns); !e.people.known() {
		return errNobody
	}
	names := []string{"First Name", "Last Name"}
	if e.preset == PresetGoogle {
		names = append(names, "Organization Name")
		for i := range presetEmails {
			at := "E-mail " + strconv.Itoa(i+1)
			names = append(names, at+" - Label", at+" - Value")
		}
		for i := range presetPhones {
			at := "Phone " + strconv.Itoa(i+1)
			names = append(names, at+" - Label", at+" - Value")
		}
	} else {
		names = append(names, "Company", "E-mail Address", "E-mail 2 Address", "E-mail 3 Address", "Primary Phone",
			"Mobile Phone", "Business Phone", "Home Phone")
	}
	header := make([]Column, len(names))
	for i, name := range names {
		header[i] = Column{Name: name}
		if strings.Contains(name, "Phone") {
			header[i].Kind = dialled
		}
	}
	return e.csv.begin(header)
}

func (e *presetEncoder) row(texts [][]byte) error {
	p := e.people.of(texts)
	first, last := p.parts()
	e.line = e.line[:0]
	e.add(first, last, p.company)
	e.several(p.emails, presetEmails)
	e.several(p.phones, presetPhones)
	return e.csv.row(e.line)
}

func (e *presetEncoder) several(values []labelled, n int) {
	for i := range n {
		var v labelled
		if i < len(values) {
			v = values[i]
		}
		if e.preset == PresetGoogle {
			e.add(v.Type)
		}
		e.add(v.Value)
	}
}

func (e *presetEncoder) add(values ...string) {
	for _, v := range values {
		if v == "" {
			e.line = append(e.line, nil)
			continue
		}
		e.line = append(e.line, []byte(v))
	}
}

func (e *presetEncoder) end() error { return nil }
