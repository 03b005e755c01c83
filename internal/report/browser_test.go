package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/report"
)

// probe is run by the browser beside the page: it tells how tall the page is, and what
// sticks out of it or of its box.
const probe = `<script>
addEventListener('load', () => {
  const frame = document.querySelector('iframe'), d = frame.contentDocument, out = [], scheme = matchMedia('(prefers-color-scheme: dark)')
  const wide = d.documentElement.clientWidth
  for (const e of d.body.querySelectorAll('*')) {
    const r = e.getBoundingClientRect()
    if (r.width && (r.right > wide + 1 || r.left < -1) && !e.closest('svg svg, .label')) out.push(e.tagName + ': ' + e.textContent.slice(0, 60))
  }
  for (const t of d.querySelectorAll('svg.map > svg > text')) {
    const box = t.parentNode.getBoundingClientRect(), r = t.getBoundingClientRect()
    if (r.width && r.right > box.right + 1) out.push('tile: ' + t.textContent)
  }
  for (const b of d.querySelectorAll('.block, .figure')) {
    if (b.scrollWidth > b.clientWidth + 1) out.push('block: ' + b.textContent.slice(0, 60))
  }
  const pre = document.createElement('pre')
  pre.id = 'told'
  pre.textContent = JSON.stringify({height: d.documentElement.scrollHeight, dark: scheme.matches, out: out.slice(0, 20)})
  document.body.append(pre)
})
</script>`

// told is what the probe says.
type told struct {
	Height int
	Dark   bool
	Out    []string
}

// browser is a headless Chromium.
type browser struct{ program, dir string }

// newBrowser skips the test where no browser was asked for: it takes a minute.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	program := os.Getenv("CRMCTL_BROWSER")
	if program == "" {
		t.Skip("CRMCTL_BROWSER names no browser: make test-browser")
	}
	dir := os.Getenv("CRMCTL_PICTURES")
	if dir == "" {
		dir = t.TempDir()
	}
	return &browser{program: program, dir: dir}
}

// run shows a file and returns what the browser prints.
func (b *browser) run(t *testing.T, file string, dark bool, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	scheme := 1
	if dark {
		scheme = 0
	}
	// --no-sandbox: it does not start as root otherwise. It shows our own page alone.
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
		"--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(), "--virtual-time-budget=4000",
		fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme)}, args...)
	cmd := exec.CommandContext(ctx, b.program, append(args, "file://"+file)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", b.program, err, &errOut)
	}
	return out.Bytes()
}

// frame writes a file that shows a page in a frame, since a window cannot be as narrow as a
// phone.
func frame(t *testing.T, page string, width, height int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "frame.html")
	text := fmt.Sprintf(`<!doctype html><meta charset="utf-8"><body style="margin:0">%s<iframe srcdoc="%s"
		style="border:0;width:%dpx;height:%dpx;display:block"></iframe>`, probe, html.EscapeString(page), width, height)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func window(width, height int) string {
	return fmt.Sprintf("--window-size=%d,%d", max(width, 500), height)
}

// measure reports what sticks out of a page of a width, and returns how tall it is.
func (b *browser) measure(t *testing.T, name, page string, width int, dark bool) (height int) {
	t.Helper()
	out := string(b.run(t, frame(t, page, width, 900), dark, window(width, 900), "--dump-dom"))
	_, text, found := strings.Cut(out, `<pre id="told">`)
	if text, _, _ = strings.Cut(text, "</pre>"); !found {
		t.Fatalf("%s: the probe did not run", name)
	}
	var said told
	if err := json.Unmarshal([]byte(html.UnescapeString(text)), &said); err != nil {
		t.Fatal(err)
	}
	if said.Dark != dark {
		t.Errorf("%s: dark is %v, want %v", name, said.Dark, dark)
	}
	for _, o := range said.Out {
		t.Errorf("%s: sticks out: %s", name, o)
	}
	return said.Height
}

