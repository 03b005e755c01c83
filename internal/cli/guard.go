package cli

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// guard is the last door before a terminal, and before stderr wherever it leads. What
// comes from outside is escaped where it is put into a text (visible); the guard
// makes sure that nothing which slipped through can do more than colour: of control
// characters only line breaks, tabs and the sequences that crmctl itself writes go
// through, all others are escaped. Answers in a pipe do not pass here: they are data.
type guard struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character or of a sequence
}

// What a bar sends to a terminal to be drawn in its place again.
const (
	EraseBelow = "\x1b[J"
	LineUp     = "\x1b[1A"
)

// NewGuard puts a guard before a writer that has none yet.
func NewGuard(w io.Writer) io.Writer {
	if _, guarded := w.(*guard); guarded || w == nil {
		return w
	}
	return &guard{w: w}
}

// ownSequences are what crmctl sends to a terminal: see painter and progress.
func ownSequences() []string {
	return []string{"\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m", EraseBelow, LineUp}
}

func controls(r rune) bool { return Hazardous(r) && r != '\n' && r != '\r' && r != '\t' }

// Write writes all of p, or says why not.
func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := p
	if len(g.rest) > 0 || bytes.ContainsFunc(p, controls) {
		text = g.clean(append(g.rest, p...))
	}
	if len(text) == 0 {
		return len(p), nil
	}
	if _, err := g.w.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// clean escapes what is none of ours and keeps back what is not complete yet.
func (g *guard) clean(text []byte) []byte {
	g.rest = nil
	var out bytes.Buffer
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			g.rest = bytes.Clone(text)
			break
		}
		r, size := utf8.DecodeRune(text)
		if r == 0x1b {
			own, begun := ownSequence(string(text))
			if own > 0 {
				size = own
			} else if begun {
				g.rest = bytes.Clone(text)
				break
			}
			if own > 0 {
				out.Write(text[:size])
				text = text[size:]
				continue
			}
		}
		if controls(r) {
			out.WriteString(Visible(string(text[:size])))
		} else {
			out.Write(text[:size])
		}
		text = text[size:]
	}
	return out.Bytes()
}

// ownSequence returns the length of a sequence of ours at the beginning of a text, and
// whether the whole text is the beginning of one.
func ownSequence(text string) (length int, begun bool) {
	for _, s := range ownSequences() {
		if strings.HasPrefix(text, s) {
			return len(s), false
		}
		begun = begun || strings.HasPrefix(s, text)
	}
	return 0, begun
}

// Lines is a text of several lines whose parts have been made visible.
type Lines string

// VisibleLines is visible for a text of several lines.
func VisibleLines(s string) string {
	parts := strings.Split(s, "\n")
	for i := range parts {
		parts[i] = Visible(parts[i])
	}
	return strings.Join(parts, "\n")
}

// EscapeArgs makes the arguments of a message visible, whatever they are: names of files
// and columns, errors, words of the server.
func EscapeArgs(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case Lines:
			out[i] = VisibleLines(string(v))
		case string:
			out[i] = Visible(v)
		case error:
			out[i] = Visible(v.Error())
		case interface{ String() string }:
			out[i] = Visible(v.String())
		default:
			out[i] = arg
		}
	}
	return out
}
