package lint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wasilibs/go-pgquery/parser"
)

// token is a word, an operator, a constant or a comment of a file.
type token struct {
	start, end int
	text       string
}

// is compares a token with a word, whatever its case.
func (t token) is(word string) bool { return strings.EqualFold(t.text, word) }

func (t token) isComment() bool {
	return strings.HasPrefix(t.text, "--") || strings.HasPrefix(t.text, "/*")
}

// isName tells whether the token is an identifier or a keyword, and returns the
// name itself.
func (t token) name() (string, bool) {
	if strings.HasPrefix(t.text, `"`) && len(t.text) > 1 {
		return strings.ReplaceAll(t.text[1:len(t.text)-1], `""`, `"`), true
	}
	r, _ := utf8.DecodeRuneInString(t.text)
	letter := r == '_' || r >= 0x80 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return t.text, letter && !strings.ContainsAny(t.text, `'"`)
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

// scan cuts a text into tokens, comments among them, by PostgreSQL's lexical
// rules.
func scan(text string) ([]token, error) {
	message, err := ask(text, parser.ScanToProtobuf)
	if err != nil {
		return nil, err
	}
	var tokens []token
	err = fields(message, func(number int, _ uint64, body []byte) error {
		if number != 2 { // ScanResult.tokens
			return nil
		}
		var t token
		if err := fields(body, func(number int, value uint64, _ []byte) error {
			switch number {
			case 1:
				t.start = int(value)
			case 2:
				t.end = int(value)
			}
			return nil
		}); err != nil {
			return err
		}
		if t.start < 0 || t.end > len(text) || t.start > t.end {
			return errMessage
		}
		t.text = text[t.start:t.end]
		tokens = append(tokens, t)
		return nil
	})
	return tokens, err
}

var errMessage = errors.New("the SQL parser's answer is not understood")

// fields walks over the fields of a protobuf message: numbers and byte strings
// are all that the scanner sends.
// https://protobuf.dev/programming-guides/encoding/
func fields(message []byte, visit func(number int, value uint64, body []byte) error) error {
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		if n <= 0 {
			return errMessage
		}
		message = message[n:]
		value, n := binary.Uvarint(message)
		if n <= 0 {
			return errMessage
		}
		message = message[n:]
		var body []byte
		switch key & 7 {
		case 0:
		case 2:
			if value > uint64(len(message)) {
				return errMessage
			}
			body, message = message[:value], message[value:]
		default:
			return errMessage
		}
		if err := visit(int(key>>3), value, body); err != nil {
			return err
		}
	}
	return nil
}
