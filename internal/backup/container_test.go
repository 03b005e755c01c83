package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func testManifest(tables ...string) *Manifest {
	m := &Manifest{
		Kind: KindTenant, SchemaVersion: 4, Versions: []Version{{Version: 4, Applied: true,
			AppliedAt: "2026-11-24 09:15:00"}},
		Tenant: &Tenant{ID: "0192", Slug: "acme", DisplayName: "Acme", Schema: "tenant_acme", Status: "active",
			Settings: json.RawMessage("{}")},
		TakenAt: time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC), Tables: []Table{},
		Sequences: []Sequence{{Name: "s", LastValue: 7, IsCalled: true}},
	}
	for _, name := range tables {
		m.Tables = append(m.Tables, Table{Name: name, Columns: []Column{{"a", "text"}}})
	}
	return m
}

// container writes a container with the given COPY text for each table.
func container(t testing.TB, m *Manifest, data ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range data {
		err := w.table(func(to io.Writer) (int64, error) {
			_, err := io.WriteString(to, text)
			return int64(strings.Count(text, "\n")), err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestContainerRoundTrip(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("a line that is not quite random\n", 100_000)
	for name, texts := range map[string][]string{
		"empty":  {"", ""},
		"small":  {"x\n", "\\N\ny\n"},
		"blocks": {large, "", strings.Repeat("0", 3*blockSize) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tables []string
			for i := range texts {
				tables = append(tables, fmt.Sprintf("t%d", i))
			}
			file := container(t, testManifest(tables...), texts...)
			r, err := NewReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			for i := range texts {
				table, data, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(data)
				if err != nil || string(got) != texts[i] || table.Name != tables[i] {
					t.Errorf("table %d: %d bytes, %v", i, len(got), err)
				}
			}
			if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last table: %v", err)
			}
			whole, err := r.Finish()
			if err != nil {
				t.Fatal(err)
			}
			quick, err := ReadManifest(bytes.NewReader(file), int64(len(file)))
			if err != nil || quick.Rows() != whole.Rows() || quick.Tables[0].SHA256 == "" {
				t.Errorf("ReadManifest: %+v, %v", quick, err)
			}
		})
	}
}

// A file that was cut anywhere, or in which any byte was changed, is never taken
// for a whole one.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	file := container(t, testManifest("one", "two"), strings.Repeat("some row\t1\n", 500), "last\n")
	if _, err := Verify(bytes.NewReader(file), nil); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		_, err := Verify(bytes.NewReader(file[:n]), nil)
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotBackup) {
			t.Errorf("cut after %d of %d bytes: %v", n, len(file), err)
		}
		if _, err := ReadManifest(bytes.NewReader(file[:n]), int64(n)); err == nil {
			t.Errorf("cut after %d of %d bytes: its manifest is believed", n, len(file))
		}
	}
	for at := range file {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			broken := bytes.Clone(file)
			broken[at] ^= flip
			if _, err := Verify(bytes.NewReader(broken), nil); err == nil {
				t.Errorf("byte %d changed by %#x: it is taken for whole", at, flip)
			}
		}
	}
	if _, err := Verify(bytes.NewReader(append(bytes.Clone(file), file...)), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("twice the same: %v", err)
	}
}

// raw makes a frame with a right checksum, whatever is in it.
func raw(kind byte, payload []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	out = append(out, payload...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli()))
}

func headOf(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte(magic), FormatVersion), raw(frameHeader, payload)...)
}

