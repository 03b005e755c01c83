package report_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/report"
)

// pageOf returns the page of a fleet.
func pageOf(t *testing.T, f *report.Fleet) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, words()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// each calls visit with every node of a page.
func each(t *testing.T, page string, visit func(*html.Node)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		visit(n)
	}
}

// textOf returns the text below a node, without styles.
func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" {
			b.WriteString(d.Data)
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// checkAlone fails where a page loads, runs or leads to anything outside of itself.
func checkAlone(t *testing.T, page string) {
	t.Helper()
	allowed := map[string]bool{"html": true, "head": true, "meta": true, "title": true, "style": true, "body": true,
		"header": true, "main": true, "nav": true, "section": true, "div": true, "h1": true, "h2": true, "h3": true, "p": true,
		"span": true, "bdi": true, "b": true, "i": true, "small": true, "code": true, "a": true, "ul": true, "li": true,
		"dl": true, "dt": true, "dd": true, "table": true, "thead": true, "tbody": true, "tr": true, "th": true, "td": true,
		"svg": true, "rect": true, "text": true, "path": true, "figure": true, "figcaption": true}
	each(t, page, func(n *html.Node) {
		if n.Type != html.ElementNode {
			return
		}
		if !allowed[n.Data] {
			t.Errorf("the page has an element %q", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "style", a.Key == "srcset":
				t.Errorf("the page has <%s %s=%q>", n.Data, a.Key, a.Val)
			case strings.HasSuffix(a.Key, "href") && !strings.HasPrefix(a.Val, "#"):
				t.Errorf("the page leads to %q", a.Val)
			}
		}
	})
	style := page[strings.Index(page, "<style>"):strings.Index(page, "</style>")]
	for _, word := range []string{"url(", "@import", "ZgotmplZ"} {
		if strings.Contains(style, word) {
			t.Errorf("the style has %q", word)
		}
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template has refused a value")
	}
}

func TestPageStandsAlone(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*report.Fleet{"12": sample(12), "10,000": sample(10_000), "hostile": spoiled(),
		"empty": empty(), "1": sample(1 + 11)} {
		page := pageOf(t, f)
		checkAlone(t, page)
		if len(page) > 2_000_000 {
			t.Errorf("%s: the page has %d bytes", name, len(page))
		}
	}
}

// Every name comes out as it went in, as text.
func TestPageEscapesNames(t *testing.T) {
	t.Parallel()
	f := spoiled()
	page := pageOf(t, f)
	if strings.Contains(page, "<img") || strings.Contains(page, "<script") {
		t.Error("a name became an element")
	}
	seen := map[string]int{}
	each(t, page, func(n *html.Node) {
		switch {
		case n.Type == html.ElementNode && n.Data == "section":
			for _, a := range n.Attr {
				if a.Key == "id" {
					seen[a.Val] = strings.Count(textOf(n), hostile)
				}
			}
		case n.Type == html.ElementNode && n.Data == "i":
			for _, a := range n.Attr {
				if a.Key == "title" && strings.HasPrefix(a.Val, hostile) {
					seen["cells"]++
				}
			}
		}
	})
	for _, s := range report.Sections() {
		if s != report.Versions && seen[string(s)] == 0 {
			t.Errorf("section %s does not show the names as they are", s)
		}
	}
	if seen["cells"] < 60 {
		t.Errorf("%d squares have a tenant's name, want 60", seen["cells"])
	}
}

// Marks that change the direction of a text, and control characters, are shown.
func TestPageShowsMarks(t *testing.T) {
	t.Parallel()
	f := sample(12)
	f.Sizes.Tenants[0].Slug = "acme\u202egpj.exe\x1b[31m"
	page := pageOf(t, f)
	if strings.ContainsAny(page, "\u202e\x1b") || !strings.Contains(page, `acme\u202egpj.exe\x1b[31m`) {
		t.Error("the marks are not shown")
	}
}

