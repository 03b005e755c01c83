package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// What an inspection foretells is what the import does.
func TestInspect(t *testing.T) {
	t.Parallel()
	const file = "First Name,Last Name,E-mail 1 - Label,E-mail 1 - Value,Labels,Phone 1 - Value,X\n" +
		"Ann,Lee,Work,Ann <a@ex.org>,friends,0171 1234567,\nBob,,,nobody,,,1\n,,,,,,\nCy,Ray,,c@ex.org,,,2\n"
	o := Options{Region: "DE", Map: []string{"X=metadata.x"}}
	in, err := Inspect(strings.NewReader(file), o)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(in.Plan.Preset, in.Read, in.Rejected, in.Blank, in.RejectedByCode, in.Changed, in.Rejects)
	if want := `Google Contacts3 1 1 [{bad_email 1}] [{unwrapped 1} {phone_e164 1} {name_joined 2}] [{3 E-mail 1 - Value bad_email "nobody" is not an e-mail address}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	conn, schema := crmtest.Tenant(t)
	o.Schema = schema
	r := importText(t, conn, file, o)
	if r.Inserted != in.Read-in.Rejected || fmt.Sprint(r.Changed) != fmt.Sprint(in.Changed) {
		t.Errorf("foretold %+v, got %+v", in, r)
	}
	var foretold []string
	for _, row := range in.Rows {
		var metadata map[string]any
		if err := json.Unmarshal([]byte(row.Metadata), &metadata); err != nil {
			t.Fatal(err)
		}
		foretold = append(foretold, strings.Join([]string{row.Email, row.Phone, row.Name}, "|"))
	}
	crmtest.SameLines(t, "rows", crmtest.List(t, conn, schema,
		"select email, phone, name from contacts order by email"), foretold)
}

// A question leaves the columns to be shown.
func TestInspectAsks(t *testing.T) {
	t.Parallel()
	in, err := Inspect(strings.NewReader("Recruiter Email,Name\nmax@ex.org,Ann\n"), Options{})
	if _, ok := errors.AsType[*MappingError](err); !ok || len(in.Plan.Columns) != 2 ||
		in.Plan.Columns[0].Class != ClassAddress {
		t.Errorf("%v, %+v", err, in.Plan.Columns)
	}
}

// A mapping that was kept reads the next file as it read the first, wherever its
// columns stand; what it left in the metadata may be missing.
func TestSavedMapping(t *testing.T) {
	t.Parallel()
	const first = "Who,Kontakt,Chef,Stadt,Weg\nAnn,a@ex.org,boss@ex.org,Rom,x\n"
	o := Options{Map: []string{"Kontakt=email", "Who=name", "Weg=-", "Stadt=metadata.city=town"}, Null: []string{"(none)"},
		Region: "DE"}
	in, err := Inspect(strings.NewReader(first), o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(in.Plan.Save(o))
	if err != nil {
		t.Fatal(err)
	}
	saved, err := ParseSavedMapping(data)
	if err != nil {
		t.Fatal(err)
	}
	var next Options
	saved.Fill(&next)
	in, err = Inspect(strings.NewReader("New,Chef,Kontakt,Who\nn,boss@ex.org,b@ex.org,(none)\n"), next)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(in.Rows), `[{2 b@ex.org    {"New":"n","Chef":"boss@ex.org"} }]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if next.Region != "DE" {
		t.Errorf("the region is %q", next.Region)
	}
	if _, err := Inspect(strings.NewReader("Who,Chef\nAnn,boss@ex.org\n"), next); err == nil ||
		!strings.Contains(err.Error(), `no column "Kontakt"`) {
		t.Errorf("without the e-mail: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"version":1,"columns":[{"header":"A","field":"emial"}]}`} {
		if _, err := ParseSavedMapping([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a mapping", bad)
		}
	}
}

// Exports of known programs: who wrote them, and when the contact was made.
func TestPresets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, want string }{
		{"Record ID,First Name,Last Name,Email,Phone Number,Contact owner,Lead Status,Create " +
			"Date\n1,Ann,Lee,a@ex.org,,Max,New,2024-01-02 03:04\n", "HubSpot 2024-01-02T03:04:00Z"},
		{"ID,ISDELETED,LASTNAME,FIRSTNAME,EMAIL,CREATEDDATE\n1,0,Lee,Ann,a@ex.org,2024-01-01T10:00:00.000+0000\n\nContacts\n\"Copyright (c) 2000-2026 salesforce.com, inc.\"\n", "Salesforce 2024-01-01T10:00:00Z"},
		{"Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,LEID\na@ex.org,Ann,Lee,2,someday,1\n", "Mailchimp "},
		{"Notes:\n\"When exporting your connection data, you may notice\"\n\nFirst Name,Last Name,URL,Email " +
			"Address,Company,Position,Connected On\nAnn,Lee,u,a@ex.org,Acme,Boss,12 Mar 2024\n", "LinkedIn "},
		{"Name,Given Name,Family Name,Group Membership,E-mail 1 - Type,E-mail 1 - Value\nAnn Lee,Ann,Lee,* myContacts,* " +
			"Work,a@ex.org\n", "Google Contacts "},
		{"Vorname,Nachname,Firma,E-Mail-Adresse,E-Mail 2: Adresse,Telefon " +
			"geschäftlich,Mobiltelefon\nAnn,Lee,Acme,a@ex.org,b@ex.org,1,2\n", "Outlook "},
		{"Person - ID,Person - Name,Person - Email - Work,Person - Email - Home,Person - Person created\n1,Ann " +
			"Lee,a@ex.org,h@ex.org,2024-01-02 03:04:05\n", "Pipedrive 2024-01-02T03:04:05Z"},
	} {
		in, err := Inspect(strings.NewReader(tt.file), Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
			continue
		}
		if len(in.Rows) != 1 || in.Rows[0].Email != "a@ex.org" || in.Rows[0].Name != "Ann Lee" || in.Plan.Preset+" "+
			in.Rows[0].CreatedAt != tt.want || in.Read != 1 {
			t.Errorf("got %q %+v, want %q", in.Plan.Preset, in.Rows, tt.want)
		}
	}
}

// Words that are equally often are told in one order, whichever run it is.
func TestNullWordsHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := &converter{words: map[string]int64{"n/a": 3, "none": 3, "(blank)": 9, "-": 3, "tbd": 2, "x": 3, "y": 3, "z": 3}}
	for range 20 {
		if got, want := strings.Join(c.nullWords(), " "), "(blank) - n/a none x"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// A header of which no word is a synonym is one all the same where it speaks of addresses and
// numbers, also above a row that says "Mobile"; and several columns with a number of the
// contact's own count, those that are called so first.
func TestHeadersThatSpeak(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, want string }{
		{"a header beside a word that is one", "GCLID,Lead Email,Lead Phone,Device\n" +
			"Cjw,alex@example.com,+44 20 7946 0123,Mobile\nCjx,sophie@example.com,+33 1 99 00 12 34,Tablet\n",
			"email alex@example.com phone +442079460123; email sophie@example.com phone +33199001234"},
		{"numbers in several columns", "Name,Mob No.,WhatsApp,Primary Mobile\n" +
			"Ann,,+49 30 901820,+49 30 901821\nBob,+49 30 901822,,\nCy,,,+49 30 901823\n",
			"email  phone +4930901820; email  phone +4930901822; email  phone +4930901823"},
	} {
		found, err := Inspect(strings.NewReader(tt.file), Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var rows []string
		for _, r := range found.Rows {
			rows = append(rows, "email "+r.Email+" phone "+r.Phone)
		}
		if got := strings.Join(rows, "; "); got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}
