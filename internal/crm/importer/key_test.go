package importer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/tabular"
)

// A column becomes the e-mail address only where it is the contact's own beyond
// doubt; otherwise the error names the columns.
func TestKeyIsNotGuessed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		rows         []string
		email        string // headers of the columns taken, or
		asked        string // those asked about
	}{
		{name: "recruiter beside candidate", header: "Recruiter Email|Candidate|Candidate E-mail",
			rows: []string{"max@corp.org|Ann|ann@ex.org"}, email: "Candidate E-mail"},
		{name: "recruiter alone", header: "Recruiter Email|Candidate", rows: []string{"max@corp.org|Ann"},
			asked: "Recruiter Email"},
		{name: "sales rep", header: "Name|Sales Rep Email", rows: []string{"Ann|rep@ex.org"}, asked: "Sales Rep Email"},
		{name: "parent", header: "Student|Parent e-mail|Student e-mail", rows: []string{"Ann|p@ex.org|s@ex.org"},
			email: "Student e-mail"},
		{name: "parent alone", header: "Name|Parent e-mail", rows: []string{"Ann|p@ex.org"}, asked: "Parent e-mail"},
		{name: "a word nobody knows", header: "Name|Buddy Email", rows: []string{"Ann|b@ex.org"}, asked: "Buddy Email"},
		{name: "two subjects", header: "Client Email|Candidate Email", rows: []string{"c@ex.org|a@ex.org"},
			asked: "Client Email|Candidate Email"},
		{name: "own and owner", header: "Email|Contact owner", rows: []string{"a@ex.org|o@ex.org"}, email: "Email"},
		{name: "owner alone", header: "Name|Contact owner", rows: []string{"Ann|o@ex.org"}, asked: "Contact owner"},
		{name: "id", header: "Name|Email ID|Mobile No.", rows: []string{"Ann|a@ex.org|98765"}, email: "Email ID"},
		{name: "in brackets", header: "Name|Email (work)|X", rows: []string{"Ann|a@ex.org|1"}, email: "Email (work)"},
		{name: "camel case", header: "ContactName|PrimaryEmailAddress|X", rows: []string{"Ann|a@ex.org|1"},
			email: "PrimaryEmailAddress"},
		{name: "no header says it", header: "Name|Kontakt", rows: []string{"Ann|a@ex.org"}, asked: "Kontakt"},
		{name: "a name that is an address", header: "Contact|City", rows: []string{"a@ex.org|Rome"}, asked: "Contact"},
		{name: "another column has them", header: "Email|Login", rows: []string{"yes|a@ex.org", "no|b@ex.org"},
			asked: "Email|Login"},
		{name: "empty, another has them", header: "Email|Login", rows: []string{"|a@ex.org"}, asked: "Email|Login"},
		{name: "status of mails", header: "Email|Email status|Last email", rows: []string{"a@ex.org|sent|2026-01-01"},
			email: "Email"},
		{name: "work and home", header: "Personal Email|Work Email", rows: []string{"h@ex.org|w@ex.org"},
			email: "Work Email|Personal Email"},
		{name: "no addresses", header: "Name|Phone", rows: []string{"Ann|1"}},
		{name: "a few in notes", header: "Name|Notes", rows: []string{"Ann|call her", "Bob|b@ex.org", "Cy|late"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sample [][]string
			for _, row := range tt.rows {
				sample = append(sample, strings.Split(row, "|"))
			}
			header := strings.Split(tt.header, "|")
			m, err := newMapping(tabular.Format{Header: header, Delimiter: ','}, sample, nil, nil)
			var e *MappingError
			switch {
			case errors.As(err, &e):
				var asked []string
				for _, c := range e.Candidates {
					asked = append(asked, c.Header)
					if !strings.Contains(e.Error(), c.Header) || !strings.Contains(e.Error(), c.Sample) {
						t.Errorf("%v does not name %v", e, c)
					}
				}
				if got := strings.Join(asked, "|"); got != tt.asked || tt.email != "" {
					t.Errorf("asked for %q (%v), want %q, e-mail %q", got, err, tt.asked, tt.email)
				}
			case err != nil:
				t.Fatal(err)
			default:
				var got []string
				for _, i := range m.sources[FieldEmail] {
					got = append(got, header[i])
				}
				if strings.Join(got, "|") != tt.email || tt.asked != "" {
					t.Errorf("the e-mail is %v, want %q, asked %q", got, tt.email, tt.asked)
				}
			}
		})
	}
}

