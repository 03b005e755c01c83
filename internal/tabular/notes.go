package tabular

import (
	"bytes"
	"regexp"
)

// noteFinder marks the rows that are the export's own: the header once more, where
// exports were put one behind the other, and what stands below the rows, such as
// "Copyright (c) ...".
type noteFinder struct {
	header [][]byte
	held   []Record // a block of lone cells and what ended it
	err    error    // that came after it
	blank  bool     // the row before was blank
}

// mostHeld is how many lines a block below the rows may have.
const mostHeld = 12

func (n *noteFinder) next(rows Reader) (*Record, error) {
	if len(n.held) > 0 {
		rec := &n.held[0]
		n.held = n.held[1:]
		return rec, nil
	}
	if n.err != nil {
		return nil, n.err
	}
	rec, err := rows.Next()
	if err != nil {
		return nil, err
	}
	blank := n.blank
	n.blank = rec.Blank
	if rec.Problem != None || rec.Blank || len(n.header) == 0 || len(rec.Fields) == 0 {
		return rec, nil
	}
	if n.repeats(rec) {
		rec.Note = true
		return rec, nil
	}
	if len(n.header) < 2 || !lone(rec) || !blank && !footer(rec.Fields[0]) {
		return rec, nil
	}
	return n.block(rec, rows), nil
}

// repeats reports whether rec is the header again.
func (n *noteFinder) repeats(rec *Record) bool {
	if !bytes.Equal(rec.Fields[0], n.header[0]) || len(rec.Fields) != len(n.header) {
		return false
	}
	for i, cell := range rec.Fields {
		if !bytes.Equal(cell, n.header[i]) {
			return false
		}
	}
	return true
}

// lone reports whether only the first cell of a row holds something, or a line that
// the delimiter has split.
func lone(rec *Record) bool {
	if len(rec.Fields[0]) == 0 {
		return false
	}
	for _, cell := range rec.Fields[1:] {
		if len(bytes.TrimSpace(cell)) > 0 {
			return isLegal(rec.Fields[0])
		}
	}
	return true
}

// block reads on as long as the rows have one cell. Where one of them is a footer,
// all are.
func (n *noteFinder) block(rec *Record, rows Reader) *Record {
	block := []Record{rec.clone()}
	found := footer(rec.Fields[0])
	for len(block) < mostHeld {
		next, err := rows.Next()
		if err != nil {
			n.err = err
			break
		}
		block = append(block, next.clone())
		if next.Blank {
			continue
		}
		if next.Problem != None || len(next.Fields) == 0 || !lone(next) {
			break
		}
		found = found || footer(next.Fields[0])
	}
	if found {
		for i := range block {
			if b := &block[i]; b.Problem == None && !b.Blank && len(b.Fields) > 0 && lone(b) {
				b.Note = true
			}
		}
	}
	n.blank = block[len(block)-1].Blank
	n.held = block[1:]
	return &block[0]
}

// footers is how lines begin that exports write below the rows.
var footers = regexp.MustCompile(`(?i)^\s*(copyright (\(c\)|©)|©|confidential information|generated (by|on|at)\b|report (generated|run)|exported (by|from|on)\b|grand totals?\b|end of (report|file|list)\b|total( records| rows| contacts)?:? *\d+ *$|\(?\d+ (rows?|records?|contacts?)( affected)?\)?\s*$|\*+ *end\b)`)

// legal is how the line begins that may hold commas.
var legal = regexp.MustCompile(`(?i)^\s*(copyright \(c\) |copyright © |© )\d{4}`)

func isLegal(cell []byte) bool {
	cell = bytes.TrimSpace(cell)
	if len(cell) < 9 || !bytes.EqualFold(cell[:9], []byte("copyright")) && !bytes.HasPrefix(cell, []byte("©")) {
		return false
	}
	return legal.Match(cell)
}

func footer(cell []byte) bool { return len(cell) < 200 && footers.Match(cell) }
