package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/report"
)

// reportFormat tells by its ending how a report is written: "xml", "json", "md" or "html".
// The file that GitHub shows as a job's summary has no ending and is Markdown.
func reportFormat(file, summary string) (string, error) {
	if summary != "" && file == summary {
		return "md", nil
	}
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".xml", ".json", ".md", ".html":
		return ext[1:], nil
	}
	if strings.Contains(filepath.Base(file), "step_summary") {
		return "md", nil
	}
	return "", cli.Usagef("--report %s: want a name that ends in .xml (JUnit), .json, .md or .html", file)
}

// writeReports writes the files of --report. Each is whole or absent.
func writeReports(f *factory, files []string, r *migrate.Report, s fleet.Summary) error {
	record := newRunReport(r, s)
	record.Next, _ = f.afterRun(r, record)
	place := db.Target{Database: "database"}
	if target, err := f.target(); err == nil {
		place = target
	}
	var failed error
	for _, file := range files {
		if err := writeReport(f, file, place, record); err != nil {
			failed = errors.Join(failed, fmt.Errorf("write the report %s: %w", file, err))
		}
	}
	return failed
}

func writeReport(f *factory, file string, place db.Target, record runReport) error {
	summary := f.IO.Getenv("GITHUB_STEP_SUMMARY")
	format, err := reportFormat(file, summary)
	if err != nil {
		return err
	}
	var text []byte
	switch format {
	case "xml":
		text, err = junitReport(place.Database, record)
	case "json":
		document := map[string]any{"version": cli.DocumentVersion, "run": record.object().Document()}
		text, err = cli.EncodeJSON(document, "", "  ")
		text = append(text, '\n')
	case "md":
		text = markdownReport(place.Database, record)
	case "html":
		text, err = htmlReport(f, place, record)
	}
	if err != nil {
		return err
	}
	text = []byte(f.redact(string(text)))
	if file == summary {
		// Others write to a job's summary too.
		return appendFile(file, text)
	}
	return replaceFile(file, text, 0o600)
}

// replaceFile makes or replaces a file. That it cannot be written is no error of usage here:
// the work that it tells of is done.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	err := app.WriteFile(path, mode, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if input, is := errors.AsType[*app.InputError](err); is {
		return input.Err
	}
	return err
}

func appendFile(path string, text []byte) error {
	out, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return errors.Join(err, out.Close())
}

// htmlReport is the run as a page.
func htmlReport(f *factory, place db.Target, r runReport) ([]byte, error) {
	now := f.Now()
	run := report.Run{Run: registry.Run{ID: r.Run, Kind: r.Kind, State: r.State, Reason: r.Reason, Target: r.TargetVersion,
		Tenants: r.Tenants, Succeeded: r.Migrated + r.Current, Failed: r.Failed, NotStarted: r.NotStarted,
		StartedAt: now.Add(-r.Elapsed), FinishedAt: &now}}
	for _, o := range r.Outcomes {
		run.Outcomes = append(run.Outcomes, o.RunTenant)
	}
	var b bytes.Buffer
	err := report.WriteRun(&b, report.Head{Place: place.Place(), Program: programName(), At: now}, run, pageWords(f))
	return b.Bytes(), err
}

// The elements of a JUnit report, as the usual CI systems read them.
type (
	junitSuites struct {
		XMLName xml.Name   `xml:"testsuites"`
		Suite   junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Seconds  string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Seconds string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
		Skipped *junitSkipped `xml:"skipped,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

func junitReport(place string, r runReport) ([]byte, error) {
	suite := junitSuite{
		Name: fmt.Sprintf("crmctl %s %s run %d", r.Kind, place, r.Run), Tests: len(r.Outcomes),
		Failures: r.Failed, Skipped: r.NotStarted, Seconds: fmt.Sprintf("%.3f", r.Elapsed.Seconds()),
	}
	for _, o := range r.Outcomes {
		c := junitCase{Class: "crmctl." + r.Kind, Name: cli.Visible(o.Slug),
			Seconds: fmt.Sprintf("%.3f", o.Duration.Seconds())}
		switch migrate.State(o.State) {
		case migrate.Failed:
			c.Failure = &junitFailure{Message: cli.Visible(o.Message), Type: o.SQLState,
				Text: cli.Visible(failureText(o.Place, o.Message))}
		case migrate.NotStarted:
			c.Skipped = &junitSkipped{Message: cli.Visible(strings.TrimSpace("not started " + r.Reason))}
		case migrate.Migrated, migrate.Current, migrate.Skipped:
		}
		suite.Cases = append(suite.Cases, c)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", "  ")
	if err := enc.Encode(junitSuites{Suite: suite}); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// failureText begins a message with its place, unless it does so itself.
func failureText(place, message string) string {
	if place == "" || strings.HasPrefix(message, place) {
		return message
	}
	return place + " " + message
}

// markdownReport is a page for people: the sums, then what failed.
func markdownReport(place string, r runReport) []byte {
	const most = 100 // reasons
	var b strings.Builder
	fmt.Fprintf(&b, "### crmctl %s: %s, run %d\n\n", r.Kind, markdown(place), r.Run)
	b.WriteString("| migrated | current | skipped | failed | not started | seconds |\n|---:|---:|---:|---:|---:|---:|\n")
	fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %.1f |\n", r.Migrated, r.Current, r.Skipped, r.Failed, r.NotStarted,
		r.Elapsed.Seconds())
	if r.Reason != "" {
		fmt.Fprintf(&b, "\nStopped: %s\n", markdown(r.Reason))
	}
	rows := failedRows(r)
	if len(rows) > 0 {
		b.WriteString("\n| tenant | version | place | SQLSTATE | why |\n|---|---:|---|---|---|\n")
	}
	for _, o := range rows[:min(len(rows), most)] {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", markdown(o.Slug), o.To, markdown(o.Place), o.SQLState,
			markdown(o.Message))
	}
	if len(rows) > most {
		fmt.Fprintf(&b, "\nand %d more\n", len(rows)-most)
	}
	if r.Next != "" {
		fmt.Fprintf(&b, "\n    %s\n", cli.Visible(r.Next))
	}
	b.WriteByte('\n')
	return []byte(b.String())
}

// failedRows returns the tenants that failed, many that did for one reason as one row.
func failedRows(r runReport) []outcomeRow {
	var rows []outcomeRow
	alike := make(map[string][]outcomeRow)
	key := func(o outcomeRow) string {
		return fmt.Sprintf("%d %s %s", o.To, o.SQLState, cli.SetAside(o.Place+" "+o.Message, ownWords(o.Slug, o.Schema)))
	}
	for _, o := range r.Outcomes {
		if migrate.State(o.State) == migrate.Failed {
			rows, alike[key(o)] = append(rows, o), append(alike[key(o)], o)
		}
	}
	var out []outcomeRow
	for _, o := range rows {
		same := alike[key(o)]
		if !cli.Many(len(same)) {
			out = append(out, o)
			continue
		}
		if o.Slug != same[0].Slug {
			continue // it stands with the first
		}
		names := make([]string, len(same))
		for i, s := range same {
			names[i] = s.Slug
		}
		o.Message = cli.SetAside(o.Message, ownWords(o.Slug, o.Schema))
		o.Slug = cli.Plural(len(same), "tenant") + ": " + cli.FirstNames(names)
		out = append(out, o)
	}
	return out
}

// markdown makes a text from outside safe in a cell.
func markdown(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "`", "\\`", "*", "\\*", "_", "\\_", "[",
		"\\[").Replace(oneLine(cli.Visible(s)))
}