func TestNamesByTheirCompany(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Nombre|Apellidos|Correo":          "first_name last_name email",
		"Nombre|Correo":                    "name email",
		"Nome|Cognome|Indirizzo E-mail":    "first_name last_name email",
		"Nom|Prénom|Adresse de messagerie": "last_name first_name email",
		"Name|Vorname|E-Mail-Adresse":      "last_name first_name email",
		"Name|Vorname|Nachname":            "name first_name last_name",
		"Имя|Фамилия|Адрес электронной почты":                                                     "first_name last_name email",
		"姓|名|会社名|電子メール アドレス|携帯電話":                                                                 "last_name first_name company email phone",
		"姓名|电子邮件|手机|公司":                                                                           "name email phone company",
		"Imię|Nazwisko|Telefon komórkowy|Firma":                                                   "first_name last_name phone company",
		"Primeiro nome|Último nome|Celular":                                                       "first_name last_name phone",
		"Voornaam|Achternaam|E-mailadres":                                                         "first_name last_name email",
		"Anrede|Vorname|Nachname|Mobiltelefon":                                                    "metadata first_name last_name phone",
		"Name / First Name|Name / Last Name|Emails / Primary Email|Phones / Primary Phone Number": "first_name last_name email phone",
		"Person - Name|Person - Organization|Person - Email - Work|Person - Phone - Mobile":       "name company email phone",
		"id|name|email|phone_number|identifier|company_name|city":                                 "metadata name email phone metadata company metadata",
	} {
		m, err := newMapping(tabular.Format{Header: strings.Split(header, "|"), Delimiter: ','}, nil, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		var got []string
		for _, c := range m.columns {
			got = append(got, string(c.Field))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", header, got, want)
		}
	}
}

// Values as people and programs write them.
func TestCleaning(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, region string
		rows               []string
		changed            string
	}{
		{
			name: "addresses as people write them",
			file: "Name,Email\na,Ann <a@ex.org>\nb,mailto:b@ex.org\nc,\"c@ex.org; d@ex.org\"\ne,e@ex.org.\n,\"\"\"Eve, F.\"\" " +
				"<F@ex.org>\"\ng,g@ex.org (Gus)\nh,<h@ex.org>\n",
			rows: []string{
				"a@ex.org||a||{}", "b@ex.org||b||{}", `c@ex.org||c||{"emails": [{"value": "c@ex.org"}, {"value": "d@ex.org"}]}`,
				"e@ex.org||e||{}",
				"f@ex.org||Eve, F.||{}", "g@ex.org||g||{}", "h@ex.org||h||{}",
			},
			changed: "[{unwrapped 6} {several_values 1}]",
		},
		{
			name:    "invisible characters and internationalized domains",
			file:    "Name,Email\nAnn,an\u200bn@ex.org\nAnn,ann@ex.org\nJo\u00adan,jo＠ex.org\nBüch,x@bücher.example\nBüch,X@XN--Bcher-kva.example\nBüch,x@BÜCHER.example\n",
			rows:    []string{"ann@ex.org||Ann||{}", "jo@ex.org||Joan||{}", "x@bücher.example||Büch||{}"},
			changed: "[{invisible 2} {idn 1}]",
		},
		{
			name:   "phones that are none, and formulas",
			file:   "Name,Email,Phone\n=\"Cy\",=\"cy@ex.org\",=\"0301234567\"\nB,b@ex.org,4.91E+11\nI,i@ex.org,N/A\nJ,j@ex.org,#ERROR!\nK,k@ex.org,030 12\nL,l@ex.org,+49 171 1234567\n",
			region: "DE",
			rows: []string{
				`b@ex.org||B||{"Phone": "4.91E+11"}`, `cy@ex.org|+49301234567|Cy||{"Phone": "0301234567"}`,
				`i@ex.org||I||{"Phone": "N/A"}`,
				`j@ex.org||J||{"Phone": "#ERROR!"}`, "k@ex.org|030 12|K||{}",
				`l@ex.org|+491711234567|L||{"Phone": "+49 171 1234567"}`,
			},
			changed: "[{formula 1} {phone_e164 2} {not_a_phone 3}]",
		},
		{
			name: "labels",
			file: "Name,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,Phone 2 - Label,Phone 2 - Value,Phone 3 - " +
				"Label,Phone 3 - Value\n" +
				"Ann,ann@ex.org,Home Fax,030 9,Mobile,0171 1,* Work,0171 2 ::: 0171 3\n",
			rows:    []string{`ann@ex.org|0171 2|Ann||{"phones": [{"type": "Mobile", "value": "0171 1"}, {"type": "Work", "value": "0171 2"}, {"type": "Work", "value": "0171 3"}], "Phone 1 - Label": "Home Fax", "Phone 1 - Value": "030 9"}`},
			changed: "[{several_values 1}]",
		},
		{
			name: "names",
			file: "First Name,Last Name,Email\nAnn,Lee,a@ex.org\n太郎,山田,y@ex.org\nMÃ¼ller,X,m@ex.org\n",
			rows: []string{`a@ex.org||Ann Lee||{"last_name": "Lee", "first_name": "Ann"}`,
				`m@ex.org||MÃ¼ller X||{"last_name": "X", "first_name": "MÃ¼ller"}`,
				`y@ex.org||山田太郎||{"last_name": "山田", "first_name": "太郎"}`},
			changed: "[{name_joined 3} {mojibake_noticed 1}]",
		},
	}
	for _, tt := range tests {
		for path, directFrom := range paths {
			t.Run(tt.name+"/"+path, func(t *testing.T) {
				t.Parallel()
				conn, schema := crmtest.Tenant(t)
				o := Options{Schema: schema, directFrom: directFrom, Region: tt.region}
				r := importText(t, conn, tt.file, o)
				crmtest.SameLines(t, "contacts", contacts(t, conn, schema), tt.rows)
				if got := fmt.Sprint(r.Changed); got != tt.changed || r.Rejected != 0 {
					t.Errorf("cleaned %s, rejected %d, want %s", got, r.Rejected, tt.changed)
				}
				if again := importText(t, conn, tt.file, o); again.Unchanged+again.Repeated != again.Read {
					t.Errorf("the same again: %s", tally(again))
				}
			})
		}
	}
}

