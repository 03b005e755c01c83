package lint

import (
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// source is a migration file, cut into statements.
type source struct {
	file    File
	version int64
	named   bool   // the name is that of a migration
	reason  string // why it is none, although it looks like one
	lines   []int

	hasUp, hasDown bool
	noTransaction  bool
	statements     []*statement
	allows         []*allow
	found          []found
}

// statement is one SQL command of a file.
type statement struct {
	sql        string
	start, end int // bytes from the start of the file
	down       bool
	block      bool               // between StatementBegin and StatementEnd
	newer      bool               // olderSyntax had to help
	refused    bool               // a run would not take it
	validates  bool               // it does nothing but VALIDATE CONSTRAINT
	tree       node               // the zero node when it could not be read; see forget
	short      *sqltext.Shortened // what the tree was read from
	needs      *sqltext.Needs
}

// allow is a comment that silences a rule.
type allow struct {
	sqltext.Allow

	used bool
}

func newSource(f File) *source {
	s := &source{file: f, lines: []int{0}}
	for i := range f.Text {
		if f.Text[i] == '\n' && i+1 < len(f.Text) {
			s.lines = append(s.lines, i+1)
		}
	}
	s.version, s.reason = sqltext.FileVersion(s.base())
	if s.named = s.version > 0; s.named && f.Err != nil {
		s.reason = sqltext.Unreadable(f.Err)
	}
	return s
}

// Version returns the version that a file's name begins with: 5 of
// "00005_add_company.sql". It is false for a name that no migration has.
func Version(file string) (int64, bool) {
	v, _ := sqltext.FileVersion(path.Base(strings.ReplaceAll(file, `\`, "/")))
	return v, v > 0
}

// Looks reports whether a file's name is that of a migration, or looks like one and
// would be refused by a run.
func Looks(name string) bool {
	v, reason := sqltext.FileVersion(name)
	return v > 0 || reason != ""
}

func (src *source) base() string { return path.Base(strings.ReplaceAll(src.file.Path, `\`, "/")) }

// position turns an offset in bytes into a line and a column, both 1-based.
func (src *source) position(offset int) (line, column int) {
	offset = max(0, min(offset, len(src.file.Text)))
	line = sort.SearchInts(src.lines, offset+1)
	return line, utf8.RuneCountInString(src.file.Text[src.lines[line-1]:offset]) + 1
}

// line returns the text of a 1-based line.
func (src *source) line(n int) string {
	text := src.file.Text[src.lines[n-1]:]
	text, _, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(text, "\r")
}

// allowed reports whether a finding is silenced, and notes who did it.
func (src *source) allowed(f found) bool {
	silenced := false
	for _, a := range src.allows {
		if a.Rule == f.Rule && a.Reason != "" && (a.File || f.statement != nil && a.Command == f.statement.start) {
			a.used, silenced = true, true
		}
	}
	return silenced
}

// excerpt returns the start of the statement on one line.
func (s *statement) excerpt() string {
	const limit = 120
	text := strings.Join(strings.Fields(s.sql[:min(len(s.sql), 100*limit)]), " ")
	if utf8.RuneCountInString(text) > limit {
		text = string([]rune(text)[:limit-1]) + "…"
	}
	return text
}

// begins reports whether the statement's first word is word.
func (s *statement) begins(word string) bool {
	for t := range s.eachToken() {
		return t.is(word)
	}
	return false
}

// forget gives back what only the look at the statement itself needs. The statements that
// are looked at again from other files keep their trees.
func (s *statement) forget() {
	s.validates = validates(s)
	s.needs, s.short = nil, nil
	switch s.tree.kind {
	case "AlterEnumStmt", "CreateEnumStmt", "VariableSetStmt":
	default:
		s.tree = node{kind: s.tree.kind}
	}
}

// nesting returns a bound of how deep the parse tree of a text may be: what stands
// between two commas or brackets may nest once for each operator, and brackets
// add up.
func nesting(text string) int {
	depth, deepest := []int{0}, 0
	sum := 0
	var before token
	for t := range eachToken(text, 0) {
		top := len(depth) - 1
		last := before
		before = t
		if t.Kind == sqltext.Symbol && last.Kind == sqltext.Symbol && last.end == t.start && nests(t) && nests(last) {
			continue // an operator of several characters
		}
		switch {
		case t.text == "(" || t.text == "[":
			depth = append(depth, 1)
			sum++
		case t.text == ")" || t.text == "]":
			if top > 0 {
				sum -= depth[top]
				depth = depth[:top]
			}
		case t.text == ",":
			sum -= depth[top]
			depth[top] = min(1, top)
			sum += depth[top]
		case nests(t):
			depth[top]++
			sum++
		}
		deepest = max(deepest, sum)
	}
	return deepest
}

// nests reports whether a token may put one node into another: operators, and the
// words that work like one.
func nests(t token) bool {
	switch strings.ToLower(t.text) {
	case "union", "intersect", "except", "join", "not", "case", "select", "collate", "is", "like", "ilike",
		"similar", "in", "between", "at", "and", "or", "explain", "schema", "isnull", "notnull", "when", "over", "filter":
		return true
	case ".", ";":
		return false
	}
	if _, name := t.name(); name {
		return false
	}
	return strings.ContainsRune("+-*/<>=~!@#%^&|`?:", rune(t.text[0]))
}

// read cuts a file into statements.
func (c *checker) read(src *source) error {
	text := src.file.Text
	if i := invalidByte(text); i >= 0 {
		c.at(nil, i, ruleSyntax, fmt.Sprintf("byte %#02x is no text in UTF-8", text[i]), "Save the file as UTF-8.")
		return nil
	}
	masked := c.maskForeign(src)
	err := checkScan(masked)
	var bad *syntaxError
	if asSyntax(err, &bad) {
		c.at(nil, bad.offset, ruleSyntax, bad.message, "")
		src.hasUp, src.hasDown = true, true // nothing is known about them
		return nil
	}
	if err != nil {
		return err
	}
	for _, a := range sqltext.Allows(masked) {
		src.allows = append(src.allows, &allow{Allow: a})
	}
	sp := splitter{c: c, src: src, text: masked, stray: -1}
	sp.run()
	return nil
}

func invalidByte(text string) int {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return i
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			return i
		}
	}
	return -1
}

// foreign are the patterns of what is no SQL. They are made for a run and not for
// the program: every command would pay for them.
type foreign struct{ psqlCommand, copyStdin, envVariable, envsub *regexp.Regexp }

func newForeign() foreign {
	return foreign{
		psqlCommand: regexp.MustCompile(`^\\[a-zA-Z.!?]`),
		copyStdin:   regexp.MustCompile(`(?i)^\s*copy\s.*\sfrom\s+stdin\b`),
		envVariable: regexp.MustCompile(`\$\{[^}\s]*\}`),
		envsub:      regexp.MustCompile(`(?i)^--\s*\+goose\s+envsub\s+on`),
	}
}

// maskForeign blanks what is no SQL and reports it: commands of psql and the
// data of a dump. Variables that goose puts in become names of the same length.
func (c *checker) maskForeign(src *source) string {
	var masked []byte // a copy, made where something is masked
	text := func() []byte {
		if masked == nil {
			masked = []byte(src.file.Text)
		}
		return masked
	}
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			text()[i] = ' '
		}
	}
	data, envsub := false, false
	lastData := strings.LastIndex(src.file.Text, "\n\\.")
	for n := range src.lines {
		line := src.line(n + 1)
		from := src.lines[n]
		switch {
		case data:
			data = line != `\.`
			blank(from, from+len(line))
		case strings.HasPrefix(line, `\`) && c.foreign.psqlCommand.MatchString(line):
			word, _, _ := strings.Cut(line, " ")
			c.at(nil, from, rulePgDump, word+" is a command of psql, no SQL", "")
			blank(from, from+len(line))
		case c.foreign.copyStdin.MatchString(line):
			data = from < lastData
		case strings.HasPrefix(line, "--"):
			envsub = envsub || c.foreign.envsub.MatchString(line)
		}
	}
	if envsub {
		for _, m := range c.foreign.envVariable.FindAllIndex(text(), -1) {
			for i := m[0]; i < m[1]; i++ {
				if b := text()[i]; b < '0' || b > '9' && b < 'A' || b > 'Z' && b < 'a' || b > 'z' {
					text()[i] = '_'
				}
			}
		}
	}
	if masked == nil {
		return src.file.Text
	}
	return string(masked)
}
