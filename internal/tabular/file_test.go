package tabular

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// wild returns the directory of contact files from other projects, which stands
// beside the repository, or skips the test.
func wild(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("contact files from the wild are not here: %v", err)
	}
	return dir
}

func known(names ...string) func(string) bool {
	return func(h string) bool { return slices.Contains(names, strings.ToLower(h)) }
}

func readAll(f *File) (rows [][]string, problems []Problem, err error) {
	for {
		rec, err := f.Next()
		if errors.Is(err, io.EOF) {
			return rows, problems, nil
		}
		if err != nil {
			return rows, problems, err
		}
		switch {
		case rec.Problem != None:
			problems = append(problems, rec.Problem)
		case !rec.Blank:
			rows = append(rows, toStrings(rec.Fields))
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	const titles = "Contacts of our office\n\nprinted;on;Monday\n"
	tests := []struct {
		name     string
		in       string
		o        Options
		want     Format
		rows     int
		problems int
	}{
		{name: "comma", in: "a,b\n1,2\n", want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"a", "b"}}, rows: 1},
		{name: "semicolon, decimal commas", in: "a;b\n1,5;2\n2,5;3\n", want: Format{Delimiter: ';', HeaderRow: 1,
			Header: []string{"a", "b"}}, rows: 2},
		{name: "tab", in: "a\tb\n1,5\t2\n", want: Format{Delimiter: '\t', HeaderRow: 1, Header: []string{"a", "b"}}, rows: 1},
		{name: "pipe", in: "a|b\n1|2\n", want: Format{Delimiter: '|', HeaderRow: 1, Header: []string{"a", "b"}}, rows: 1},
		{name: "one column", in: "email\nx\ny\n", want: Format{Delimiter: ',', HeaderRow: 1,
			Header: []string{"email"}}, rows: 2},
		{name: "excel says", in: "sep=;\r\na;b,c,d\r\n1;2,3,4\r\n", want: Format{Delimiter: ';', HeaderRow: 2,
			Header: []string{"a", "b,c,d"}, Skipped: []int{1}}, rows: 1},
		{name: "asked for", in: "a;b,c\n1;2,3\n", o: Options{Delimiter: ","},
			want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"a;b", "c"}}, rows: 1},
		{
			name: "known header decides", in: "name;email\n\"Doe, Jane\";x,y\nPoe, John;x,y\n",
			o:    Options{Known: known("name", "email")},
			want: Format{Delimiter: ';', HeaderRow: 1, Header: []string{"name", "email"}}, rows: 2,
		},
		{
			name: "titles", in: titles + "name;email;city;zip\n1;2;3;4\n5;6;7;8\n",
			want: Format{Delimiter: ';', HeaderRow: 4, Header: []string{"name", "email", "city", "zip"},
				Skipped: []int{1, 3}}, rows: 2,
		},
		{
			name: "titles as wide as the rows", in: titles + "Name;E-Mail;City\n1;2;3\n",
			o: Options{Known: known("name", "e-mail")},
			want: Format{Delimiter: ';', HeaderRow: 4, Header: []string{"Name", "E-Mail", "City"},
				Skipped: []int{1, 3}}, rows: 1,
		},
		{
			name: "row asked for", in: "x,y\na,b\n1,2\n", o: Options{HeaderRow: 2},
			want: Format{Delimiter: ',', HeaderRow: 2, Header: []string{"a", "b"}, Skipped: []int{1}}, rows: 1,
		},
		{name: "no header", in: "x@example.com,1\n2,3\n", o: Options{HeaderRow: NoHeader},
			want: Format{Delimiter: ',', Header: []string{"column 1", "column 2"}}, rows: 2},
		{
			name: "second header", in: "First Name,Last Name,City\nX__FIRST__C,X__LAST__C,X__CITY__C\nAda,Lovelace,London\n",
			want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"First Name", "Last Name", "City"},
				Skipped: []int{2}}, rows: 1,
		},
		{
			name: "rows like their header are no header", in: "City,State\nKansas City,New York State\n",
			want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"City", "State"}}, rows: 1,
		},
		{
			name: "doubled and empty headers", in: "Phone,Phone,,Phone (2),\n1,2,3,4,5\n",
			want: Format{
				Delimiter: ',', HeaderRow: 1, Header: []string{"Phone", "Phone (3)", "column 3", "Phone (2)", "column 5"},
				Renamed: []string{"Phone (3)", "column 3", "column 5"},
			}, rows: 1,
		},
		{name: "cr alone", in: "a,b\r1,2\r3,4\r", want: Format{Delimiter: ',', HeaderRow: 1,
			Header: []string{"a", "b"}}, rows: 2},
		{name: "cr alone, one lf at the end", in: "a,b\r1,2\r3,4\n", want: Format{Delimiter: ',', HeaderRow: 1,
			Header: []string{"a", "b"}}, rows: 2},
		{name: "damaged utf-8", in: "ä,b\nö,\xFF\nü,2\n", want: Format{Delimiter: ',', HeaderRow: 1,
			Header: []string{"ä", "b"}}, rows: 1, problems: 1},
		{name: "nul", in: "a,b\n\x00,2\n3,4\n", want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"a", "b"}},
			rows: 1, problems: 1},
		{
			name: "header narrower than its rows", in: "a,b\n1,2,3\n4,5,6\n",
			want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"a", "b", "column 3"}, Widened: 1}, rows: 2,
		},
		{name: "blanks around quotes", in: "a,b\n\"x\" , \"y, z\" \n1, \"2\"\" 3\"\n",
			want: Format{Delimiter: ',', HeaderRow: 1, Header: []string{"a", "b"}}, rows: 2},
		{name: "header with hidden marks", in: "a,\u200Bb\u00A0c\n1,2\n", want: Format{Delimiter: ',', HeaderRow: 1,
			Header: []string{"a", "b c"}}, rows: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := Open(iotest.HalfReader(strings.NewReader(tt.in)), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Encoding, tt.want.Kind, f.Format.Evidence = "utf-8", CSV, ""
			if fmt.Sprint(f.Format) != fmt.Sprint(tt.want) {
				t.Errorf("format\n got %+v\nwant %+v", f.Format, tt.want)
			}
			rows, problems, err := readAll(f)
			if err != nil || len(rows) != tt.rows || len(problems) != tt.problems {
				t.Errorf("got rows %q, problems %v, error %v; want %d rows and %d problems", rows, problems, err,
					tt.rows, tt.problems)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		o    Options
		want string
	}{
		{name: "empty", in: "", want: "the file is empty"},
		{name: "mark only", in: "\xEF\xBB\xBF", want: "the file is empty"},
		{name: "only blank lines", in: "\n \n\n", want: "no header row found"},
		{name: "no header", in: "\nada@example.com,1\n",
			want: `line 2: this looks like a contact ("ada@example.com"), not like the header`},
		{name: "unknown encoding", in: "a\n", o: Options{Encoding: "klingon"}, want: `unknown encoding "klingon"`},
		{name: "unusable delimiter", in: "a\n", o: Options{Delimiter: "x"}, want: `delimiter "x" cannot be used`},
		{name: "header row after the end", in: "a\n", o: Options{HeaderRow: 7},
			want: "the header was to be in line 7, but the file ends before it"},
		{name: "header row inside a cell", in: "\"a\nb\",c\n", o: Options{HeaderRow: 2},
			want: "line 2: the header was to be here"},
		{name: "workbook", in: "PK\x03\x04\x14\x00\x06\x00\b\x00\x00\x00!\x00b", want: "the zip archive is damaged"},
		{name: "old workbook", in: "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", want: "this is an old Excel workbook"},
		{name: "gzip", in: "\x1F\x8B\x08\x00\x00\x00", want: "the gzip file cannot be read"},
		{name: "json", in: "[{\"email\":", want: "line 1: the file ends in the middle of an object"},
		{name: "unknown delimiter", in: "Name^Email^Phone\nAnn^ann@ex.org^1\nBob^b@ex.org^2\n",
			want: `the rows have one column, but each holds "^" as often as the header: it may be the delimiter`},
		{name: "fixed width", in: "Name        Email\nAnn Lee     ann@ex.org\nBob         b@ex.org\n",
			want: "the columns seem to be of fixed width"},
		{name: "a million columns", in: strings.Repeat(",", 1_000_000) + "\n",
			want: "line 1: the header cannot be read: it has more than 4096 columns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(strings.NewReader(tt.in), tt.o)
			var fileErr *Error
			if !errors.As(err, &fileErr) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want an *Error %q", err, tt.want)
			}
		})
	}
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	const content = "name,city\nÉmile,Zürich\n\"naïve €\",Malmö\n"
	utf16le := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	utf16be := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	tests := []struct {
		name  string
		enc   encoding.Encoding
		mark  string
		asked string
		want  string
	}{
		{name: "utf-8", enc: encoding.Nop, want: "utf-8"},
		{name: "utf-8 marked", enc: encoding.Nop, mark: "\xEF\xBB\xBF", want: "utf-8"},
		{name: "utf-16le", enc: utf16le, want: "utf-16le"},
		{name: "utf-16le marked", enc: utf16le, mark: "\xFF\xFE", want: "utf-16le"},
		{name: "utf-16be", enc: utf16be, want: "utf-16be"},
		{name: "utf-16be marked", enc: utf16be, mark: "\xFE\xFF", want: "utf-16be"},
		{name: "utf-16be marked, utf-16 asked", enc: utf16be, mark: "\xFE\xFF", asked: "UTF-16", want: "utf-16be"},
		{name: "utf-32le", enc: utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), want: "utf-32le"},
		{name: "utf-32le marked", enc: utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), mark: "\xFF\xFE\x00\x00",
			want: "utf-32le"},
		{name: "utf-32be marked", enc: utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), mark: "\x00\x00\xFE\xFF",
			want: "utf-32be"},
		{name: "windows-1252", enc: charmap.Windows1252, want: "windows-1252"},
		{name: "macintosh asked", enc: charmap.Macintosh, asked: "macintosh", want: "macintosh"},
		{name: "iso-8859-15 asked", enc: charmap.ISO8859_15, asked: "latin-9", want: "iso-8859-15"},
	}
	for _, tt := range tests {
		if tt.asked == "latin-9" {
			tt.asked = "iso-8859-15"
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			encoded, err := tt.enc.NewEncoder().String(content)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Open(iotest.OneByteReader(strings.NewReader(tt.mark+encoded)), Options{Encoding: tt.asked})
			if err != nil {
				t.Fatal(err)
			}
			rows, problems, err := readAll(f)
			want := [][]string{{"Émile", "Zürich"}, {"naïve €", "Malmö"}}
			if err != nil || problems != nil || fmt.Sprint(rows) != fmt.Sprint(want) {
				t.Errorf("got %q, problems %v, error %v", rows, problems, err)
			}
			if f.Format.Encoding != tt.want || f.Format.BOM != (tt.mark != "") {
				t.Errorf("taken for %s (mark %t), want %s", f.Format.Encoding, f.Format.BOM, tt.want)
			}
		})
	}
}

