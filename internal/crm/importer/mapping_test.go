package importer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/tabular"
)

// shown returns a mapping as "Header -> field" and, for metadata, the key.
func shown(m *mapping) string {
	var parts []string
	for _, c := range m.columns {
		to := string(c.Field)
		if c.Field == FieldMetadata {
			to += "." + c.Key
		}
		parts = append(parts, c.Header+" -> "+to)
	}
	return strings.Join(parts, ", ")
}

func TestMapping(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		header  string // separated by |
		ask     []string
		want    string
		sources map[Field][]int // where the order matters
	}{
		{name: "plain", header: "email|phone|name|company|city",
			want: "email -> email, phone -> phone, name -> name, company -> company, city -> metadata.city"},
		{name: "those whom the rows are about", header: "Subscriber Name|User Email|Lead Phone|Lead Owner",
			want: "Subscriber Name -> name, User Email -> email, Lead Phone -> phone, Lead Owner -> metadata.Lead Owner"},
		{name: "names of several people", header: "Student Name|Tenant Name|Email",
			want: "Student Name -> metadata.Student Name, Tenant Name -> metadata.Tenant Name, Email -> email"},
		{name: "parts of a name", header: "Attendee First Name|Attendee Last Name|Attendee Email",
			want: "Attendee First Name -> first_name, Attendee Last Name -> last_name, Attendee Email -> email"},
		{name: "spelling", header: "E-Mail|PHONE NUMBER|full_name|Company Name",
			want: "E-Mail -> email, PHONE NUMBER -> phone, full_name -> name, Company Name -> company"},
		{
			name: "google",
			header: "Name|Given Name|Family Name|E-mail 2 - Value|E-mail 1 - Type|E-mail 1 - Value|Phone 1 - Type|Phone 1 - " +
				"Value|Organization 1 - Name|Organization 1 - Title|Organization 2 - Name",
			want: "Name -> name, Given Name -> first_name, Family Name -> last_name, E-mail 2 - Value -> email, E-mail 1 - " +
				"Type -> metadata.E-mail 1 - Type, E-mail 1 - Value -> email, Phone 1 - Type -> metadata.Phone 1 - Type, Phone 1 " +
				"- Value -> phone, Organization 1 - Name -> company, Organization 1 - Title -> metadata.Organization 1 - Title, " +
				"Organization 2 - Name -> metadata.Organization 2 - Name",
			sources: map[Field][]int{FieldEmail: {5, 3}},
		},
		{
			name: "outlook",
			header: "First Name|Last Name|Company|Business Fax|Home Phone|Home Phone 2|Mobile Phone|E-mail 2 Address|E-mail " +
				"Address|Pager|E-mail Display Name",
			want: "First Name -> first_name, Last Name -> last_name, Company -> company, Business Fax -> metadata.Business " +
				"Fax, Home Phone -> phone, Home Phone 2 -> phone, Mobile Phone -> phone, E-mail 2 Address -> email, E-mail " +
				"Address -> email, Pager -> metadata.Pager, E-mail Display Name -> metadata.E-mail Display Name",
			sources: map[Field][]int{FieldEmail: {8, 7}, FieldPhone: {6, 4, 5}},
		},
		{
			name: "hubspot", header: "Record ID|First Name|Email|Phone Number|Contact owner|Associated Company|Last Activity " +
				"Date|Unsubscribed from all email",
			want: "Record ID -> metadata.Record ID, First Name -> first_name, Email -> email, Phone Number -> phone, Contact " +
				"owner -> metadata.Contact owner, Associated Company -> company, Last Activity Date -> metadata.Last Activity " +
				"Date, Unsubscribed from all email -> metadata.Unsubscribed from all email",
		},
		{
			name: "salesforce", header: "Contact1 First Name|Contact1 Last Name|Contact1 Work Email|Contact1 Preferred " +
				"Email|Contact2 Work Email|Account1 Name|Donation Name",
			want: "Contact1 First Name -> first_name, Contact1 Last Name -> last_name, Contact1 Work Email -> email, Contact1 " +
				"Preferred Email -> metadata.Contact1 Preferred Email, Contact2 Work Email -> metadata.Contact2 Work Email, " +
				"Account1 Name -> company, Donation Name -> metadata.Donation Name",
		},
		{
			name: "salesforce's own names", header: "NPSP__CONTACT1_FIRSTNAME__C|NPSP__CONTACT1_PERSONAL_EMAIL__C|NPSP__HOME_CITY__C",
			want: "NPSP__CONTACT1_FIRSTNAME__C -> first_name, NPSP__CONTACT1_PERSONAL_EMAIL__C -> email, NPSP__HOME_CITY__C " +
				"-> metadata.NPSP__HOME_CITY__C",
		},
		{
			name: "a guess", header: "Organization name|Security contact email|State",
			want: "Organization name -> company, Security contact email -> email, State -> metadata.State",
		},
		{name: "no guess beside a synonym", header: "Email|Billing email|Owner email",
			want: "Email -> email, Billing email -> metadata.Billing email, Owner email -> metadata.Owner email"},
		{name: "asked wins", header: "Email|Work mail|Name", ask: []string{"Work mail=email"},
			want: "Email -> metadata.Email, Work mail -> email, Name -> name"},
		{
			name: "asked in order", header: "A|B|C", ask: []string{"c=email", "a=email", "B=-"},
			want:    "A -> email, B -> -, C -> email",
			sources: map[Field][]int{FieldEmail: {2, 0}},
		},
		{name: "metadata keys", header: "Email|A|B|C", ask: []string{"A=metadata.x.y", "B=metadata", "C=skip"},
			want: "Email -> email, A -> metadata.x.y, B -> metadata.B, C -> -"},
		{name: "equals sign in a header", header: "Email|a=b", ask: []string{"a=b=phone"},
			want: "Email -> email, a=b -> phone"},
		{name: "email out of it", header: "Email|Name", ask: []string{"Email=metadata"},
			want: "Email -> metadata.Email, Name -> name"},
		{name: "reject file", header: "Email|Notes|_line|_column|_code|_message",
			want: "Email -> email, Notes -> metadata.Notes, _line -> -, _column -> -, _code -> -, _message -> -"},
		{name: "german", header: "Vorname|Nachname|E-Mail-Adresse|Telefon|Firma",
			want: "Vorname -> first_name, Nachname -> last_name, E-Mail-Adresse -> email, Telefon -> phone, Firma -> company"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requests, err := parseRequests(tt.ask)
			if err != nil {
				t.Fatal(err)
			}
			m, err := newMapping(tabular.Format{Header: strings.Split(tt.header, "|"), Delimiter: ','}, nil, requests, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := shown(m); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			for field, want := range tt.sources {
				if fmt.Sprint(m.sources[field]) != fmt.Sprint(want) {
					t.Errorf("order of %s: got %v, want %v", field, m.sources[field], want)
				}
			}
			keys := map[string]bool{}
			for _, c := range m.columns {
				if c.Key != "" && keys[c.Key] {
					t.Errorf("metadata key %q is used twice", c.Key)
				}
				keys[c.Key] = true
			}
		})
	}
}

