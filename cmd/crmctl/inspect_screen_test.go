package main

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInspectScreens looks at what an inspection shows of each kind of file: the file's
// kind, its columns and rows, in lines that fit.
func TestInspectScreens(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("https://example.com/a/very/long/address/", 4)
	var book bytes.Buffer
	z := zip.NewWriter(&book)
	for name, text := range map[string]string{
		"xl/workbook.xml":            `<workbook><sheets><sheet name="Leads" id="r"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="r" Target="s.xml"/></Relationships>`,
		"xl/s.xml": `<worksheet><sheetData><row><c t="str"><v>Name</v></c><c t="str"><v>E-Mail</v></c><c t="str"><v>Website</v></c></row>` +
			`<row><c t="str"><v>Ann Lee</v></c><c t="str"><v>ann@example.com</v></c><c t="str"><v>` + long +
			`</v></c></row></sheetData></worksheet>`,
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ content, want string }{
		"leads.csv": {"Name,E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Value,Website\nAnn Lee,Home ::: Work," +
			"ann@example.com ::: lee@example.com,0171 1234567," + long + "\nBob,,nobody,,\n", "CSV, comma"},
		"leads.xlsx": {book.String(), "XLSX"},
		"leads.vcf": {"BEGIN:VCARD\nFN:Ann Lee\nEMAIL;TYPE=home:ann@example.com\nEMAIL;TYPE=work:lee@example.com\nURL:" +
			long + "\nEND:VCARD\n", "vCard"},
		"leads.jsonl": {`{"name":"Ann Lee","email":"ann@example.com","links":{"website":"` + long + `"}}` + "\n", "JSON"},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		b := newBench(t).onTerminal().setenv("NO_COLOR=1")
		b.Width = func() int { return 80 }
		b.run("contacts", "inspect", path)
		text := b.out.String() + b.err.String()
		for _, line := range tooWide(text, 80) {
			t.Errorf("%s is too wide: %s", name, line)
		}
		for _, want := range []string{tt.want, "ann@example.com", "Ann Lee", "COLUMN", "rows      "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not shown:\n%s", name, want, text)
			}
		}
	}
}
