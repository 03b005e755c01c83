package exporter

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is how a file is written.
type Format string

// The formats. VCard is for contacts alone.
const (
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
	VCard     Format = "vcard"
	XLSX      Format = "xlsx"
)

// Formats returns all formats of a table.
func Formats(table Table) []Format {
	if table == Contacts {
		return []Format{CSV, JSONLines, VCard, XLSX}
	}
	return []Format{CSV, JSONLines, XLSX}
}

// FormatOf returns the format that a file's ending says, "" where it says none.
func FormatOf(path string) Format {
	switch strings.ToLower(filepath.Ext(uncompressed(path))) {
	case ".csv":
		return CSV
	case ".jsonl", ".ndjson", ".json":
		return JSONLines
	case ".vcf", ".vcard":
		return VCard
	case ".xlsx":
		return XLSX
	}
	return ""
}

// uncompressed takes the ending off a name that says how a file is compressed.
func uncompressed(path string) string {
	switch ext := filepath.Ext(path); strings.ToLower(ext) {
	case ".gz", ".zst", ".zstd":
		return strings.TrimSuffix(path, ext)
	}
	return path
}

// Compress returns what compresses as the ending of a name says; w itself, which is not
// closed, where it says nothing.
func Compress(w io.Writer, path string) (io.WriteCloser, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case ".zst", ".zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(1<<20))
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// encoder writes the rows of a file.
type encoder interface {
	begin(columns []Column) error
	// row takes the values of the columns, nil for null.
	row(texts [][]byte) error
	end() error
}

func newEncoder(w *bufio.Writer, o Options, m Measure) (encoder, error) {
	switch o.Format {
	case CSV:
		if o.Preset != "" {
			return &presetEncoder{preset: o.Preset, csv: csvEncoder{w: w, raw: o.Raw}}, nil
		}
		return &csvEncoder{w: w, raw: o.Raw}, nil
	case JSONLines:
		return &jsonEncoder{w: w}, nil
	case VCard:
		return &cardEncoder{w: w}, nil
	case XLSX:
		return newSheet(w, o.Table, m), nil
	}
	return nil, fmt.Errorf("there is no format %q", o.Format)
}