// hostile are files that somebody made to do harm.
func hostile(t testing.TB) map[string][]byte {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	text := func(change func(m *Manifest)) []byte {
		m := testManifest("one")
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := text(func(*Manifest) {})
	bomb := encoder.EncodeAll(make([]byte, 64<<20), nil)
	row := append(append(headOf(good), raw(frameTable, make([]byte, 4))...),
		raw(frameData, encoder.EncodeAll([]byte("x\n"), nil))...)
	counted := func(rows, size uint64) []byte {
		sum := sha256.Sum256([]byte("x\n"))
		end := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rows), size)
		return append(bytes.Clone(row), raw(frameEnd, append(end, sum[:]...))...)
	}
	long := binary.BigEndian.AppendUint32([]byte{frameHeader}, 1<<30)
	return map[string][]byte{
		"a bomb":             append(append(headOf(good), raw(frameTable, make([]byte, 4))...), raw(frameData, bomb)...),
		"a manifest of 1 GB": append(binary.BigEndian.AppendUint16([]byte(magic), FormatVersion), long...),
		"16 MB that never come": append(binary.BigEndian.AppendUint16([]byte(magic), FormatVersion),
			binary.BigEndian.AppendUint32([]byte{frameHeader}, maxJSON)...),
		"a path as slug":      headOf(text(func(m *Manifest) { m.Tenant.Slug = "../../etc/passwd" })),
		"an escape in a slug": headOf(text(func(m *Manifest) { m.Tenant.Slug = "a\x1b[31m" })),
		"no tenant":           headOf(text(func(m *Manifest) { m.Tenant = nil })),
		"another kind":        headOf(text(func(m *Manifest) { m.Kind = "pet" })),
		"a table twice":       headOf(text(func(m *Manifest) { m.Tables = append(m.Tables, m.Tables[0]) })),
		"a nameless column":   headOf(text(func(m *Manifest) { m.Tables[0].Columns[0].Name = "" })),
		"a long table":        headOf(text(func(m *Manifest) { m.Tables[0].Name = strings.Repeat("x", 64) })),
		"a NUL in a table":    headOf(text(func(m *Manifest) { m.Tables[0].Name = "a\x00b" })),
		"settings of no kind": headOf(text(func(m *Manifest) { m.Tenant.Settings = json.RawMessage("[1]") })),
		"no JSON":             headOf([]byte("{")),
		"the wrong table":     append(headOf(good), raw(frameTable, []byte{0, 0, 0, 9})...),
		"data before a table": append(headOf(good), raw(frameData, []byte("x"))...),
		"no zstd": append(append(headOf(good), raw(frameTable, make([]byte, 4))...),
			raw(frameData, []byte("hello"))...),
		"a wrong count": counted(2, 2),
		"a wrong size":  counted(1, 3),
		"a short end": append(append(headOf(good), raw(frameTable, make([]byte, 4))...),
			raw(frameEnd, []byte("x"))...),
	}
}

func TestHostileFiles(t *testing.T) {
	for name, file := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Verify(bytes.NewReader(file), nil)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "before its end") &&
				!strings.Contains(name, "manifest") && !strings.Contains(name, "never") {
				t.Errorf("error %v, want another ErrCorrupt", err)
			}
			const most = 32 << 20
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("%d MB were allocated", got>>20)
			}
			if err != nil && strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("the error carries an escape sequence: %q", err)
			}
		})
	}
}

func TestOtherFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"empty":      {"", ErrNotBackup},
		"text":       {"hello, this is a text\n", ErrNotBackup},
		"pg_dump":    {"PGDMP\x01\x0e\x00\x04\x08\x01\x01\x01\x00\x00", ErrNotBackup},
		"age":        {"age-encryption.org/v1\n-> X25519 abc\n", ErrEncrypted},
		"a newer":    {magic + "\x00\x02and more", ErrNewerFormat},
		"the begin":  {magic[:5], ErrCorrupt},
		"only magic": {magic, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Verify(strings.NewReader(c.file), nil); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// Writing and reading a large table takes no more memory than a small one.
func TestMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	runtime.GC() // of what other tests have left
	line := []byte(strings.Repeat("0123456789abcdef", 8) + "\n")
	const lines = 2 << 20 // 270 MB
	in, out := io.Pipe()
	go func() {
		w, err := newWriter(out, testManifest("one"))
		if err == nil {
			err = w.table(func(to io.Writer) (int64, error) {
				for range lines {
					if _, err := to.Write(line); err != nil {
						return 0, err
					}
				}
				return lines, nil
			})
		}
		if err == nil {
			err = w.finish()
		}
		out.CloseWithError(err)
	}()
	var peak uint64
	count := 0
	m, err := Verify(in, func(int64) {
		if count++; count%50 == 0 {
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			peak = max(peak, s.HeapAlloc)
		}
	})
	if err != nil || m.Rows() != lines {
		t.Fatalf("%d rows, %v", m.Rows(), err)
	}
	const most = 48 << 20
	if peak > most {
		t.Errorf("%d MB of heap", peak>>20)
	}
}

func FuzzReader(f *testing.F) {
	good := container(f, testManifest("one", "two"), "a\nb\n", "")
	f.Add(good)
	f.Add(good[:len(good)/2])
	for _, file := range hostile(f) {
		if len(file) < 1<<16 {
			f.Add(file)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Verify(bytes.NewReader(file), nil)
		if err == nil {
			quick, quickErr := ReadManifest(bytes.NewReader(file), int64(len(file)))
			if quickErr != nil || quick.Rows() != m.Rows() {
				t.Errorf("whole, but its manifest cannot be read quickly: %v", quickErr)
			}
			return
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotBackup) && !errors.Is(err, ErrNewerFormat) &&
			!errors.Is(err, ErrEncrypted) {
			t.Errorf("error %v has no name", err)
		}
	})
}
