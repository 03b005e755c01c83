package picture

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// patience bounds the wait for a program to show something.
const patience = time.Minute

// Terminal is a screen on which programs draw, one after another.
type Terminal struct {
	t testing.TB

	mu            sync.Mutex // guards the cells of the screen
	columns, rows int
	screen        *vt.Emulator

	// program is the pseudo-terminal of the program that runs. It is not under mu: the screen answers a program
	// while it takes what that has written.
	program atomic.Pointer[os.File]
}

// NewTerminal makes an empty screen. It is there until the test ends.
func NewTerminal(t testing.TB, columns, rows int) *Terminal {
	t.Helper()
	term := &Terminal{t: t, columns: columns, rows: rows, screen: vt.NewEmulator(columns, rows)}
	var replies sync.WaitGroup
	replies.Go(func() { _, _ = io.Copy(replyWriter{term}, term.screen) })
	t.Cleanup(func() {
		// Its Close sets what Read looks at, without a lock: the end of what it says ends that too.
		if pipe, is := term.screen.InputPipe().(io.Closer); !is || pipe.Close() != nil {
			t.Error("the terminal cannot be closed")
			return
		}
		replies.Wait()
	})
	return term
}

// replyWriter hands what the terminal answers to the program that asked it.
type replyWriter struct{ *Terminal }

func (w replyWriter) Write(p []byte) (int, error) {
	if program := w.program.Load(); program != nil {
		_, _ = program.Write(p)
	}
	return len(p), nil
}

// Show puts text on the screen, as a program would.
func (term *Terminal) Show(text string) {
	term.mu.Lock()
	defer term.mu.Unlock()
	_, _ = term.screen.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
}

// Program runs on a terminal.
type Program struct {
	term *Terminal
	cmd  *exec.Cmd
	pty  *os.File
	read chan struct{} // closed when all that it has shown is on the screen
}

// Start runs a program on the terminal. It is killed at the end of the test, if it still runs.
func (term *Terminal) Start(cmd *exec.Cmd) *Program {
	term.t.Helper()
	file, err := pty.StartWithSize(cmd, term.size())
	if err != nil {
		term.t.Fatal(err)
	}
	p := &Program{term: term, cmd: cmd, pty: file, read: make(chan struct{})}
	term.program.Store(file)
	go func() {
		defer close(p.read)
		_, _ = io.Copy(screenWriter{term}, file) // ends with an error when the program has ended
	}()
	term.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

func (term *Terminal) size() *pty.Winsize {
	return &pty.Winsize{Rows: uint16(term.rows), Cols: uint16(term.columns)}
}

// screenWriter draws on the terminal. Its lock is free while a program is waited for.
type screenWriter struct{ *Terminal }

func (w screenWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.screen.Write(b)
}

// Type presses keys.
func (p *Program) Type(keys string) {
	p.term.t.Helper()
	if _, err := p.pty.WriteString(keys); err != nil {
		p.term.t.Fatal(err)
	}
}

// Resize gives the terminal another size.
func (p *Program) Resize(columns, rows int) {
	p.term.t.Helper()
	p.term.mu.Lock()
	p.term.columns, p.term.rows = columns, rows
	p.term.screen.Resize(columns, rows)
	p.term.mu.Unlock()
	if err := pty.Setsize(p.pty, p.term.size()); err != nil {
		p.term.t.Fatal(err)
	}
}

// Signal sends a signal to the program.
func (p *Program) Signal(sig os.Signal) {
	p.term.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.term.t.Fatal(err)
	}
}

// Wait waits for the program to end and returns its exit code.
func (p *Program) Wait() int {
	p.term.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		if _, ended := errors.AsType[*exec.ExitError](err); !ended {
			p.term.t.Fatal(err)
		}
	}
	<-p.read
	p.term.program.Store(nil)
	_ = p.pty.Close()
	return p.cmd.ProcessState.ExitCode()
}

// Await waits until the screen satisfies a condition, and returns it as it then is.
func (term *Terminal) Await(what string, seen func(text string) bool) Screen {
	term.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s := term.Screen()
		if seen(s.String()) {
			return s
		}
		if time.Now().After(until) {
			term.t.Fatalf("the terminal does not show %s:\n%s", what, s)
		}
	}
}

// Full reports whether a full screen is shown, in place of the lines before it.
func (term *Terminal) Full() bool {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.screen.IsAltScreen()
}

// Screen returns what the terminal shows now.
func (term *Terminal) Screen() Screen {
	term.t.Helper()
	term.mu.Lock()
	defer term.mu.Unlock()
	cells := make([][]cell, term.rows)
	for y := range cells {
		for x := range term.columns {
			c := cell{text: " "}
			if there := term.screen.CellAt(x, y); there != nil {
				style, err := styleOf(there.Style)
				if err != nil {
					term.t.Fatalf("line %d, column %d, %q: %v", y+1, x+1, there.Content, err)
				}
				c.style = style
				if c.text = there.Content; there.Content == "" && there.Width > 0 {
					c.text = " "
				}
			}
			cells[y] = append(cells[y], c)
		}
	}
	return newScreen(term.columns, cells)
}

// styleOf returns the style of a cell, of those that there are in a picture.
func styleOf(s uv.Style) (Style, error) {
	colors := map[color.Color]Style{nil: Plain, ansi.Red: Red, ansi.Yellow: Yellow, ansi.Green: Green}
	style, known := colors[s.Fg]
	switch {
	case !known, s.Bg != nil, s.Underline != 0, style != Plain && s.Attrs != 0:
		return "", fmt.Errorf("no style for %+v", s)
	case s.Attrs == 0:
		return style, nil
	case s.Attrs == uv.AttrBold:
		return Bold, nil
	case s.Attrs == uv.AttrFaint:
		return Dim, nil
	}
	return "", fmt.Errorf("no style for %+v", s)
}
