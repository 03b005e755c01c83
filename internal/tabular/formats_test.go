package tabular

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// cells returns a file's rows under their headers, those that are empty left out,
// and the problems.
func cells(t testing.TB, in []byte, o Options) (f *File, rows []string, problems []Problem) {
	t.Helper()
	f, err := Open(bytes.NewReader(in), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for {
		rec, err := f.Next()
		if errors.Is(err, io.EOF) {
			return f, rows, problems
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Problem != None {
			problems = append(problems, rec.Problem)
			continue
		}
		if rec.Blank || rec.Note {
			continue
		}
		var parts []string
		for i, cell := range rec.Fields {
			if len(cell) > 0 {
				parts = append(parts, f.Format.Header[i]+"="+string(cell))
			}
		}
		for _, p := range rec.Extra {
			parts = append(parts, "+"+string(p.Key)+"="+string(p.Value))
		}
		rows = append(rows, strings.Join(parts, "|"))
	}
}

func sameRows(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	want := []string{"name=Ann|email=a@ex.org", "name=Bob|email=b@ex.org"}
	for name, in := range map[string]string{
		"lines": "{\"name\":\"Ann\",\"email\":\"a@ex.org\"}\n{\"name\":\"Bob\",\"email\":\"b@ex.org\"}\n",
		"array": " [\n {\"name\":\"Ann\",\"email\":\"a@ex.org\"}, " +
			"{\"email\":\"b@ex.org\",\"name\":\"Bob\"}\n]\n",
		"wrapped":              `{"total": 2, "next": null, "records": [{"name":"Ann","email":"a@ex.org"},{"name":"Bob","email":"b@ex.org"}], "more": {"a": [1]}}`,
		"pages":                "[{\"name\":\"Ann\",\"email\":\"a@ex.org\"}]\n[{\"name\":\"Bob\",\"email\":\"b@ex.org\"}]\n",
		"one behind the other": `{"name":"Ann","email":"a@ex.org"}{"name":"Bob","email":"b@ex.org"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, rows, problems := cells(t, []byte(in), Options{})
			sameRows(t, rows, want)
			if f.Format.Kind != JSON || problems != nil {
				t.Errorf("taken for %s, problems %v", f.Format.Kind, problems)
			}
		})
	}
	_, rows, problems := cells(t, []byte(`{"id": 12345678901234567890, "name": {"first": "Ann", "last": "Lee"}, "active": true, "x": null,
	 "emails": [{"type": "work", "value": "a@ex.org"}, {"value": "b@ex.org"}], "tags": ["x", "y"], "list": [[1], {"k": 1}]}
not json
{"name": {"first": "Bob"}, "broken": }
{"name": {"first": "C\u0000"}}
{"name": {"first": "D\"}{"}}`), Options{})
	sameRows(t, rows, []string{`id=12345678901234567890|name.first=Ann|name.last=Lee|active=true|emails=a@ex.org; b@ex.org|tags=x; y|list=[1]; {"k":1}`, `name.first=D"}{`})
	if fmt.Sprint(problems) != fmt.Sprint([]Problem{BadSyntax, BadSyntax, NUL}) {
		t.Errorf("problems %v", problems)
	}
	// A key that comes late has no column, and is kept.
	late := strings.Repeat("{\"a\":\"1\"}\n", 300) + "{\"a\":\"2\",\"b\":\"3\"}\n"
	_, rows, _ = cells(t, []byte(late), Options{})
	if rows[300] != "a=2|+b=3" {
		t.Errorf("got %s", rows[300])
	}
	for in, want := range map[string]string{
		`[{"a":1},{"a":`:       "the file ends in the middle of an object",
		`[{"a":1}`:             "the file ends before its list does",
		`{"n":1,"l":[{"a":1}]`: "the file ends in the middle of an object",
		`{"n":1,"l":[{"a":"` + strings.Repeat("x", 40<<10) +
			`"}]} {"l":[{"a":2}]}`: "the file goes on after the object with its list",
	} {
		if err := readOut(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// A row that begins with a list of objects is a row, and what holds nothing but a list of
// rows is none.
func TestJSONWithLists(t *testing.T) {
	t.Parallel()
	const ann, bob = `{"name":"Ann","emails":[{"value":"a@ex.org"}]}`, `{"name":"Bob","emails":[{"value":"b@ex.org"}]}`
	for in, want := range map[string]string{
		ann + "\n" + bob + "\n": "name=Ann|emails=a@ex.org, name=Bob|emails=b@ex.org",
		`{"emails":[{"value":"a@ex.org"}],"name":"Ann"} {"emails":[],"name":"Bob"}`: "emails=a@ex.org|name=Ann, name=Bob",
		ann: "name=Ann|emails=a@ex.org",
		`{"name":"an export","contacts":[{"name":"Ann","emails":"a@ex.org"}],"next":{"l":["]"]}}`: "name=Ann|emails=a@ex.org",
	} {
		_, rows, problems := cells(t, []byte(in), Options{Known: known("name", "emails")})
		if got := strings.Join(rows, ", "); got != want || problems != nil {
			t.Errorf("%s: got %s, problems %v; want %s", in, got, problems, want)
		}
	}
}

// readOut reads a file to its end.
func readOut(r io.Reader) error {
	f, err := Open(r, Options{})
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		if _, err := f.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestVCard(t *testing.T) {
	t.Parallel()
	in := "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann " +
		"Lee\r\nN:Lee;Ann;;Dr.;\r\nEMAIL;TYPE=INTERNET;TYPE=HOME:a@ex.org\r\nEMAIL;TYPE=work,pref:w@ex.org\r\n" +
		"TEL;TYPE=CELL:0171 1\r\nTEL;TYPE=home,fax:030 9\r\nORG:Acme\\, Inc;Sales\r\nNOTE:one\\nt\r\n wo\r\nitem1.TEL:040 " +
		"1\r\nitem1.X-ABLabel:_$!<Main>!$_\r\n" +
		"UID:u1\r\nCATEGORIES:a,b\r\nPHOTO;ENCODING=b;TYPE=JPEG:" + strings.Repeat("A", 100) + "\r\n " +
		strings.Repeat("B", 100) + "\r\nEND:VCARD\r\n" +
		"BEGIN:VCARD\nVERSION:2.1\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=B6=\nrg;;;\nTEL;WORK;VOICE:030 1\nTEL;PREF;CELL:0171 2\n" +
		"PHOTO;ENCODING=BASE64;JPEG:\n  /9j/4AAQ\n  AAAA\n\nADR;WORK:;;Street 1;Town;;12345;Land\nEND:VCARD\n" +
		"BEGIN:VCARD\nVERSION:4.0\nFN:Cy\nTEL;VALUE=uri;PREF=1;TYPE=\"voice,cell\":tel:+49-171-3\nEMAIL:mailto:c@ex.org\nend:vcard\n" +
		"BEGIN:VCARD\nFN:Lost\nBEGIN:VCARD\nN;CHARSET=ISO-8859-1:M\xfcller;J\nEND:VCARD\n"
	f, rows, problems := cells(t, []byte(in), Options{})
	sameRows(t, rows, []string{
		"Name=Ann Lee|First Name=Ann|Last Name=Lee|Name Prefix=Dr.|Organization Name=Acme, Inc|Organization " +
			"Department=Sales|Notes=one\ntwo|Labels=a ::: b|" +
			"E-mail 1 - Label=home|E-mail 1 - Value=a@ex.org|E-mail 2 - Label=* work|E-mail 2 - Value=w@ex.org|Phone 1 - " +
			"Label=cell|Phone 1 - Value=0171 1|" +
			"Phone 2 - Label=home fax|Phone 2 - Value=030 9|Phone 3 - Label=Main|Phone 3 - Value=040 1|+uid=u1",
		"Name=Jörg Müller|First Name=Jörg|Last Name=Müller|Phone 1 - Label=work|Phone 1 - Value=030 1|Phone 2 - Label=* " +
			"cell|Phone 2 - Value=0171 2|" +
			"Address 1 - Label=work|Address 1 - Formatted=Street 1, Town, 12345, Land",
		"Name=Cy|E-mail 1 - Value=c@ex.org|Phone 1 - Label=* cell|Phone 1 - Value=+49-171-3",
		"Name=J Müller|First Name=J|Last Name=Müller",
	})
	if f.Format.Kind != VCard || fmt.Sprint(problems) != fmt.Sprint([]Problem{BadSyntax}) {
		t.Errorf("taken for %s, problems %v", f.Format.Kind, problems)
	}
	if err := readOut(strings.NewReader("BEGIN:VCARD\nFN:Ann\n")); err == nil ||
		!strings.Contains(err.Error(), "middle of a card") {
		t.Errorf("a cut card: %v", err)
	}
}

// Values of QUOTED-PRINTABLE that name no charset are in the code page of the machine that
// wrote them: it is told by their letters, unless it is asked for.
func TestPrintableOfNoCharset(t *testing.T) {
	t.Parallel()
	const card = "BEGIN:VCARD\r\nVERSION:2.1\r\nN:Mylka;Antoni\r\nLABEL;ENCODING=QUOTED-PRINTABLE:=FF=FE\r\n%s\r\nEND:VCARD\r\n"
	adr := fmt.Sprintf(card, "ADR;HOME;ENCODING=QUOTED-PRINTABLE:;;Budryka 2;Krak=F3w;ma=B3o=\r\npolskie;30-072")
	f, rows, problems := cells(t, []byte(adr), Options{})
	sameRows(t, rows, []string{"Name=Antoni Mylka|First Name=Antoni|Last Name=Mylka|Address 1 - Label=home|" +
		"Address 1 - Formatted=Budryka 2, Kraków, małopolskie, 30-072"})
	if f.Format.Encoding != "windows-1250" || problems != nil {
		t.Errorf("taken for %s, problems %v", f.Format.Encoding, problems)
	}
	named := fmt.Sprintf(card, "FN;ENCODING=QUOTED-PRINTABLE:Iksi=F1ski")
	_, rows, problems = cells(t, []byte(named), Options{Encoding: "windows-1250"})
	sameRows(t, rows, []string{"Name=Iksiński|First Name=Antoni|Last Name=Mylka"})
	_, rows, _ = cells(t, []byte(fmt.Sprintf(card, "NICKNAME:Tony")), Options{})
	sameRows(t, rows, []string{"Name=Antoni Mylka|First Name=Antoni|Last Name=Mylka|Nickname=Tony"})
	if problems != nil {
		t.Errorf("what is passed over: %v", problems)
	}
}

// workbook makes an XLSX file. The first sheet has notes, the second is hidden.
func makeWorkbook(t testing.TB, sheetData, stringsXML string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range map[string]string{
		"xl/workbook.xml": `<?xml version="1.0" encoding="UTF-8"?><workbook xmlns:r="x"><workbookPr/><sheets><sheet name="Read me" sheetId="1" r:id="rId1"/>` +
			`<sheet name="Old" state="hidden" sheetId="2" r:id="rId3"/><sheet name="A &amp; B" sheetId="3" r:id="rId2"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Target="/xl/worksheets/sheet2.xml"/>` +
			`<Relationship Id="rId3" Target="worksheets/sheet3.xml"/></Relationships>`,
		"xl/styles.xml": `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/><numFmt numFmtId="165" formatCode="0.00&quot;d&quot;"/></numFmts>` +
			`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs></styleSheet>`,
		"xl/sharedStrings.xml":     `<sst>` + stringsXML + `</sst>`,
		"xl/worksheets/sheet1.xml": `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>How to use this file</t></is></c></row></sheetData></worksheet>`,
		"xl/worksheets/sheet2.xml": `<worksheet><sheetData>` + sheetData + `</sheetData></worksheet>`,
		"xl/worksheets/sheet3.xml": `<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>Name</t></is></c><c r="B1" t="inlineStr"><is><t>Email</t></is></c></row></sheetData></worksheet>`,
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWorkbook(t *testing.T) {
	t.Parallel()
	in := makeWorkbook(t, `<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" t="s"><v>1</v></c><c r="C2" t="inlineStr"><is><t>Phone</t></is></c><c r="D2" t="str"><v>Since</v></c><c t="str"><v>Flag</v></c></row>`+
		`<row r="3" hidden="1"><c r="A3" t="s"><v>2</v></c><c r="B3" t="inlineStr"><is><t>a@ex.org</t></is></c><c r="C3"><v>4.9171123456E10</v></c><c r="D3" s="1"><v>45292</v></c><c r="E3" t="b"><v>1</v></c></row>`+
		`<row r="4"/><row><c r="A5" t="s"><v>3</v></c><c r="D5" s="2"><v>45292.5</v></c><c r="E5" t="e"><v>#N/A</v></c></row>`+
		`<row r="6"><c r="A6" s="3"><v>1.5</v></c><c r="B6"><f>A1&lt;2</f><v>7</v></c><c r="D6" s="1"><v>1</v></c></row>`+
		`<row r="7"><c r="A7" t="s"><v>99</v></c></row>`,
		`<si><t>Name</t></si><si><t>Email</t></si><si><r><rPr/><t xml:space="preserve">An</t></r><r><t>n &amp; C_x000D_o</t></r><rPh><t>x</t></rPh></si><si><t><![CDATA[B<o>b]]></t></si><si/>`)
	f, rows, problems := cells(t, in, Options{Known: known("name", "email")})
	sameRows(t, rows, []string{
		"Name=Ann & C\ro|Email=a@ex.org|Phone=49171123456|Since=2024-01-01|Flag=TRUE",
		"Name=B<o>b|Since=2024-01-01 12:00:00|Flag=#N/A",
		"Name=1.5|Email=7|Since=1900-01-01",
	})
	if f.Format.Kind != XLSX || f.Format.Sheet != "A & B" || f.Format.Sheets != 3 || f.Format.HeaderRow != 2 ||
		fmt.Sprint(problems) != fmt.Sprint([]Problem{BadSyntax}) {
		t.Errorf("format %+v, problems %v", f.Format, problems)
	}
	for cut := 4; cut < len(in); cut += len(in) / 7 {
		if err := readOut(bytes.NewReader(in[:cut])); err == nil {
			t.Errorf("a workbook of %d of %d bytes is read", cut, len(in))
		}
	}
}

// The files of a workbook that is read have no names, so that a process that is killed
// leaves nothing of its contacts behind.
func TestWorkbookLeavesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file keeps its name")
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	in := makeWorkbook(t, `<row r="1"><c r="A1" t="inlineStr"><is><t>Email</t></is></c></row><row r="2"><c r="A2" t="inlineStr"><is><t>a@b.example</t></is></c></row>`, "")
	f, err := Open(bytes.NewReader(in), Options{})
	if err != nil {
		t.Fatal(err)
	}
	table := stringTable{file: f}
	for table.disk == nil {
		if err := table.add(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("while it is read: %v, %v", left, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// Many texts wait in a file, and are the same from there.
func TestWorkbookWithManyTexts(t *testing.T) {
	t.Parallel()
	var table stringTable
	f := &File{}
	t.Cleanup(func() { _ = f.Close() })
	table.file = f
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i, " "), 40+i%50) }
	const n = 200_000
	for i := range n {
		if err := table.add([]byte(text(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.finish(); err != nil || table.disk == nil {
		t.Fatalf("%v, in a file %t", err, table.disk != nil)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		at := i
		if i%10 == 0 {
			at = r.IntN(n)
		}
		got, ok, err := table.append(nil, at)
		if err != nil || !ok || string(got) != text(at) {
			t.Fatalf("text %d: %.40q, %t, %v", at, got, ok, err)
		}
	}
	if _, ok, err := table.append(nil, n); ok || err != nil {
		t.Errorf("a text beyond the last: %t, %v", ok, err)
	}
}

func TestCompressed(t *testing.T) {
	t.Parallel()
	const content = "name,email\nAnn,a@ex.org\n"
	var zipped, standard bytes.Buffer
	g := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(g, content)
	_ = g.Close()
	z, err := zstd.NewWriter(&standard)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(z, content)
	_ = z.Close()
	for name, in := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": standard.Bytes()} {
		f, rows, _ := cells(t, in, Options{})
		sameRows(t, rows, []string{"name=Ann|email=a@ex.org"})
		if f.Format.Compression != name {
			t.Errorf("taken for %q", f.Format.Compression)
		}
		if err := readOut(bytes.NewReader(in[:len(in)-3])); err == nil || !strings.Contains(err.Error(), "ends too early") {
			t.Errorf("%s, cut: %v", name, err)
		}
	}
}

// endless gives a pattern again and again, up to n bytes.
type endless struct {
	head, pattern string
	n             int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p, e.head)
	e.head = e.head[n:]
	for n < len(p) && len(e.head) == 0 {
		n += copy(p[n:], e.pattern)
	}
	e.n -= int64(n)
	return n, nil
}

// Bad input is an error or a rejected row, at a bounded price.
func TestBadInputIsBounded(t *testing.T) {
	const size = 40 << 20
	bomb := func() io.Reader {
		var b bytes.Buffer
		z, _ := zstd.NewWriter(&b)
		_, _ = io.Copy(z, &endless{head: "name,email\n", pattern: "a", n: 8 * size})
		_ = z.Close()
		return &b
	}
	zipBomb := func() io.Reader {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, name := range []string{"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} {
			w, _ := z.Create(name)
			_, _ = io.WriteString(w, `<workbook><sheets><sheet name="A" id="r"/></sheets><Relationship Id="r" Target="s.xml"/></workbook>`)
		}
		w, _ := z.Create("xl/s.xml")
		_, _ = io.Copy(w, &endless{head: "<sheetData>", pattern: "<row><c t=\"str\"><v>aaaa</v></c></row>", n: 2 * size})
		w, _ = z.Create("xl/sharedStrings.xml")
		_, _ = io.Copy(w, &endless{head: "<sst>", pattern: "<si><t>aaaaaaaaaaaaaaaaaa</t></si>", n: 4 * size})
		_ = z.Close()
		return &b
	}
	for name, in := range map[string]func() io.Reader{
		"a line without an end": func() io.Reader { return &endless{head: "name,email\n", pattern: "abcdefgh", n: size} },
		"a quote without an end": func() io.Reader {
			return &endless{head: "name,email\n\"", pattern: "abc,defgh\n", n: size}
		},
		"a million columns":        func() io.Reader { return &endless{head: "name,email\n", pattern: ",", n: size} },
		"an object without an end": func() io.Reader { return &endless{head: `{"a":"`, pattern: "abcdefgh", n: size} },
		"braces without an end":    func() io.Reader { return &endless{head: `{"a":1}`, pattern: "{\"a\":", n: size} },
		"a card without an end": func() io.Reader {
			return &endless{head: "BEGIN:VCARD\nNOTE:", pattern: "abcdefgh", n: size}
		},
		"a card of many lines": func() io.Reader {
			return &endless{head: "BEGIN:VCARD\n", pattern: "NOTE:abcdefgh\n", n: size}
		},
		"a compressed bomb": bomb,
		"zeros in many members": func() io.Reader {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
			return bytes.NewReader(bytes.Repeat(b.Bytes(), 400))
		},
		"an object with a million keys": func() io.Reader {
			return &endless{head: `[{"email":"a"`, pattern: `,"k":1`, n: size}
		},
		"a card that is folded on and on": func() io.Reader {
			return &endless{head: "BEGIN:VCARD\nNOTE:a\n", pattern: " abcdefgh\n", n: size}
		},
		"a workbook bomb": zipBomb,
	} {
		t.Run(name, func(t *testing.T) {
			source := in()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := readOut(source)
			runtime.ReadMemStats(&after)
			if held := int64(after.HeapSys) - int64(before.HeapSys); held > 72<<20 {
				t.Errorf("took %d MB more (%v)", held>>20, err)
			}
			t.Logf("%v", err)
		})
	}
}

// What is over a limit from the beginning on is an error that names it.
func TestLimitsAreNamed(t *testing.T) {
	t.Parallel()
	const deep = 20_000
	for name, tt := range map[string]struct{ in, want string }{
		"braces": {"[" + strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep) + "]", "exceeded max depth"},
		"lists": {`{"email":"a@ex.org","x":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}",
			"exceeded max depth"},
		"an object": {`{"a":"` + strings.Repeat("a", 5<<20) + `"}`, "longer than"},
		"no object": {`{"a" 1}`, "invalid character '1' after object key"},
		"a window":  {"\x28\xB5\x2F\xFD\x00\xA8\x01\x00\x00", "more than 32 MB of memory"},
	} {
		err := readOut(strings.NewReader(tt.in))
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestWildCards(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"vcard-gmail.vcf": "Name=Mr. John Richter, James Doe Sr.|First Name=John|Middle Name=Richter, James|Last " +
			"Name=Doe",
		"vcard-outlook.vcf": "Name=Mr. John Richter James Doe Sr.|First Name=John|Middle Name=Richter,James|Last " +
			"Name=Doe",
		"vcard21-broken-photo.vcf": "",
	} {
		data, err := os.ReadFile(filepath.Join(wild(t), file))
		if err != nil {
			t.Skip(err)
		}
		_, rows, problems := cells(t, data, Options{})
		if len(rows) != 1 || !strings.HasPrefix(rows[0], want) || problems != nil {
			t.Errorf("%s: %q, problems %v", file, rows, problems)
		}
	}
}

// fuzzRead reads a file with tight limits: it ends, in an error that blames the
// file, or in rows whose cells fit the header.
func fuzzRead(t *testing.T, in []byte) {
	t.Helper()
	f, err := Open(bytes.NewReader(in), Options{Known: known("name", "email"),
		Limits: Limits{Row: 4096, Cell: 512, Columns: 64}})
	if err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Fatalf("%q: %v", in, err)
		}
		return
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Sample(20); err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Fatalf("%q: %v", in, err)
		}
	}
	for n := 0; ; n++ {
		rec, err := f.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		if n > 2*len(in)+100_000 {
			t.Fatalf("%q: no end", in)
		}
		if f.Format.Kind != CSV && rec.Problem == None && f.Format.Kind != XLSX && len(rec.Fields) != len(f.Format.Header) {
			t.Fatalf("%q: %d cells, %d columns", in, len(rec.Fields), len(f.Format.Header))
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`[{"a":1}]`, `{"a":{"b":[1,{"value":"x"}]}}`, `{"r":[{"a":1}`, "{\"a\n\":1}", `[]`, `{}`,
		`{"a":"\u0000"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) { fuzzRead(t, append([]byte(`[`), in...)); fuzzRead(t, in) })
}

func FuzzVCard(f *testing.F) {
	for _, seed := range []string{"FN:a\nEND:VCARD\n", "N;ENCODING=QUOTED-PRINTABLE:=C3=\n=BC;;\nEND:VCARD",
		"PHOTO;BASE64:\n AA\n\nEND:VCARD", "AGENT:\nBEGIN:VCARD\nEND:VCARD\nEND:VCARD", "a.b;c=\"d:e\":f\\"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) { fuzzRead(t, append([]byte("BEGIN:VCARD\n"), in...)) })
}

func FuzzWorkbook(f *testing.F) {
	f.Add(`<row r="1"><c r="A1" t="s"><v>0</v></c></row>`, `<si><t>Name</t></si>`)
	f.Add(`<row><c r="ZZZZ1"><v>1e400</v></c><c t="b"><v></v></c></row>`, `<si><r><t>&#x41;&amp;_x0041_</t></r></si>`)
	f.Add(`<>`, `0`)
	f.Add(`<row><c s="-1"><v>-5</v></c><!-- > --><![CDATA[>]]></row>`, `<si/><si>`)
	f.Fuzz(func(t *testing.T, sheet, texts string) { fuzzRead(t, makeWorkbook(t, sheet, texts)) })
}
