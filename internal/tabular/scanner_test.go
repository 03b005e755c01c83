package tabular

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// row is a record as a test writes it.
type row struct {
	line    int
	fields  []string
	problem Problem
}

func (r row) String() string { return fmt.Sprintf("%d %q %d", r.line, r.fields, r.problem) }

func scanAll(t testing.TB, s *Scanner) (rows []row, raw []byte, err error) {
	t.Helper()
	for {
		rec, err := s.Next()
		if errors.Is(err, io.EOF) {
			return rows, raw, nil
		}
		if err != nil {
			return rows, raw, err
		}
		raw = append(raw, rec.Raw...)
		r := row{line: rec.Line, problem: rec.Problem}
		if rec.Problem == None {
			for _, f := range rec.Fields {
				r.fields = append(r.fields, string(f))
			}
		}
		rows = append(rows, r)
	}
}

func TestScanner(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		in      string
		comma   byte
		crEnds  bool
		columns int
		want    []row
	}{
		{name: "plain", in: "a,b\n1,2\n", want: []row{{1, []string{"a", "b"}, None}, {2, []string{"1", "2"}, None}}},
		{name: "no line end at the end", in: "a,b\n1,", want: []row{{1, []string{"a", "b"}, None},
			{2, []string{"1", ""}, None}}},
		{name: "crlf", in: "a\r\nb\r\n", want: []row{{1, []string{"a"}, None}, {2, []string{"b"}, None}}},
		{name: "cr alone", in: "a,b\r1,2\r", crEnds: true, want: []row{{1, []string{"a", "b"}, None},
			{2, []string{"1", "2"}, None}}},
		{name: "cr in a cell", in: "a\rb,c\n", want: []row{{1, []string{"a\rb", "c"}, None}}},
		{name: "cr at the end", in: "a\r", want: []row{{1, []string{"a"}, None}}},
		{name: "quoted line ends", in: "\"a\r\nb\",c\nd,e\n", want: []row{{1, []string{"a\r\nb", "c"}, None},
			{3, []string{"d", "e"}, None}}},
		{name: "quoted cr", in: "\"a\rb\",c\rd,e\r", crEnds: true, want: []row{{1, []string{"a\rb", "c"}, None},
			{3, []string{"d", "e"}, None}}},
		{name: "escaped quotes", in: `"a ""b"" c","""",""` + "\n", want: []row{{1, []string{`a "b" c`, `"`, ""}, None}}},
		{name: "bare quotes", in: `37°36'37.8"N,5" pipe` + "\n", want: []row{{1, []string{`37°36'37.8"N`, `5" pipe`}, None}}},
		{name: "blanks after a quote", in: "\"a\" ,\"b\"\t\n", want: []row{{1, []string{"a", "b"}, None}}},
		{name: "tab after a quote delimits", in: "\"a\"\t\"b\"\n", comma: '\t', want: []row{{1, []string{"a", "b"}, None}}},
		{name: "text after a quote", in: "\"Bob\" Smith,1\nc,d\n", want: []row{{1, nil, BadQuotes},
			{2, []string{"c", "d"}, None}}},
		{name: "text after a quote, more quotes follow", in: "\"a\"b,\"c\nd\"\ne,f\n",
			want: []row{{1, nil, BadQuotes}, {3, []string{"e", "f"}, None}}},
		{name: "open quote at the end", in: "a,b\n1,\"2\n3,4\n", columns: 2,
			want: []row{{1, []string{"a", "b"}, None}, {2, nil, OpenQuote}, {3, []string{"3", "4"}, None}}},
		{name: "open quote takes the rest", in: "a,b\n1,\"2\n3 4\n", columns: 2,
			want: []row{{1, []string{"a", "b"}, None}, {2, nil, OpenQuote}}},
		{
			name: "open quote closed by another cell's", in: "1,\"2\n3,4\n5,\"6\"\n7,8\n", columns: 2,
			want: []row{{1, nil, OpenQuote}, {2, []string{"3", "4"}, None}, {3, []string{"5", "6"}, None},
				{4, []string{"7", "8"}, None}},
		},
		{
			name: "broken cell of several lines", in: "1,\"two\nand a \"half\"\n\",3\n7,8,9\n", columns: 3,
			want: []row{{1, nil, BadQuotes}, {3, nil, OpenQuote}, {4, []string{"7", "8", "9"}, None}},
		},
		{name: "blank lines are records", in: "\na\n\n", want: []row{{1, []string{""}, None}, {2, []string{"a"}, None},
			{3, []string{""}, None}}},
		{name: "empty", in: "", want: nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			comma := tt.comma
			if comma == 0 {
				comma = ','
			}
			for _, source := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
			} {
				// A tiny buffer makes every record cross its end.
				s := newScanner(source(strings.NewReader(tt.in)), Limits{}, 2)
				s.setDialect(comma, tt.crEnds)
				s.columns = tt.columns
				got, raw, err := scanAll(t, s)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("records\n got %v\nwant %v", got, tt.want)
				}
				if string(raw) != tt.in {
					t.Errorf("raw text\n got %q\nwant %q", raw, tt.in)
				}
			}
		})
	}
}

