package sqltext

import "strings"

// Scanner reads the tokens of a text one after another. A file of data has millions of
// them: what needs each only once need not hold them all.
type Scanner struct {
	text string
	at   int
}

// NewScanner returns a Scanner that stands at the start of a text.
func NewScanner(text string) *Scanner { return &Scanner{text: text} }

// Next returns the next token, comments among them, and false at the end of the text.
func (s *Scanner) Next() (Token, bool) {
	for s.at < len(s.text) {
		kind, n := next(s.text[s.at:])
		t := Token{kind, s.text[s.at : s.at+n], s.at}
		s.at += n
		if kind != Space {
			return t, true
		}
	}
	return Token{}, false
}

// Token returns the next token that is no comment, and false at the end of the text.
func (s *Scanner) Token() (Token, bool) {
	for {
		t, ok := s.Next()
		if !ok || t.Kind != Comment {
			return t, ok
		}
	}
}

// Shortened is a command without most of its rows, for judging and parsing. It is never
// run.
type Shortened struct {
	Text string
	// Head is the text before the rows where all of them hold constants alone and nothing
	// follows them, "" otherwise. Commands with one head differ in constants only.
	Head string

	cut, left int // where text was left out, and how much of it
}

// Offset turns an offset in the shortened text into one in the whole command.
func (s Shortened) Offset(at int) int {
	if at >= s.cut {
		return at + s.left
	}
	return at
}

// FewerRows leaves out of INSERT ... VALUES the rows after the first that hold constants
// alone: they are sound, and nothing in them is worth a look that the first does not
// have. Other commands stay as they are.
func FewerRows(sql string) Shortened {
	whole := Shortened{Text: sql}
	s := NewScanner(sql)
	if first, _ := s.Token(); !first.Is("insert") || !s.values() {
		return whole
	}
	start := s.at
	if !s.row() {
		return whole
	}
	keep, end := s.at, s.at
	t, more := s.Token()
	for t.Is(",") && s.row() {
		end = s.at
		t, more = s.Token()
	}
	if end > keep {
		whole = Shortened{Text: sql[:keep] + sql[end:], cut: keep, left: end - keep}
	}
	if t.Is(";") {
		t, more = s.Token()
	}
	if !more && t.Text == "" {
		whole.Head = sql[:start]
	}
	return whole
}

// manyRows is the length from which a command is judged without its rows of constants,
// the tokens of which take many times the memory that the text takes.
const manyRows = 16 << 10

// withoutRows returns a command without most of its rows, where it is a long one, and what
// was left out.
func withoutRows(sql string) (short, rows string) {
	if len(sql) <= manyRows {
		return sql, ""
	}
	s := FewerRows(sql)
	return s.Text, sql[s.cut : s.cut+s.left]
}

// values goes to the rows of an INSERT, behind the word VALUES outside of brackets.
func (s *Scanner) values() bool {
	brackets := 0
	for {
		t, ok := s.Token()
		switch {
		case !ok, t.Is(";"), t.Is("select"):
			return false
		case t.Is("("):
			brackets++
		case t.Is(")"):
			brackets--
		case brackets == 0 && t.Is("values"):
			return true
		}
	}
}

// row goes past a row of constants, and past nothing where another one stands.
func (s *Scanner) row() bool {
	from := s.at
	if t, _ := s.Token(); !t.Is("(") {
		s.at = from
		return false
	}
	for {
		t, _ := s.Token()
		if t.Is("-") || t.Is("+") {
			if t, _ = s.Token(); t.Kind != Number {
				t = Token{}
			}
		}
		if !constant(t) {
			s.at = from
			return false
		}
		switch t, _ := s.Token(); {
		case t.Is(")"):
			return true
		case !t.Is(","):
			s.at = from
			return false
		}
	}
}

// constant reports whether a token is a whole value that PostgreSQL reads without fail.
func constant(t Token) bool {
	switch t.Kind {
	case Number:
		return strings.Trim(t.Text, "0123456789") == "" || plainDecimal(t.Text)
	case String:
		return t.Text[0] == '\'' && len(t.Text) > 1 && strings.HasSuffix(t.Text, "'") && closed(t.Text)
	case Word:
		return t.Is("null") || t.Is("true") || t.Is("false") || t.Is("default")
	}
	return false
}

func plainDecimal(text string) bool {
	before, after, found := strings.Cut(text, ".")
	return found && before != "" && strings.Trim(before+after, "0123456789") == ""
}

// closed reports whether the last quote of a string ends it: ” stands for one in it.
func closed(text string) bool {
	quotes := strings.Count(text, "'")
	return quotes%2 == 0
}
