package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// maxNamesFile bounds a file of names, in bytes: an unterminated quote would
// otherwise be read to its end.
const maxNamesFile = 64 << 20

// readNamesCSV reads names, and display names in a second column, from CSV with
// commas or semicolons. A header is recognised by its words, which then say which
// column is which.
func readNamesCSV(file string, in io.Reader) ([]named, error) {
	r := bufio.NewReader(io.LimitReader(in, maxNamesFile))
	if mark, err := r.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = r.Discard(len(mark)) // it was peeked at
	}
	rows := csv.NewReader(r)
	rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.Comment = -1, true, '#'
	if line, _ := r.Peek(1024); semicolons(line) {
		rows.Comma = ';'
	}
	var out []named
	nameAt, displayAt := 0, 1
	for first := true; ; first = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, cli.Usagef("%s: %w", file, err)
		}
		if first {
			if at := headerColumn(row, "tenant", "name", "slug"); at >= 0 {
				nameAt, displayAt = at, headerColumn(row, "display_name", "display name", "displayname", "title")
				continue
			}
		}
		n := named{name: cell(row, nameAt), display: cell(row, displayAt)}
		if n.name == "" && n.display == "" {
			continue
		}
		if _, err := registry.Slug(n.name); err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		out = append(out, n)
	}
}

// semicolons reports whether the first line has semicolons and no commas.
func semicolons(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.ContainsRune(line, ';') && !bytes.ContainsRune(line, ',')
}

// headerColumn returns where a header has one of the words, -1 for nowhere.
func headerColumn(header []string, words ...string) int {
	return slices.IndexFunc(header, func(h string) bool {
		return slices.Contains(words, strings.ToLower(strings.TrimSpace(h)))
	})
}

func cell(row []string, at int) string {
	if at < 0 || at >= len(row) {
		return ""
	}
	return strings.TrimSpace(row[at])
}