func TestScannerLimits(t *testing.T) {
	t.Parallel()
	limits := Limits{Cell: 10, Row: 64, Columns: 4}
	long := strings.Repeat("x", 100)
	tests := []struct {
		name string
		in   string
		want []row
		err  string
	}{
		{name: "cell", in: "a," + long[:11] + "\nb,c\n", want: []row{{1, nil, LongCell}, {2, []string{"b", "c"}, None}}},
		{name: "row", in: long + "," + long + "\nb,c\n", want: []row{{1, nil, LongRow}, {2, []string{"b", "c"}, None}}},
		{name: "row without an end", in: long, want: []row{{1, nil, LongRow}}},
		{name: "columns", in: "1,2,3,4,5\nb,c\n", want: []row{{1, nil, ManyColumns}, {2, []string{"b", "c"}, None}}},
		{
			name: "open quote", in: "a,b\n\"c,d\n" + strings.Repeat("e,f\n", 40),
			want: append([]row{{1, []string{"a", "b"}, None}, {2, nil, OpenQuote}}, repeatRow(3, 40, "e", "f")...),
		},
		{
			name: "open quote over prose", in: "a,b\n\"c,d\n" + strings.Repeat("some text\n", 40),
			want: []row{{1, []string{"a", "b"}, None}}, err: "line 2: a quote opened here is not closed within 64 bytes",
		},
		{name: "open quote in a long line", in: "\"" + long + "\nb,c\n", want: []row{{1, nil, LongRow},
			{2, []string{"b", "c"}, None}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{16, 4096} {
				s := newScanner(strings.NewReader(tt.in), limits, size)
				s.setDialect(',', false)
				s.columns = 2
				got, _, err := scanAll(t, s)
				if fmt.Sprint(err) != fmt.Sprint(errors.New(tt.err)) && (err != nil || tt.err != "") {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("buffer of %d\n got %v\nwant %v", size, got, tt.want)
				}
				if len(s.buf) > 4096 {
					t.Errorf("the buffer grew to %d bytes", len(s.buf))
				}
			}
		})
	}
}

func repeatRow(line, n int, fields ...string) (rows []row) {
	for i := range n {
		rows = append(rows, row{line + i, fields, None})
	}
	return rows
}

// repeating is text that comes again and again.
type repeating struct {
	text string
	left int // bytes
}

func (r *repeating) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < min(len(p), r.left) {
		n += copy(p[n:min(len(p), r.left)], r.text)
	}
	r.left -= n
	return n, nil
}

// A line of many megabytes, a quote that is never closed, a million
// columns: the buffer stays within twice the limit of a row.
func TestScannerMemory(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	tests := map[string]struct {
		in  io.Reader
		bad Problem
		err string
	}{
		"long line": {in: &repeating{"x", size}, bad: LongRow},
		"long cell": {in: io.MultiReader(strings.NewReader("a,\""), &repeating{"some text without an end ", size}),
			bad: LongRow},
		"open quote": {in: io.MultiReader(strings.NewReader("a,\""), &repeating{"text\n", size}),
			err: "line 1: a quote opened here is not closed within 4 MiB"},
		"a million columns":  {in: io.MultiReader(strings.NewReader("a"), &repeating{",", 1_000_000}), bad: ManyColumns},
		"millions of quotes": {in: &repeating{"\"", size}, bad: LongRow},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := NewScanner(tt.in, ',', false, Limits{})
			s.columns = 2
			rows, _, err := scanAll(t, s)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %d rows and %v, want %s", len(rows), err, tt.err)
				}
			} else if err != nil || len(rows) != 1 || rows[0].problem != tt.bad {
				t.Errorf("got %d rows and %v, want one with problem %d", len(rows), err, tt.bad)
			}
			if kept := cap(s.buf) + cap(s.scratch) + 24*cap(s.fields); kept > 2*defaultRow+1<<20 {
				t.Errorf("%d bytes are kept", kept)
			}
		})
	}
}

func TestScannerPassesReadErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	s := NewScanner(io.MultiReader(strings.NewReader("a,b\n1,\"2\n"), iotest.ErrReader(broken)), ',', false, Limits{})
	rows, _, err := scanAll(t, s)
	if !errors.Is(err, broken) || len(rows) != 1 {
		t.Errorf("got %v and error %v, want one row and %v", rows, err, broken)
	}
}

// What encoding/csv accepts, the scanner must read the same way, but for line
// endings inside quotes, which encoding/csv changes to LF.
func FuzzScannerAgreesWithEncodingCSV(f *testing.F) {
	for _, seed := range []string{
		"a,b\n1,2\n", "\"a\"\"b\",c\r\n\"d\ne\",\n", "\n\n,\n", "a\r\nb\r", "\"\"\n\"\"", "ä,\"ö\",ü", "a,\"b\r\nc\"\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		std := csv.NewReader(bytes.NewReader(in))
		std.FieldsPerRecord = -1
		want, err := std.ReadAll()
		if err != nil || strings.Contains(strings.ReplaceAll(string(in), "\r\n", ""), "\r") {
			return
		}
		s := newScanner(bytes.NewReader(in), Limits{}, int(size)+1)
		s.setDialect(',', false)
		var got [][]string
		for {
			rec, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || rec.Problem != None {
				t.Fatalf("%q: problem %v, error %v", in, rec, err)
			}
			if len(rec.Text()) == 0 {
				continue // encoding/csv passes over empty lines
			}
			var fields []string
			for _, cell := range rec.Fields {
				fields = append(fields, strings.ReplaceAll(string(cell), "\r\n", "\n"))
			}
			got = append(got, fields)
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q\n got %q\nwant %q", in, got, want)
		}
	})
}

// Whatever the input and wherever its reads break, nothing of it is lost: the
// records' text put together is the input, and their lines add up.
func FuzzScannerKeepsEverything(f *testing.F) {
	for _, seed := range []string{"a,b\n\"1,2\n3,4\n", "\"a\"b\nc", "a\rb\r\n\"", "\"\n\"\"\n\"x,\n1,2", ",\"\"\"\n"} {
		f.Add([]byte(seed), uint8(2), uint8(2), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, size, columns uint8, crEnds bool) {
		read := func(size int) ([]row, []byte) {
			s := newScanner(bytes.NewReader(in), Limits{}, size)
			s.setDialect(';', crEnds)
			s.columns = int(columns)
			line := 1
			var rows []row
			var raw []byte
			for {
				rec, err := s.Next()
				if errors.Is(err, io.EOF) {
					return rows, raw
				}
				if err != nil {
					t.Fatalf("%q: %v", in, err)
				}
				if len(rec.Raw) == 0 {
					t.Fatalf("%q: a record without text", in)
				}
				if rec.Line != line {
					t.Fatalf("%q: a record in line %d, want %d", in, rec.Line, line)
				}
				line += s.countLines(rec.Raw)
				raw = append(raw, rec.Raw...)
				rows = append(rows, row{rec.Line, toStrings(rec.Fields), rec.Problem})
			}
		}
		whole, raw := read(len(in) + 1)
		if !bytes.Equal(raw, in) {
			t.Fatalf("text\n got %q\nwant %q", raw, in)
		}
		if parts, _ := read(int(size) + 1); fmt.Sprint(parts) != fmt.Sprint(whole) {
			t.Fatalf("%q: read in parts\n got %v\nwant %v", in, parts, whole)
		}
	})
}

func toStrings(fields [][]byte) (s []string) {
	for _, f := range fields {
		s = append(s, string(f))
	}
	return s
}

func BenchmarkScanner(b *testing.B) {
	var plain, quoted bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&plain, "user%d@example.com,Ada Lovelace %d,+44 20 7946 %04d,Analytical Engines,London,GB\n",
			i, i, i%10000)
		fmt.Fprintf(&quoted, "\"user%d@example.com\",\"Lovelace, Ada %d\",\"+44 20 7946 %04d\",\"a \"\"quoted\"\" "+
			"word\",\"London\nGB\"\n", i, i, i%10000)
	}
	for name, text := range map[string][]byte{"plain": plain.Bytes(), "quoted": quoted.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s := NewScanner(bytes.NewReader(text), ',', false, Limits{})
				for {
					if _, err := s.Next(); err != nil {
						break
					}
				}
			}
		})
		b.Run(name+"/encoding-csv", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r := csv.NewReader(bytes.NewReader(text))
				r.ReuseRecord = true
				for {
					if _, err := r.Read(); err != nil {
						break
					}
				}
			}
		})
	}
}
