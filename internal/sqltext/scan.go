package sqltext

import "strings"

// Kind is what a token is.
type Kind int

// Kinds of tokens. Space and Comment are never among those that Tokens returns.
const (
	Space   Kind = iota
	Comment      // -- to the end of the line, /* nested */
	Word         // an identifier without quotes, or a keyword
	Quoted       // "an identifier", U&"another"
	String       // 'a', E'b', U&'c', B'1', X'f', N'd', $$e$$
	Number
	Symbol // one character of an operator, a bracket, a comma, a semicolon; $1 too
)

// Token is a piece of a text.
type Token struct {
	Kind   Kind
	Text   string
	Offset int // bytes from the start of the text
}

// End returns the offset of the first byte after the token.
func (t Token) End() int { return t.Offset + len(t.Text) }

// Is reports whether the token is a word without quotes, or a symbol, whatever its case.
func (t Token) Is(text string) bool {
	return (t.Kind == Word || t.Kind == Symbol) && strings.EqualFold(t.Text, text)
}

// Name returns the name that an identifier spells, in lower case where it stands
// without quotes, and "" for any other token. The escapes of U&"" stay as written.
func (t Token) Name() string {
	switch t.Kind {
	case Word:
		return strings.ToLower(t.Text)
	case Quoted:
		inner := t.Text[strings.IndexByte(t.Text, '"')+1:]
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return ""
}

// Tokens cuts a text into its tokens. Comments and white space are left out.
func Tokens(text string) []Token { return scan(text, false) }

// Scan cuts a text into its tokens, comments among them.
func Scan(text string) []Token { return scan(text, true) }

func scan(text string, comments bool) []Token {
	var out []Token
	s := NewScanner(text)
	for t, ok := s.Next(); ok; t, ok = s.Next() {
		if comments || t.Kind != Comment {
			out = append(out, t)
		}
	}
	return out
}

// next returns the kind and the length of the token that s, which is not empty, begins
// with. One that is not closed runs to the end.
func next(s string) (Kind, int) {
	switch c := s[0]; {
	case isSpace(c):
		return Space, 1
	case strings.HasPrefix(s, "--"):
		return Comment, lineComment(s)
	case strings.HasPrefix(s, "/*"):
		return Comment, blockComment(s)
	case c == '\'':
		return String, quotes(s, 1, false)
	case c == '"':
		return Quoted, identifier(s, 1)
	case c == '$':
		return dollar(s)
	case c >= '0' && c <= '9':
		return Number, number(s)
	case isNameStart(c):
		return word(s)
	}
	return Symbol, 1
}

func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isName(c byte) bool { return isNameStart(c) || c >= '0' && c <= '9' }

// lineComment ends before the end of the line, for which a carriage return counts too.
func lineComment(s string) int {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		return i
	}
	return len(s)
}

// blockComment knows that comments nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// quotes returns the length of a string whose text begins at from. A string that ends is
// continued where another quote follows after white space with a newline in it, and what
// follows is read as its beginning was.
func quotes(s string, from int, backslash bool) int {
	for i := from; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != '\'':
		case i+1 < len(s) && s[i+1] == '\'':
			i++
		default:
			n := continuation(s[i+1:])
			if n == 0 {
				return i + 1
			}
			i += n
		}
	}
	return len(s)
}

// continuation returns the length of white space and comments with a newline up to and
// with the quote that goes on with a string, or 0.
func continuation(s string) int {
	newline := false
	for i := 0; i < len(s); {
		switch {
		case s[i] == '\n' || s[i] == '\r':
			newline = true
			i++
		case isSpace(s[i]):
			i++
		case newline && strings.HasPrefix(s[i:], "--"):
			i += lineComment(s[i:])
		case newline && s[i] == '\'':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

func identifier(s string, from int) int {
	for i := from; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 == len(s) || s[i+1] != '"' {
			return i + 1
		}
		i++
	}
	return len(s)
}

// dollar reads a dollar quote, or a parameter or a lone dollar.
func dollar(s string) (Kind, int) {
	n := 1
	for n < len(s) && isName(s[n]) {
		n++
	}
	digit := n > 1 && s[1] >= '0' && s[1] <= '9'
	if !digit && n < len(s) && s[n] == '$' {
		tag := s[:n+1]
		if end := strings.Index(s[len(tag):], tag); end >= 0 {
			return String, end + 2*len(tag)
		}
		return String, len(s)
	}
	if !digit {
		return Symbol, 1
	}
	n = 1
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return Symbol, n
}

// number takes digits, and the letters, points and underscores in and behind them.
func number(s string) int {
	n := 1
	for n < len(s) && (isName(s[n]) || s[n] == '.') {
		n++
	}
	return n
}

// word reads an identifier without quotes, or what begins like one: a string or an
// identifier with a prefix.
func word(s string) (Kind, int) {
	if len(s) > 1 && s[1] == '\'' {
		switch s[0] {
		case 'e', 'E':
			return String, quotes(s, 2, true)
		case 'b', 'B', 'x', 'X', 'n', 'N':
			return String, quotes(s, 2, false)
		}
	}
	if len(s) > 2 && (s[0] == 'u' || s[0] == 'U') && s[1] == '&' {
		switch s[2] {
		case '\'':
			return String, quotes(s, 3, false)
		case '"':
			return Quoted, identifier(s, 3)
		}
	}
	n := 1
	for n < len(s) && (isName(s[n]) || s[n] == '$') {
		n++
	}
	return Word, n
}
