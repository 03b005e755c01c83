package exporter

import (
	"encoding/json"
	"slices"
	"strings"
)

// person is a contact as other programs know one.
type person struct {
	name, first, last, company string
	derived                    bool // the name is made of something else
	emails, phones             []labelled
}

// labelled is one of several addresses or numbers.
type labelled struct {
	Value string `json:"value"`
	Type  string `json:"type"`
}

// people finds persons in rows.
type people struct{ id, tenant, email, phone, name, first, last, company, metadata, updated, created int }

// newPeople finds the columns, -1 for those that are not there. An application's own table
// may call them otherwise.
func newPeople(columns []Column) people {
	find := func(names ...string) int {
		for _, name := range names {
			if i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name }); i >= 0 {
				return i
			}
		}
		return -1
	}
	return people{
		id: find("id"), tenant: find("tenant"), email: find("email", "email_address", "e_mail", "mail"),
		phone: find("phone", "phone_number", "mobile", "telephone"), name: find("name", "full_name", "display_name"),
		first: find("first_name", "firstname", "given_name"), last: find("last_name", "lastname", "surname", "family_name"),
		company: find("company", "company_name", "organization", "organisation"), metadata: find("metadata"),
		updated: find("updated_at"), created: find("created_at"),
	}
}

// known reports whether there is anything to know somebody by.
func (p people) known() bool {
	return p.email >= 0 || p.phone >= 0 || p.name >= 0 || p.first >= 0 || p.last >= 0
}

func cell(texts [][]byte, i int) string {
	if i < 0 {
		return ""
	}
	return string(texts[i])
}

// of returns the person of a row.
func (p people) of(texts [][]byte) person {
	out := person{name: cell(texts, p.name), first: cell(texts, p.first), last: cell(texts, p.last),
		company: cell(texts, p.company)}
	var more struct {
		First  any             `json:"first_name"`
		Last   any             `json:"last_name"`
		Emails json.RawMessage `json:"emails"`
		Phones json.RawMessage `json:"phones"`
	}
	if p.metadata >= 0 && len(texts[p.metadata]) > len("{}") {
		_ = json.Unmarshal(texts[p.metadata], &more) // it may be anything
	}
	if first, ok := more.First.(string); ok && out.first == "" {
		out.first = first
	}
	if last, ok := more.Last.(string); ok && out.last == "" {
		out.last = last
	}
	out.emails = list(cell(texts, p.email), more.Emails)
	out.phones = list(cell(texts, p.phone), more.Phones)
	if out.name == "" {
		out.name = strings.TrimSpace(out.first + " " + out.last)
	}
	if strings.TrimSpace(out.name) == "" {
		out.derived = true
		switch {
		case out.company != "":
			out.name = out.company
		case len(out.emails) > 0:
			out.name = out.emails[0].Value
		case len(out.phones) > 0:
			out.name = out.phones[0].Value
		default:
			out.name = "?"
		}
	}
	return out
}

// list returns the addresses or numbers of a contact, the one of its column first.
func list(main string, others json.RawMessage) []labelled {
	var out, more []labelled
	if json.Unmarshal(others, &more) != nil {
		more = nil
	}
	if main != "" {
		out = append(out, labelled{Value: main})
	}
	for _, m := range more {
		switch {
		case m.Value == "":
		case len(out) > 0 && m.Value == out[0].Value:
			out[0].Type = m.Type
		default:
			out = append(out, m)
		}
	}
	return out
}

// parts returns the first and the last name. What is not known apart is cut at its last
// blank.
func (p person) parts() (first, last string) {
	if p.derived {
		return "", ""
	}
	if p.first != "" || p.last != "" {
		return p.first, p.last
	}
	if i := strings.LastIndexByte(p.name, ' '); i > 0 {
		return p.name[:i], p.name[i+1:]
	}
	return p.name, ""
}