// Half a name replaces no whole one, within a file and from one file to the next,
// whichever way the rows go.
func TestHalfAName(t *testing.T) {
	t.Parallel()
	const head = "email,first_name,last_name\n"
	for _, tt := range []struct {
		name  string
		files []string
		want  string
	}{
		{"in the next file", []string{"jo@ex.org,Jo,Smith\n", "jo@ex.org,,Smith\n"}, "Jo Smith"},
		{"in the same file", []string{"jo@ex.org,Jo,Smith\njo@ex.org,,Smith\n"}, "Jo Smith"},
		{"before the whole", []string{"jo@ex.org,,Smith\njo@ex.org,Jo,Smith\n"}, "Jo Smith"},
		{"before the whole file", []string{"jo@ex.org,Jo,\n", "jo@ex.org,Jo,Smith\n"}, "Jo Smith"},
		{"another whole one", []string{"jo@ex.org,Jo,Smith\n", "jo@ex.org,Jo,Jones\n"}, "Jo Jones"},
		{"halves alone", []string{"jo@ex.org,Jo,\n", "jo@ex.org,,Smith\n"}, "Jo"},
		{"no name yet", []string{"jo@ex.org,,\n", "jo@ex.org,,Smith\n"}, "Smith"},
	} {
		for path, directFrom := range paths {
			t.Run(tt.name+"/"+path, func(t *testing.T) {
				t.Parallel()
				conn, schema := crmtest.Tenant(t)
				for _, file := range tt.files {
					for range 2 {
						dry := importText(t, conn, head+file, Options{Schema: schema, directFrom: directFrom, DryRun: true})
						r := importText(t, conn, head+file, Options{Schema: schema, directFrom: directFrom})
						if tally(dry) != tally(r) {
							t.Errorf("foretold %s, got %s", tally(dry), tally(r))
						}
					}
				}
				crmtest.SameLines(t, "name", crmtest.List(t, conn, schema, "select name from contacts"), []string{tt.want})
			})
		}
	}
}
