package lint

import (
	"errors"
	"fmt"
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
var parserMutex sync.Mutex //nolint:gochecknoglobals // guards the parser, of which a process has one

// ask runs the parser. It turns a panic of the virtual machine (no memory to be
// had, no right to run code made at run time) into an error.
func ask[T any](text string, f func(string) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	parserMutex.Lock()
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

// scan cuts a text into tokens, comments among them, as the engine does. The error is
// what PostgreSQL's own scanner says of the text.
func scan(text string) ([]token, error) {
	if _, err := ask(text, parser.ScanToProtobuf); err != nil {
		return nil, err
	}
	found := sqltext.Scan(text)
	tokens := make([]token, len(found))
	for i, t := range found {
		tokens[i] = token{Token: t, start: t.Offset, end: t.End(), text: t.Text}
	}
	return tokens, nil
}
