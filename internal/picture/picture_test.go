//go:build unix

package picture_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crmctl/crmctl/internal/picture"
)

func shell(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "sh", "-c", script)
}

// A screen is what is left after all that moved the cursor, came back, or was erased.
func TestScreen(t *testing.T) {
	t.Parallel()
	term := picture.NewTerminal(t, 40, 8)
	term.Show("\x1b[2m$\x1b[0m \x1b[1mcrmctl migrate\x1b[0m\n")
	code := term.Start(shell(t, `printf ' 10%% ##\r\033[J 98%% ####\nok 1\033[1A\r\033[J'
		printf '\033[32mmigrated\033[0m  \033[32m58\033[0m of 59\n'
		printf 'Zürich 東京 end\n\n'
		printf '\033[31mfailed  1\033[0m \033[33m<&>"\033[0m'
		exit 3`)).Wait()
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	const plain = "$ crmctl migrate\nmigrated  58 of 59\nZürich 東京 end\n\nfailed  1 <&>\"\n"
	const marked = "{dim $} {bold crmctl migrate}\n{green migrated}  {green 58} of 59\nZürich 東京 end\n\n" +
		"{red failed}  {red 1} {yellow <&>\"}\n"
	s := term.Screen()
	if s.String() != plain || s.Marked() != marked {
		t.Fatalf("the screen is\n%s\n%s", s, s.Marked())
	}
	svg := s.SVG("a <title>", "what it shows")
	read, err := picture.Read(svg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(picture.Picture{Title: "a <title>", Description: "what it shows", Screen: s}, read); diff != "" {
		t.Errorf("read back it is another:\n%s\n%s", diff, svg)
	}
	for _, elsewhere := range []string{"href", "url(", "@import", "<script"} {
		if strings.Contains(string(svg), elsewhere) {
			t.Errorf("it has %s", elsewhere)
		}
	}
	if got := s.Replace("Zürich", "Berlin").String(); !strings.Contains(got, "\nBerlin 東京") || s.String() != plain {
		t.Errorf("replaced:\n%s", got)
	}
}

// A program has the size of the terminal, the keys that are typed, and answers to what it asks.
func TestProgram(t *testing.T) {
	t.Parallel()
	term := picture.NewTerminal(t, 100, 30)
	p := term.Start(shell(t, `stty size; stty raw -echo; printf '\033[?1049h\033[2;1H\033[6n'
		dd bs=1 count=6 2>/dev/null | tr '\033' E
		printf '\033[3;1Hready'; dd bs=1 count=1 2>/dev/null
		trap 'printf "\033[?1049l"; stty sane; stty size; echo bye; exit 0' TERM
		printf ' waits'; while :; do sleep 0.02; done`))
	term.Await("that it is ready", func(text string) bool { return strings.Contains(text, "ready") })
	if !term.Full() || !strings.Contains(term.Screen().String(), "E[2;1R") {
		t.Errorf("no full screen, or no answer:\n%s", term.Screen())
	}
	p.Resize(90, 20)
	p.Type("k")
	term.Await("the key", func(text string) bool { return strings.Contains(text, "readyk waits") })
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 || term.Full() || term.Screen().String() != "30 100\n20 90\nbye\n" {
		t.Errorf("exit code %d, and the terminal shows\n%s", code, term.Screen())
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":       "",
		"another page":  "<html></html>",
		"cut":           `<svg xmlns="http://www.w3.org/2000/svg" width="700" height="52"><text x="16"`,
		"text below it": `<svg xmlns="http://www.w3.org/2000/svg" width="700" height="52"><text x="16" y="99">a</text></svg>`,
	} {
		if p, err := picture.Read([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
