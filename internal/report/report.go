package report

import (
	"embed"
	"html/template"
	"io"
	"time"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// Words write values as people read them. Visible escapes what is not to be obeyed, such as
// marks that change the direction of a text.
type Words struct {
	Size     func(int64) string
	Count    func(int64) string
	Duration func(time.Duration) string
	Minute   func(time.Time) string
	Visible  func(string) string
	Error    func(error) string
}

// Head says what a page is about.
type Head struct {
	Place   string // "crm_prod on db1:5432"
	Program string // "crmctl 1.4.0"
	At      time.Time
}

// Section is a part of a fleet's page.
type Section string

// The sections, in their order on the page.
const (
	Sizes    Section = "sizes"
	Versions Section = "versions"
	Drift    Section = "drift"
	Runs     Section = "runs"
	Locks    Section = "locks"
	Purges   Section = "purges"
	Backups  Section = "backups"
	Findings Section = "findings"
)

// Sections returns all of them.
func Sections() []Section {
	return []Section{Sizes, Versions, Drift, Runs, Locks, Purges, Backups, Findings}
}

// Fleet is what a page shows of a fleet.
type Fleet struct {
	Head

	Sizes    stats.Report
	History  []stats.Past // of all tenants together, the oldest first
	Counts   registry.Counts
	Newest   int64 // version of the newest migration file
	Drift    catalog.Drift
	Runs     []registry.Run // the newest first
	Details  []Run          // the first of them, tenant by tenant
	Sessions stats.Sessions
	Overdue  []registry.Tenant    // deleted tenants that may be destroyed by now
	Backups  map[string]time.Time // by slug; the zero time for never
	Findings doctor.Report

	// Skipped are sections that were not asked for, Unread those that could not be read.
	Skipped []Section
	Unread  map[Section]error
}

// Run is a run and what became of its tenants.
type Run struct {
	registry.Run

	Outcomes []registry.RunTenant
}

//go:embed page.html page.css
var files embed.FS

// Write writes the page of a fleet.
func Write(w io.Writer, f *Fleet, words Words) error {
	v := view{words}
	p := v.page("Fleet report", f.Head)
	p.Figures = v.figures(f)
	for _, s := range Sections() {
		p.Sections = append(p.Sections, v.section(f, s))
	}
	return p.write(w)
}

// WriteRun writes the page of a run.
func WriteRun(w io.Writer, h Head, r Run, words Words) error {
	v := view{words}
	p := v.page(v.runTitle(r.Run), h)
	p.Figures = v.runFigures(r)
	p.Sections = []section{{ID: "run", Title: "Tenant by tenant", Blocks: pair(v.outcomes(r, true))}}
	if met := v.locksOfRuns("Tried again", []Run{r}); met != nil {
		p.Sections = append(p.Sections, section{ID: string(Locks), Title: "Locks met", Blocks: met})
	}
	return p.write(w)
}

func (p *page) write(w io.Writer) error {
	t, err := template.New("page.html").ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	css, err := files.ReadFile("page.css")
	if err != nil {
		return err
	}
	p.CSS = template.CSS(css) //nolint:gosec // our own file
	return t.Execute(w, p)
}