// look takes a picture of a page.
func (b *browser) look(t *testing.T, name, page string, width, height int, dark bool) {
	t.Helper()
	picture := filepath.Join(b.dir, name+".png")
	b.run(t, frame(t, page, width, height), dark, window(width, height), "--screenshot="+picture)
	file, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	image, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if image.Bounds().Dy() < height {
		t.Errorf("%s: the picture is %v, and the page %d tall", name, image.Bounds(), height)
	}
	colors := map[uint32]bool{}
	for y := 0; y < image.Bounds().Dy(); y += 7 {
		for x := 0; x < width; x += 7 {
			r, g, bl, _ := image.At(x, y).RGBA()
			colors[r>>8<<16|g>>8<<8|bl>>8] = true
		}
	}
	if len(colors) < 12 {
		t.Errorf("%s: the picture has %d colors", name, len(colors))
	}
	r, _, _, _ := image.At(2, 2).RGBA()
	if isDark := r>>8 < 0x80; isDark != dark {
		t.Errorf("%s: the background is not of its theme", name)
	}
}

// print prints a page, and reports how many sheets that took.
func (b *browser) print(t *testing.T, name, page string) (sheets int) {
	t.Helper()
	file, paper := filepath.Join(t.TempDir(), "page.html"), filepath.Join(b.dir, name+".pdf")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, file, true, "--print-to-pdf="+paper, "--no-pdf-header-footer")
	text, err := os.ReadFile(paper)
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(text, -1))
}

// onPaper returns a page that looks on the screen as it does on paper.
func onPaper(t *testing.T, page string) string {
	t.Helper()
	const paper, screen = "@media print", "@media screen"
	if strings.Count(page, paper) != 1 || strings.Count(page, screen) != 1 {
		t.Fatalf("the page has %d rules for paper and %d for screens alone", strings.Count(page, paper),
			strings.Count(page, screen))
	}
	return strings.NewReplacer(paper, "@media all", screen, paper).Replace(page)
}

// browserPage is a page to be shown, and how many sheets of paper it may take.
type browserPage struct {
	name, text string
	sheets     int
}

func browserPages(t *testing.T) []browserPage {
	t.Helper()
	run := sample(300).Details[0]
	var runPage bytes.Buffer
	if err := report.WriteRun(&runPage, report.Head{Place: "crm_prod on db1:5432", Program: "crmctl 1.4.0", At: now}, run,
		words()); err != nil {
		t.Fatal(err)
	}
	return []browserPage{{"fleet-12", pageOf(t, sample(12)), 9}, {"fleet-10000", pageOf(t, sample(10_000)), 12},
		{"run-300", runPage.String(), 3}, {"empty", pageOf(t, empty()), 2}, {"hostile", pageOf(t, spoiled()), 12}}
}

// Pages are printed on light paper, whatever the theme of the screen, and nothing sticks out of a sheet of A4.
func TestOnPaper(t *testing.T) {
	b := newBrowser(t)
	for _, page := range browserPages(t) {
		if sheets := b.print(t, page.name, page.text); sheets == 0 || sheets > page.sheets {
			t.Errorf("%s takes %d sheets, want 1 to %d", page.name, sheets, page.sheets)
		}
		const sheet = 718 // the width of A4 less Chromium's margins, in CSS pixels
		text := onPaper(t, page.text)
		height := b.measure(t, page.name+" on paper", text, sheet, true)
		b.look(t, page.name+"-paper", text, sheet, height, false)
	}
}

// Pages are shown by a real browser, at the width of a phone and of a desk, in both themes.
func TestInBrowser(t *testing.T) {
	b := newBrowser(t)
	for _, page := range browserPages(t) {
		for _, width := range []int{390, 1280} {
			height := b.measure(t, page.name, page.text, width, width == 390)
			for _, dark := range []bool{false, true} {
				if dark != (width == 390) && !strings.HasPrefix(page.name, "fleet") {
					continue // one theme each
				}
				theme := map[bool]string{false: "light", true: "dark"}[dark]
				b.look(t, fmt.Sprintf("%s-%d-%s", page.name, width, theme), page.text, width, height, dark)
			}
		}
	}
}