// A half of a surrogate pair or a cut character must not turn into text that
// looks right.
func TestBrokenWideText(t *testing.T) {
	t.Parallel()
	units := func(s string) (b []byte) {
		for _, c := range []byte(s) {
			b = append(b, c, 0)
		}
		return b
	}
	tests := map[string][]byte{
		"high surrogate alone":  slices.Concat(units("a,b\n1,2\nx"), []byte{0x3D, 0xD8}, units("y,z\n5,6\n")),
		"low surrogate alone":   slices.Concat(units("a,b\n1,2\nx"), []byte{0x3D, 0xDC}, units("y,z\n5,6\n")),
		"high surrogate at end": slices.Concat(units("a,b\n1,2\n5,6\nx,y"), []byte{0x3D, 0xD8}),
		"odd byte at the end":   slices.Concat(units("a,b\n1,2\n5,6\nx,y"), []byte{0x3D}),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := Open(bytes.NewReader(in), Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows, problems, err := readAll(f)
			if err != nil || len(rows) != 2 || !slices.Equal(problems, []Problem{NotUTF8}) {
				t.Errorf("got %q, problems %v, error %v; want two rows and one that is not valid", rows, problems, err)
			}
		})
	}
}

func TestFilesFromTheWild(t *testing.T) {
	t.Parallel()
	dir := wild(t)
	contact := known("name", "e-mail address", "company", "contact1 first name", "contact1 last name",
		"organization name", "prenoms")
	tests := []struct {
		file     string
		want     Format
		columns  int
		rows     int
		problems []Problem
	}{
		{file: "dotgov-current-full.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 1}, columns: 7,
			rows: 16539},
		{file: "bom-utf8.csv", want: Format{Encoding: "utf-8", BOM: true, Delimiter: ',', HeaderRow: 1}, columns: 3, rows: 2},
		{file: "bom-utf16le.csv", want: Format{Encoding: "utf-16le", BOM: true, Delimiter: ',', HeaderRow: 1},
			columns: 3, rows: 2},
		{file: "bom-utf32le.csv", want: Format{Encoding: "utf-32le", BOM: true, Delimiter: ',', HeaderRow: 1},
			columns: 3, rows: 2},
		{file: "google-shared-contacts-sample1.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 1},
			columns: 129, rows: 16},
		{file: "outlook-style.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 1}, columns: 22, rows: 3},
		{file: "mac-newlines.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 1}, columns: 3, rows: 2},
		{file: "null-byte.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 1}, columns: 3,
			problems: []Problem{NUL}},
		{file: "salesforce-npsp-import-template.csv", want: Format{Encoding: "utf-8", Delimiter: ',', HeaderRow: 5,
			Skipped: []int{1, 2, 3, 6}}, columns: 67},
		{file: "semicolon-latin1-firstnames.csv", want: Format{Encoding: "windows-1252", Delimiter: ';', HeaderRow: 1},
			columns: 4, rows: 10121},
		{file: "messy-latin1-spanish.csv", want: Format{Encoding: "windows-1252", Delimiter: ',', HeaderRow: 1},
			columns: 8, rows: 115},
		{file: "messy-head-padding.csv", want: Format{Encoding: "utf-8", Delimiter: ';', HeaderRow: 12,
			Skipped: []int{3, 4, 6, 7, 8, 9}}, columns: 11, rows: 76},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Skip(err)
			}
			f, err := Open(bytes.NewReader(data), Options{Known: contact})
			if err != nil {
				t.Fatal(err)
			}
			got := f.Format
			got.Header, got.Renamed, got.Evidence, got.Kind = nil, nil, "", ""
			if fmt.Sprint(got) != fmt.Sprint(tt.want) || len(f.Format.Header) != tt.columns {
				t.Errorf("format\n got %+v, %d columns\nwant %+v, %d columns", got, len(f.Format.Header), tt.want, tt.columns)
			}
			rows, problems, err := readAll(f)
			if err != nil || len(rows) != tt.rows || !slices.Equal(problems, tt.problems) {
				t.Errorf("got %d rows, problems %v, error %v; want %d rows and problems %v", len(rows), problems, err,
					tt.rows, tt.problems)
			}
		})
	}
}