// The numbers of the page are those of the fleet.
func TestPageTells(t *testing.T) {
	t.Parallel()
	page := pageOf(t, sample(10_000))
	text := ""
	each(t, page, func(n *html.Node) {
		if n.Type == html.ElementNode && n.Data == "body" {
			text = textOf(n)
		}
	})
	for _, want := range []string{
		"Tenants 10,000 833 suspended, 202 deleted", "At the newest version 83 % 1,667 not at version 6",
		"10,000 tenants take", "as the server estimates", "and 9,988 more", "version 5 1,666",
		"1 being transferred", "4 moved elsewhere",
		"Run 42: migrate to version 6", "9,896 migrated 104 failed", "customer-01070", "and 92 more",
		"2 sessions wait for a lock", "pid 9120 migrator, crmctl", "AccessExclusiveLock on contacts",
		"2 deleted tenants are past their retention", "another-old-customer-with-a-long-name", "never backed up 1,428",
		"missing index idx_contacts_phone on contacts", "38 tenants the-international", "ghost-row", "× 56", "Not checked Check Why not prepared permission denied",
	} {
		if !strings.Contains(text, want) && !strings.Contains(strings.ReplaceAll(text, " - ", " "), want) {
			t.Errorf("the page does not tell %q", want)
		}
	}
	if t.Failed() {
		t.Log(text[:min(len(text), 6000)])
	}
}

// What was left out, or not read, says so, and an empty fleet has a page too.
func TestPageOfLittle(t *testing.T) {
	t.Parallel()
	f := empty()
	f.Skipped = []report.Section{report.Drift}
	page := pageOf(t, f)
	for _, want := range []string{"There are no tenants yet.", "There were no runs yet.", "Left out of this report.",
		"No deleted tenant is past its retention.", "nothing is wrong", "There are no tenants to back up."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestRunPage(t *testing.T) {
	t.Parallel()
	for _, run := range append(sample(10_000).Details[:1], spoiled().Details[0], report.Run{Run: registry.Run{Target: -1}}) {
		var b bytes.Buffer
		if err := report.WriteRun(&b, report.Head{Place: "crm on db1:5432", At: now}, run, words()); err != nil {
			t.Fatal(err)
		}
		checkAlone(t, b.String())
		if run.ID == 42 && !strings.Contains(b.String(), "Run 42: migrate to version 6") {
			t.Error("the run is not named")
		}
		if len(b.String()) > 1_000_000 {
			t.Errorf("the page has %d bytes", b.Len())
		}
	}
}

// A reason that names the place in the file and the SQLSTATE, as those of runs do, is not told with both again.
func TestFailedIsToldOnce(t *testing.T) {
	t.Parallel()
	for _, message := range []string{`00005_score.sql:2: column "score" of relation "contacts" already exists (42701)`,
		`column "score" of relation "contacts" already exists`} {
		run := report.Run{Run: registry.Run{ID: 7, Kind: "migrate", Target: 5, Tenants: 1, Failed: 1},
			Outcomes: []registry.RunTenant{{Slug: "acme", State: "failed", To: 4, Place: "00005_score.sql:2", SQLState: "42701",
				Message: message}}}
		var b bytes.Buffer
		if err := report.WriteRun(&b, report.Head{Place: "crm on db1:5432", At: now}, run, words()); err != nil {
			t.Fatal(err)
		}
		for _, once := range []string{"00005_score.sql:2", "42701", "already exists"} {
			if n := strings.Count(b.String(), once); n != 1 {
				t.Errorf("%q: the page has %s %d times", message, once, n)
			}
		}
	}
}

// Where tenants have no backup at all, that is the figure, and not the age of the others.
func TestWithoutABackup(t *testing.T) {
	t.Parallel()
	f := sample(12)
	page := pageOf(t, f)
	if !strings.Contains(page, "Without a backup") || !strings.Contains(page, "the oldest is 4 days old") {
		t.Error("the page does not say how many tenants have no backup")
	}
}
