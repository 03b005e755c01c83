//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/picture"
)

// afterwards is the end of a script: the exit code of what ran, and how the terminal was left.
const afterwards = `; echo "exit $?"; stty -a | tr ' ;' '\n\n' | grep -x -e '-*icanon' -e '-*echo' -e '-*isig' |
	tr '\n' ' '; echo .`

// leftInOrder is what the script then says.
const leftInOrder = "isig icanon echo ."

func shellOn(t *testing.T, env []string, script string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script, "bash"}, args...)...)
	home := t.TempDir()
	cmd.Env = append(append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "TERM=xterm-256color", "LANG=C.UTF-8",
		"LC_ALL=", "NO_COLOR="), env...)
	return cmd
}

// A panic ends the full screen: the terminal is as it was, and what the panic says is escaped.
func TestPanicOnFullScreen(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"update", "view", "look"} {
		term := picture.NewTerminal(t, 80, 100)
		p := term.Start(shellOn(t, nil, panicking+` "$1"`+afterwards, where))
		if where != "look" { // which comes by itself
			term.Await("the full screen", func(text string) bool { return term.Full() && strings.Contains(text, "> tenant") })
			p.Type("j")
		}
		p.Wait()
		text := term.Screen().String()
		for _, want := range []string{"said meanwhile\n", "goroutine ", "(*badModel)", "crmctl: this is a bug of the program",
			`panic: no tenant \x1b[2J`, "exit 1\n", leftInOrder} {
			if where == "look" && want == "(*badModel)" {
				want = "panicOnScreen"
			}
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", where, want, text)
			}
		}
		if term.Full() || strings.Contains(text, "Caught panic") {
			t.Errorf("%s: not put in order:\n%s", where, text)
		}
	}
}

// topTerminal is `crmctl stats top` on a terminal.
type topTerminal struct {
	*picture.Terminal
	*picture.Program
}

// startTop runs a script with the full screen of three tenants in it, and waits until it is drawn.
func startTop(t *testing.T, dsn string, columns, rows int, script string, env ...string) topTerminal {
	t.Helper()
	term := picture.NewTerminal(t, columns, rows)
	p := term.Start(shellOn(t, append(env, "DATABASE_URL="+dsn), script+afterwards))
	top := topTerminal{term, p}
	top.drawn("the full screen", columns, rows)
	return top
}

const topByName3 = "crmctl stats top --sort name --interval 1s"

// drawn waits until the screen is drawn for a size: head, tenants, keys on the last line.
func (top topTerminal) drawn(what string, columns, rows int) picture.Screen {
	return top.Await(what, func(text string) bool {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		return top.Full() && len(lines) == rows && strings.HasPrefix(lines[rows-1], "q quit") &&
			strings.Contains(text, "> acme") && strings.Contains(text, "3 tenants") && len(tooWide(text, columns)) == 0
	})
}

// ends waits for the end, and checks what is left.
func (top topTerminal) ends(t *testing.T, code int) {
	t.Helper()
	top.Wait()
	text := top.Screen().String()
	if top.Full() || !strings.Contains(text, "exit "+strconv.Itoa(code)+"\n") || !strings.Contains(text, leftInOrder) {
		t.Errorf("left behind, want exit code %d:\n%s", code, text)
	}
}

// The full screen on real terminals: sizes, without colour, behind a pooler and a slow network; stopped and taken up
// again, ended by a key and by a signal, the terminal is as it was.
func TestTopOnTerminal(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	t.Run("sizes", func(t *testing.T) {
		t.Parallel()
		top := startTop(t, f.DSN, 80, 24, topByName3)
		for _, size := range [][2]int{{40, 12}, {132, 43}, {80, 24}, {60, 8}} {
			top.Resize(size[0], size[1])
			top.drawn(fmt.Sprint(size), size[0], size[1])
		}
		top.Type("q")
		top.ends(t, cli.ExitOK)
	})
	t.Run("no color", func(t *testing.T) {
		t.Parallel()
		colored := startTop(t, f.DSN, 80, 24, topByName3)
		plain := startTop(t, f.DSN, 80, 24, topByName3, "NO_COLOR=1")
		if s := colored.Screen(); s.Marked() == s.String() {
			t.Error("no colour at all")
		}
		if s := plain.Screen(); s.Marked() != s.String() {
			t.Errorf("with NO_COLOR:\n%s", s.Marked())
		}
		colored.Type("q")
		plain.Type("\x03")
		colored.ends(t, cli.ExitOK)
		plain.ends(t, cli.ExitOK)
	})
	for name, dsn := range map[string]string{"pooler": pgtest.Pooler(t, f.DSN),
		"slow network": pgtest.NewProxy(t, f.DSN, 10*time.Millisecond).DSN} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := startTop(t, dsn, 80, 24, topByName3)
			top.Type("2")
			top.Await("the sessions", func(text string) bool { return strings.Contains(text, "[2 sessions]") })
			top.Type("q")
			top.ends(t, cli.ExitOK)
		})
	}
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		top := startTop(t, f.DSN, 80, 24, `set -m; `+topByName3+afterwards+`; fg`)
		top.Type("\x1a")
		s := top.Await("the shell", func(text string) bool { return strings.Contains(text, leftInOrder) })
		if !strings.Contains(s.String(), "exit 148") { // 128 + SIGTSTP
			t.Errorf("stopped:\n%s", s)
		}
		top.drawn("the full screen again", 80, 24)
		top.Type("q")
		top.ends(t, cli.ExitOK)
	})
	t.Run("signal", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "pid")
		top := startTop(t, f.DSN, 80, 24, `bash -c 'echo $$ >"$PID_FILE"; exec `+topByName3+`'`, "PID_FILE="+file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		top.ends(t, cli.ExitOK)
	})
	t.Run("dumb", func(t *testing.T) {
		t.Parallel()
		term := picture.NewTerminal(t, 80, 40)
		term.Start(shellOn(t, []string{"DATABASE_URL=" + f.DSN, "TERM=dumb"}, topByName3+" --count 2"+afterwards)).Wait()
		text := term.Screen().String()
		if strings.Count(text, "acme ") != 2 || !strings.Contains(text, "exit 0\n") {
			t.Errorf("on a dumb terminal:\n%s", text)
		}
	})
}
