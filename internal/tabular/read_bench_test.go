package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkRead reads contacts in each format, and reports rows a second and how much
// the heap has grown at most. CRM_BENCH_ROWS says how many.
func BenchmarkRead(b *testing.B) {
	rows := 100_000
	if s := os.Getenv("CRM_BENCH_ROWS"); s != "" {
		var err error
		if rows, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, format := range []struct {
		name string
		make func(testing.TB, int) []byte
	}{
		{"csv", benchCSV}, {"json", benchJSON}, {"vcard", benchVCard}, {"xlsx", benchWorkbook},
	} {
		b.Run(format.name, func(b *testing.B) {
			in := format.make(b, rows)
			b.SetBytes(int64(len(in)))
			most := uint64(0)
			for b.Loop() {
				most = max(most, readRows(b, in, rows))
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(most)/(1<<20), "heap-MB")
		})
	}
}

// readRows reads a file of so many contacts, and returns how much the heap has grown.
func readRows(b *testing.B, in []byte, rows int) (most uint64) {
	b.Helper()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	before := heap()
	f, err := Open(bytes.NewReader(in), Options{Known: func(h string) bool { return h == "Email" }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	for {
		rec, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if rec.Problem != None {
			b.Fatal(rec.Problem)
		}
		if n++; n%10_000 == 0 {
			if now := heap(); now > before {
				most = max(most, now-before)
			}
		}
	}
	if n != rows {
		b.Fatalf("%d rows of %d", n, rows)
	}
	return most
}

func benchCSV(_ testing.TB, rows int) []byte {
	var out bytes.Buffer
	out.WriteString("Email,Name,Phone,Company\n")
	for i := range rows {
		fmt.Fprintf(&out, "ada.%d@example.com,\"Lovelace, Ada %d\",+49 30 %07d,Sons %d Inc\n", i, i, i, i%5000)
	}
	return out.Bytes()
}

func benchJSON(_ testing.TB, rows int) []byte {
	var out bytes.Buffer
	for i := range rows {
		fmt.Fprintf(&out, `{"email": "ada.%d@example.com", "name": "Ada %d Lovelace", "phone": "+49 30 %07d", "company": "Sons %d Inc"}`+"\n",
			i, i, i, i%5000)
	}
	return out.Bytes()
}

func benchVCard(_ testing.TB, rows int) []byte {
	var out bytes.Buffer
	for i := range rows {
		fmt.Fprintf(&out, "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lovelace;Ada %d;;;\r\nFN:Ada %d "+
			"Lovelace\r\nEMAIL;TYPE=INTERNET:ada.%d@example.com\r\n"+
			"TEL;TYPE=CELL:+49 30 %07d\r\nORG:Sons %d Inc\r\nEND:VCARD\r\n", i, i, i, i, i%5000)
	}
	return out.Bytes()
}

// benchWorkbook has its texts in the table of shared ones, as spreadsheets write them.
func benchWorkbook(t testing.TB, rows int) []byte {
	var data, texts strings.Builder
	index := 0
	cell := func(column byte, row int, text string) {
		fmt.Fprintf(&data, `<c r="%c%d" t="s"><v>%d</v></c>`, column, row, index)
		fmt.Fprintf(&texts, "<si><t>%s</t></si>", text)
		index++
	}
	for row := 1; row <= rows+1; row++ {
		fmt.Fprintf(&data, `<row r="%d">`, row)
		if row == 1 {
			for i, header := range []string{"Email", "Name", "Phone", "Company"} {
				cell(byte('A'+i), row, header)
			}
		} else {
			cell('A', row, fmt.Sprintf("ada.%d@example.com", row))
			cell('B', row, fmt.Sprintf("Ada %d Lovelace", row))
			cell('C', row, fmt.Sprintf("+49 30 %07d", row))
			cell('D', row, fmt.Sprintf("Sons %d Inc", row%5000))
		}
		data.WriteString("</row>")
	}
	return makeWorkbook(t, data.String(), texts.String())
}
