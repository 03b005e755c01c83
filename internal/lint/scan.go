package lint

import (
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/wasilibs/go-pgquery/parser"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// token is a word, an operator, a constant or a comment of a file.
type token struct {
	sqltext.Token

	start, end int
	text       string
}

// is compares a token with a word, whatever its case.
func (t token) is(word string) bool { return strings.EqualFold(t.text, word) }

// name reports whether the token is an identifier or a keyword, and returns the name.
func (t token) name() (string, bool) {
	if t.Kind != sqltext.Word && t.Kind != sqltext.Quoted {
		return "", false
	}
	if t.Kind == sqltext.Word {
		return t.text, true
	}
	return t.Name(), true
}

// syntaxError is what the parser said of a text.
type syntaxError struct {
	message string
	offset  int // bytes from the start of the text
}

func (e *syntaxError) Error() string { return e.message }

func asSyntax(err error, target **syntaxError) bool { return errors.As(err, target) }

// errStuck says that the parser gave no answer. It cannot be interrupted.
var errStuck = errors.New("the SQL parser does not come to an end")

const (
	// parseLimit is far beyond what a statement within maxNesting takes, and the
	// making of the parser, on a busy machine with the race detector.
	parseLimit = 5 * time.Minute
	// maxNesting is the depth up to which the parser is trusted: at about 1000
	// it runs out of its stack and never comes back.
	maxNesting = 250
)

// parserMutex keeps to one parser: each that works at the same time is compiled
// anew, which takes seconds.
//
//nolint:gochecknoglobals // guard the parser, of which a process has one
var (
	parserMutex sync.Mutex
	parserMade  bool
)

// ask runs the parser. It turns a panic of the virtual machine (no memory to be
// had, no right to run code made at run time) into an error.
func ask[T any](text string, f func(string) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	parserMutex.Lock()
	first := !parserMade
	parserMade = true
	go func() {
		defer parserMutex.Unlock()
		var a answer
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("run the SQL parser: %v", r)
			}
			done <- a
		}()
		a.value, a.err = f(text)
		if first {
			debug.FreeOSMemory() // to make the parser takes 250 MB, to use it 25
		}
	}()
	limit := time.NewTimer(parseLimit)
	defer limit.Stop()
	select {
	case a := <-done:
		if pgErr, ok := errors.AsType[*parser.Error](a.err); ok {
			a.err = &syntaxError{message: pgErr.Message, offset: byteOffset(text, pgErr.Cursorpos-1)}
		}
		return a.value, a.err
	case <-limit.C:
		var zero T
		return zero, errStuck
	}
}

// byteOffset turns an offset in characters into one in bytes.
func byteOffset(text string, chars int) int {
	for i := range text {
		if chars <= 0 {
			return i
		}
		chars--
	}
	return len(text)
}

// tokens cuts the statement into its tokens, at their places in the file.
func (s *statement) tokens() []token {
	var out []token
	for t := range s.eachToken() {
		out = append(out, t)
	}
	return out
}

// eachToken yields the tokens of the statement, comments left out. They are not kept: a
// file of data has millions of them.
func (s *statement) eachToken() iter.Seq[token] { return eachToken(s.sql, s.start) }

func eachToken(text string, start int) iter.Seq[token] {
	return func(yield func(token) bool) {
		scanner := sqltext.NewScanner(text)
		for t, ok := scanner.Token(); ok; t, ok = scanner.Token() {
			if !yield(token{Token: t, start: start + t.Offset, end: start + t.End(), text: t.Text}) {
				return
			}
		}
	}
}

// scanLimit is the length up to which PostgreSQL's scanner reads a whole file before it
// is cut. What it would find in a longer one, the parser finds in the statements.
const scanLimit = 1 << 20

// checkScan returns what PostgreSQL's own scanner says against a text.
func checkScan(text string) error {
	if len(text) > scanLimit {
		return nil
	}
	_, err := ask(text, parser.ScanToProtobuf)
	return err
}