func TestMappingKeysAreUnique(t *testing.T) {
	t.Parallel()
	m, err := newMapping(tabular.Format{Header: []string{"First Name", "first_name", "Email"}}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.columns[0].Key == m.columns[1].Key {
		t.Errorf("both first names go to %q", m.columns[0].Key)
	}
}

func TestMappingRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		ask          []string
		want         string
	}{
		{"no such column", "E-mail|Name", []string{"E-mial=email"},
			`the file has no column "E-mial" (it has "E-mail", "Name"); did you mean "E-mail"?`},
		{"no such field", "A|Name", []string{"A=emial"},
			`mapping "A=emial": there is no field "emial" (email, phone, name, first_name, last_name, company, created_at, external_id, metadata, metadata.KEY, -); did you mean "email"?`},
		{"no field", "A|Name", []string{"A"}, `mapping "A" is not of the form Header=field`},
		{"twice", "A|Name", []string{"A=email", "a=phone"}, `column "A" is mapped twice`},
		{"ambiguous", "a b|A-B|Name", []string{"ab=email"}, `"ab" can mean the columns "a b" and "A-B"`},
		{"same key", "Email|A|B", []string{"A=metadata.x", "B=metadata.x"}, `columns "A" and "B" both go to metadata.x`},
		{"nothing known", "Stadt|Land", nil, `no column holds an e-mail address, a phone number, a name or a company by its header: "Stadt", "Land"`},
		{"one column", "name,email,phone", nil, `the file has only one column, "name,email,phone", which is none of e-mail address, phone, name and company; is ';' its delimiter?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requests, err := parseRequests(tt.ask)
			if err == nil {
				_, err = newMapping(tabular.Format{Header: strings.Split(tt.header, "|"), Delimiter: ';'}, nil, requests, nil)
			}
			var mappingErr *MappingError
			if !errors.As(err, &mappingErr) || err.Error() != tt.want {
				t.Errorf("\n got %v\nwant %s", err, tt.want)
			}
		})
	}
}
