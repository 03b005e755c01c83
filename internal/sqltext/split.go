package sqltext

import "strings"

// Command is one SQL command within a longer text.
type Command struct {
	Text   string
	Offset int // bytes from the start of the text
}

// Split cuts a text into its commands. The semicolon stays with its command; comments
// before the first word of one, and commands that are nothing but a semicolon, are left
// out.
//
// As in psql, a semicolon in parentheses ends nothing (a rule may have several actions),
// nor does one in the body of an SQL-standard function: BEGIN ATOMIC ... END.
func Split(text string) []Command {
	var (
		out   []Command
		state Cutter
	)
	scanner := NewScanner(text)
	for t, ok := scanner.Token(); ok; t, ok = scanner.Token() {
		if !state.End(t) {
			continue
		}
		out = append(out, Command{text[state.start:t.End()], state.start})
		state = Cutter{}
	}
	if state.words > 0 {
		out = append(out, Command{strings.TrimSpace(text[state.start:]), state.start})
	}
	return out
}

// Cutter follows one command to its end. Its zero value is ready for the first token.
type Cutter struct {
	start    int
	words    int // tokens so far
	head     []string
	brackets int
	blocks   int // open BEGIN ATOMIC, and CASE within
	begin    bool
}

// End takes the next token, which is no comment, and reports whether the command ends
// with it. A new Cutter is for the next command.
func (s *Cutter) End(t Token) bool {
	if t.Is(";") && s.brackets == 0 && s.blocks == 0 {
		return s.words > 0
	}
	if s.words == 0 {
		s.start = t.Offset
	}
	s.words++
	if len(s.head) < 4 {
		s.head = append(s.head, strings.ToLower(t.Text))
	}
	switch {
	case t.Is("("):
		s.brackets++
	case t.Is(")"):
		s.brackets = max(0, s.brackets-1)
	case t.Kind == Word && s.brackets == 0 && s.routine():
		s.block(t)
	}
	s.begin = t.Is("begin")
	return false
}

// block counts what ends with END.
func (s *Cutter) block(t Token) {
	switch {
	case s.begin && t.Is("atomic"):
		s.blocks++
	case s.blocks > 0 && t.Is("case"):
		s.blocks++
	case s.blocks > 0 && t.Is("end"):
		s.blocks--
	}
}

// routine reports whether the command makes a function or a procedure.
func (s *Cutter) routine() bool {
	h := s.head
	if len(h) == 4 && h[1] == "or" && h[2] == "replace" {
		h = []string{h[0], h[3]}
	}
	return len(h) > 1 && h[0] == "create" && (h[1] == "function" || h[1] == "procedure")
}

// Leading returns the first n words of a command in lower case, "" for those that are
// missing. Comments, strings, symbols and quoted identifiers are passed over.
func Leading(sql string, n int) []string {
	out := make([]string, 0, n)
	for i := 0; i < len(sql) && len(out) < n; {
		kind, length := next(sql[i:])
		if kind == Word {
			out = append(out, strings.ToLower(sql[i:i+length]))
		}
		i += length
	}
	return append(out, make([]string, n-len(out))...)
}

// Follow returns the offsets where the given words, in lower case, follow each other,
// outside of quotes and with nothing but white space and comments between them.
func Follow(text string, words ...string) []int {
	var found []int
	at, first := 0, 0
	scanner := NewScanner(text)
	for t, ok := scanner.Token(); ok; t, ok = scanner.Token() {
		if !t.Is(words[at]) {
			at = 0
		}
		if t.Is(words[at]) {
			if at == 0 {
				first = t.Offset
			}
			at++
		}
		if at == len(words) {
			found, at = append(found, first), 0
		}
	}
	return found
}
