package lint

import (
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// splitter follows goose's annotations and PostgreSQL's semicolons at once.
type splitter struct {
	c    *checker
	src  *source
	text string

	section   string // "", "up" or "down"
	block     bool
	blockFrom int
	open      bool // a statement has begun
	from, to  int  // the statement under way
	cut       sqltext.Cutter
	last      *statement
	stray     int // where the first before any section begins, -1 for none
}

func (sp *splitter) run() {
	scanner := sqltext.NewScanner(sp.text)
	next, more := scanner.Token()
	for n := range sp.src.lines {
		from := sp.src.lines[n]
		line := sp.src.line(n + 1)
		if !strings.HasPrefix(strings.TrimSpace(line), "--") || !strings.Contains(line, "+goose") {
			continue
		}
		for ; more && next.Offset < from; next, more = scanner.Token() {
			sp.token(next)
		}
		sp.annotation(line, from)
	}
	for ; more; next, more = scanner.Token() {
		sp.token(next)
	}
	sp.endSection()
	if sp.block {
		sp.goose(sp.blockFrom, "StatementBegin has no StatementEnd", "")
	}
	switch {
	case !sp.src.hasUp:
		sp.goose(0, "the file has no section \"-- +goose Up\"", "")
	case sp.stray >= 0:
		sp.goose(sp.stray, "a statement stands before \"-- +goose Up\"", "")
	}
}

func (sp *splitter) goose(offset int, message, fix string) {
	sp.c.at(nil, offset, ruleGoose, message, fix)
}

// annotation follows one line of goose's, as goose itself reads it.
func (sp *splitter) annotation(line string, offset int) {
	if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
		sp.goose(offset, "an annotation of goose must stand at the start of its line", "")
	}
	command := strings.Replace(strings.ReplaceAll(line, "--", ""), "+goose", "", 1)
	command = strings.ToLower(strings.TrimSpace(command))
	switch command {
	case "up":
		if sp.section != "" {
			sp.goose(offset, "a second section Up", "")
		}
		sp.section, sp.src.hasUp = "up", true
	case "down":
		sp.endSection()
		switch sp.section {
		case "":
			sp.goose(offset, "the section Down comes before Up", "")
		case "down":
			sp.goose(offset, "a second section Down", "")
		}
		sp.section, sp.src.hasDown = "down", true
	case "statementbegin": // may stand within a statement, which then goes on
		if sp.block {
			sp.goose(offset, "StatementBegin within another", "")
		}
		sp.block, sp.blockFrom = true, offset
	case "statementend":
		if !sp.block {
			sp.goose(offset, "StatementEnd without StatementBegin", "")
		}
		sp.finish()
		sp.block = false
	case "no transaction":
		sp.src.noTransaction = true
	case "envsub on", "envsub off":
	default:
		sp.goose(offset, fmt.Sprintf("goose knows no annotation %q", command),
			"Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, ENVSUB ON and ENVSUB OFF are those it knows.")
	}
}

// endSection wants the last statement to be finished.
func (sp *splitter) endSection() {
	if sp.section == "" {
		sp.finish()
		return
	}
	if sp.open && !sp.block {
		sp.goose(sp.from, "the statement is not finished: its semicolon is missing", "")
		sp.finish()
		return
	}
	sp.finish()
	if sp.last != nil && !sp.last.block && sp.last.down == (sp.section == "down") {
		line, _ := sp.src.position(max(sp.last.start, sp.last.end-1))
		if !endsWithSemicolon(sp.src.line(line)) {
			sp.goose(sp.last.end-1, "goose wants the semicolon at the end of its line", "")
		}
	}
	sp.last = nil
}

func (sp *splitter) token(t sqltext.Token) {
	if t.Text == ";" && !sp.open {
		return
	}
	if sp.section == "" && sp.stray < 0 {
		sp.stray = t.Offset
	}
	if !sp.open {
		sp.open, sp.from = true, t.Offset
	}
	sp.to = t.End()
	if sp.cut.End(t) {
		sp.finish()
	}
}

// finish ends the current statement, if there is one.
func (sp *splitter) finish() {
	if !sp.open {
		return
	}
	s := &statement{sql: sp.text[sp.from:sp.to], start: sp.from, end: sp.to, down: sp.section == "down", block: sp.block}
	sp.open, sp.cut, sp.last = false, sqltext.Cutter{}, s
	sp.src.statements = append(sp.src.statements, s)
	sp.checkCuts(s)
}

// checkCuts finds where goose would end a statement before PostgreSQL does: outside of
// StatementBegin and StatementEnd.
func (sp *splitter) checkCuts(s *statement) {
	first, _ := sp.src.position(s.start)
	last, _ := sp.src.position(max(s.start, s.end-1))
	if s.block {
		last, _ = sp.src.position(max(s.start, sp.blockFrom))
	}
	for n := first; n < last; n++ {
		if endsWithSemicolon(sp.src.line(n)) {
			sp.c.at(s, sp.src.lines[n-1]+len(strings.TrimRight(sp.src.line(n), " \t")), ruleGoose,
				"goose ends the statement at this semicolon, in the middle of it",
				"Put the statement between -- +goose StatementBegin and -- +goose StatementEnd.")
			return
		}
	}
}

// endsWithSemicolon is goose's idea of the end of a statement.
func endsWithSemicolon(line string) bool {
	last := ""
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "--") {
			break
		}
		last = word
	}
	return strings.HasSuffix(last, ";")
}
