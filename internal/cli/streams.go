package cli

import (
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// defaultWidth is taken where a terminal does not tell its width.
const defaultWidth = 80

// Streams are the surroundings of a run. A test makes its own.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// Whether each stream is a terminal; each is judged on its own.
	InTerminal, OutTerminal, ErrTerminal bool
	// Width returns the columns of the terminal, as they are now.
	Width func() int

	// Env is the environment as os.Environ returns it.
	Env []string
	// Dir is the working directory, "" for the process's.
	Dir string
	// SystemDir is where the configuration for all users lies.
	SystemDir string
}

// SystemStreams returns the streams of the process.
func SystemStreams() *Streams {
	return &Streams{
		In:          os.Stdin,
		Out:         os.Stdout,
		Err:         os.Stderr,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width:       terminalWidth,
		Env:         os.Environ(),
		SystemDir:   "/etc",
	}
}

func terminalWidth() int {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return defaultWidth
}

// Getenv returns an environment variable, "" when it is not set.
func (s *Streams) Getenv(name string) string {
	for _, pair := range slices.Backward(s.Env) {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			return v
		}
	}
	return ""
}

// Dumb reports whether the terminal understands no escape sequences.
func (s *Streams) Dumb() bool { return s.Getenv("TERM") == "dumb" }

// Unicode reports whether the locale can show more than ASCII. The first of the
// three variables that is set decides, as in setlocale(3).
func (s *Streams) Unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(s.Getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
