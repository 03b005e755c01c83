package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// drawsPerSecond bounds how often a full screen is drawn again: a slow link is not
// flooded, and a person does not see more.
const drawsPerSecond = 10

// heldText is what is said while a full screen is there, to be printed behind it.
type heldText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heldText) add(text string) {
	const most = 16 << 10
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.text.Len() < most {
		h.text.WriteString(text)
	}
}

// CanFillScreen reports whether there is a terminal to fill: one that is read from and
// written to, and that understands where to draw.
func (c *Console) CanFillScreen() bool {
	return c.IO.InTerminal && c.IO.OutTerminal && !c.IO.Dumb()
}

// FillScreen runs a model on the whole of the terminal until it quits, or the context
// ends, which is no error. Only the cells that changed are sent. Whatever ends it, a panic
// of the model included, the terminal is left as it was. What is said meanwhile on stderr
// comes afterwards.
func (c *Console) FillScreen(ctx context.Context, model tea.Model, color bool) error {
	held := &heldText{}
	c.held.Store(held)
	defer func() {
		c.held.Store(nil)
		fmt.Fprint(c.IO.Err, held.text.String())
	}()
	profile := colorprofile.ASCII
	if color {
		profile = colorprofile.ANSI
	}
	caught := &caughtPanic{}
	program := tea.NewProgram(contained{model, caught},
		tea.WithInput(unwrapReader(c.IO.In)), tea.WithOutput(unwrapWriter(c.IO.Out)), tea.WithEnvironment(c.IO.Env),
		tea.WithoutSignalHandler(), tea.WithFPS(drawsPerSecond), tea.WithColorProfile(profile))
	// To quit leaves the terminal in order, whatever the renderer was about.
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	if what, stack := caught.take(); what != nil {
		held.add(stack)
		return fmt.Errorf("this is a bug of the program, please report it with the lines above: panic: %v", what)
	}
	if ctx.Err() != nil && !errors.Is(err, tea.ErrProgramPanic) {
		return nil
	}
	return err
}

// caughtPanic is the first panic of a model. What the library does with one is to print it
// to the terminal as it is, at times before that has been put in order.
type caughtPanic struct {
	mu    sync.Mutex
	what  any
	stack string
}

// catch is deferred where a model is called: a panic is kept, and then calls instead.
func (c *caughtPanic) catch(then func()) {
	what := recover()
	if what == nil {
		return
	}
	c.mu.Lock()
	if c.what == nil {
		c.what, c.stack = what, string(debug.Stack())
	}
	c.mu.Unlock()
	then()
}

func (c *caughtPanic) take() (what any, stack string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.what, c.stack
}

// contained is a model whose panics end the program as quitting does.
type contained struct {
	model  tea.Model
	caught *caughtPanic
}

// Init begins the model.
func (m contained) Init() (cmd tea.Cmd) {
	defer m.caught.catch(func() { cmd = tea.Quit })
	return m.command(m.model.Init())
}

// Update hands a message to the model.
func (m contained) Update(msg tea.Msg) (next tea.Model, cmd tea.Cmd) {
	defer m.caught.catch(func() { next, cmd = m, tea.Quit })
	if what, _ := m.caught.take(); what != nil {
		return m, tea.Quit
	}
	model, cmd := m.model.Update(msg)
	return contained{model, m.caught}, m.command(cmd)
}

// View draws the model. Nothing is drawn after a panic; the next message then ends it.
func (m contained) View() (v tea.View) {
	defer m.caught.catch(func() { v = tea.View{AltScreen: true} })
	return m.model.View()
}

// command contains what the model has done in the background.
func (m contained) command(cmd tea.Cmd) tea.Cmd {
	if cmd == nil {
		return nil
	}
	return func() (msg tea.Msg) {
		defer m.caught.catch(func() { msg = tea.Quit() })
		return cmd()
	}
}

// Screen returns lines for a full screen, cut to its width and height: of control
// characters only the colours of this program go through.
func Screen(lines []string, width, height int) string {
	out := make([]string, 0, height)
	for _, line := range lines[:min(len(lines), max(height, 0))] {
		var b strings.Builder
		_, _ = io.WriteString(NewGuard(&b), strings.NewReplacer("\r", "", "\n", " ", "\t", " ").Replace(line))
		out = append(out, ansi.Truncate(b.String(), width, ""))
	}
	return strings.Join(out, "\n")
}

// Pad fills a text up with blanks to a width in terminal columns.
func Pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-twwidth.Width(s)))
}

// ColumnsOf returns how many columns of a terminal a text takes.
func ColumnsOf(s string) int { return twwidth.Width(s) }

// unwrapWriter returns the terminal itself. What a model shows passes through Screen.
func unwrapWriter(w io.Writer) io.Writer {
	if g, guarded := w.(*guard); guarded {
		return g.w
	}
	return w
}

func unwrapReader(r io.Reader) io.Reader {
	if i, wrapped := r.(*input); wrapped {
		return i.in
	}
	return r
}
