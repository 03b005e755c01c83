package importer

import (
	"strings"
	"testing"
)

// Google puts several values into a cell, and as many labels beside them.
func TestSeveralValuesInACell(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ cells, want string }{
		"labels and values": {
			"Ann,Home ::: Work,a@ex.org ::: b@ex.org,* Mobile ::: Home Fax ::: Work,0171 1 ::: 030 9 ::: 030 2,",
			`a@ex.org|0171 1|Ann||{"Phone 1 - Value":"0171 1 ::: 030 9 ::: 030 2",` +
				`"emails":[{"value":"a@ex.org","type":"Home"},{"value":"b@ex.org","type":"Work"}],` +
				`"phones":[{"value":"0171 1","type":"Mobile"},{"value":"030 2","type":"Work"}]}`,
		},
		"one label for all": {
			"Ann,Work,a@ex.org ::: b@ex.org,,,",
			`a@ex.org||Ann||{"emails":[{"value":"a@ex.org","type":"Work"},{"value":"b@ex.org","type":"Work"}]}`,
		},
		"the first is a fax": {
			"Ann,,,Home Fax ::: Mobile,030 9 ::: 0171 1,",
			`|0171 1|Ann||{"Phone 1 - Value":"030 9 ::: 0171 1","phones":[{"value":"0171 1","type":"Mobile"}]}`,
		},
		"nothing but faxes": {
			"Ann,,,Home Fax ::: Work Fax,030 9 ::: 030 8,",
			`||Ann||{"Phone 1 - Label":"Home Fax ::: Work Fax","Phone 1 - Value":"030 9 ::: 030 8"}`,
		},
		"one that is no address": {
			"Ann,,a@ex.org ::: b 3@ex,,,", `a@ex.org||Ann||{"E-mail 1 - Value":"a@ex.org ::: b 3@ex","emails":[{"value":"a@ex.org"}]}`,
		},
		"companies": {"Ann,,,,,Acme ::: Initech", `||Ann|Acme|{"Organization Name":"Acme ::: Initech"}`},
	} {
		in, err := Inspect(strings.NewReader("Name,E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,"+
			"Organization Name\n"+tt.cells+"\n"), Options{})
		if err != nil || len(in.Rows) != 1 {
			t.Errorf("%s: %v, %+v", name, err, in.Rejects)
			continue
		}
		r := in.Rows[0]
		if got := strings.Join([]string{r.Email, r.Phone, r.Name, r.Company, r.Metadata}, "|"); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

// A file of cards is no export of Google's, though its columns are called like those; and
// the account of an Outlook export is no company.
func TestPresetsThatAreNone(t *testing.T) {
	t.Parallel()
	in, err := Inspect(strings.NewReader("BEGIN:VCARD\nFN:Ann\nEMAIL:a@ex.org\nEND:VCARD\n"), Options{})
	if err != nil || in.Plan.Preset != "" {
		t.Errorf("cards: %q, %v", in.Plan.Preset, err)
	}
	in, err = Inspect(strings.NewReader("First Name,Last Name,E-mail Address,E-mail 2 "+
		"Address,Account\nAnn,Lee,a@ex.org,,K1\n"),
		Options{})
	if err != nil || in.Rows[0].Company != "" || !strings.Contains(in.Rows[0].Metadata, `"Account":"K1"`) {
		t.Errorf("Outlook: %+v, %v", in.Rows, err)
	}
}