// csv-spectrum gives files and, in JSON, what a reader must make of them.
func TestSpectrum(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(wild(t), "csv-spectrum")
	files, err := filepath.Glob(filepath.Join(dir, "csvs", "*.csv"))
	if err != nil || len(files) == 0 {
		t.Skipf("csv-spectrum is not here: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".csv")
		if name == "location_coordinates" {
			continue // its JSON is of another file
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			expected, err := os.ReadFile(filepath.Join(dir, "json", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var want []map[string]string
			if err := json.Unmarshal(expected, &want); err != nil {
				t.Fatal(err)
			}
			f, err := Open(bytes.NewReader(data), Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows, problems, err := readAll(f)
			if err != nil || problems != nil || len(rows) != len(want) {
				t.Fatalf("got %q, problems %v, error %v", rows, problems, err)
			}
			for i, r := range rows {
				for j, cell := range r {
					// The repository's copies lost their CRLFs, the JSON kept them.
					if w := strings.ReplaceAll(want[i][f.Format.Header[j]], "\r\n", "\n"); cell != w {
						t.Errorf("row %d, column %s: got %q, want %q", i+1, f.Format.Header[j], cell, w)
					}
				}
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "\xFF\xFEa\x00,\x00b\x00", "sep=;\n\n", "\xEF\xBB\xBF\"a\n",
		"t\n\n;;\nName;Mail\n", "\x00\x00\xFE\xFF"} {
		f.Add([]byte(seed), 0)
	}
	f.Fuzz(func(t *testing.T, in []byte, header int) {
		if header < NoHeader || header > 20 {
			header = 0
		}
		file, err := Open(bytes.NewReader(in), Options{HeaderRow: header, Known: known("name", "mail"),
			Limits: Limits{Row: 4096, Cell: 512, Columns: 64}})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		names := map[string]bool{}
		for _, name := range file.Format.Header {
			if name == "" || names[name] {
				t.Fatalf("%q: header %q is empty or not unique", in, name)
			}
			names[name] = true
		}
		last := file.Format.HeaderRow
		for {
			rec, err := file.Next()
			if err != nil {
				var fileErr *Error
				if !errors.Is(err, io.EOF) && !errors.As(err, &fileErr) {
					t.Fatalf("%q: %v", in, err)
				}
				return
			}
			if rec.Line <= last && last > 0 && rec.Line < last {
				t.Fatalf("%q: line %d after line %d", in, rec.Line, last)
			}
			last = rec.Line
			if rec.Problem == None && len(rec.Fields) == 0 {
				t.Fatalf("%q: a row without cells and without a problem", in)
			}
		}
	})
}
