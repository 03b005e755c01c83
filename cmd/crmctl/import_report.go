package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/registry"
)

// importWatch shows an import while it goes on: what was found out about the
// file, then the progress in bytes.
type importWatch struct {
	f *factory

	mu    sync.Mutex
	bar   *cli.Progress
	last  importer.Progress
	since time.Time // the phase began
	size  int64     // of the file
	left  int       // columns that are left out
	told  bool      // where the other columns go
	label string    // of the next line about the mapping
}

// Planned says what the file is taken for, before anything is loaded.
func (w *importWatch) Planned(p importer.Plan) {
	w.f.Note("file      %s   %s", cli.Visible(p.FileName), formatText(p.Format))
	for _, line := range formatNotes(p.Format) {
		w.f.Note("          %s", line)
	}
	w.label = "mapping "
	width := math.MaxInt
	if w.f.IO.ErrTerminal {
		width = w.f.IO.Width() - cli.ColumnsOf(w.label+"  ")
	}
	for _, line := range mappingLines(p, width) {
		w.f.Note("%s  %s", w.label, line)
		w.label = "        "
	}
	w.size = p.Size
	for _, c := range p.Columns {
		if c.Field == importer.FieldSkip {
			w.left++
		}
	}
}

// others says where the columns go that are no field, once the tenant's table is known.
func (w *importWatch) others(rest int) {
	if w.told {
		return
	}
	w.told = true
	if rest > 0 {
		w.f.Note("%s  %s -> metadata", w.label, cli.Plural(rest, "other column"))
		w.label = "        "
	}
	if w.left > 0 {
		w.f.Note("%s  %s left out", w.label, cli.Plural(w.left, "column"))
	}
}

// Progressed moves the bar. Each phase has one of its own.
func (w *importWatch) Progressed(p importer.Progress) {
	w.mu.Lock()
	same := w.bar != nil && w.last.Phase == p.Phase
	if same {
		w.last = p
	}
	w.mu.Unlock()
	if !same {
		o := cli.ProgressOptions{Bytes: true}
		switch {
		case p.Phase == importer.PhaseLoad:
			w.others(p.Rest)
			o.Total = w.size
		case p.Steps > 0:
			o = cli.ProgressOptions{Total: int64(p.Steps)}
		}
		w.show(p, o)
	}
	count := p.Bytes
	if p.Steps > 0 {
		count = int64(p.Step)
	}
	w.bar.Set(count)
}

// show begins to show a phase.
func (w *importWatch) show(p importer.Progress, o cli.ProgressOptions) {
	w.finish() // without the lock, which the bar takes to say how it goes
	w.mu.Lock()
	defer w.mu.Unlock()
	o.Verb, o.Rate, o.Status, o.Fields = "import", w.rate, w.status, w.fields
	w.last, w.since, w.bar = p, w.f.Now(), w.f.NewProgress(o)
}

func (w *importWatch) finish() {
	w.mu.Lock()
	bar := w.bar
	w.mu.Unlock()
	if bar != nil {
		bar.Finish()
	}
}

func (w *importWatch) rate() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.last.Elapsed.Seconds()
	switch {
	case s <= 0:
		return ""
	case w.last.Phase == importer.PhaseReceive:
		return cli.HumanSize(int64(float64(w.last.Bytes)/s)) + "/s"
	}
	return cli.HumanCount(int64(float64(w.last.Read)/s)) + " rows/s"
}

func (w *importWatch) status() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := "read " + cli.HumanCount(w.last.Read) + "   rejected " + cli.HumanCount(w.last.Rejected)
	switch w.last.Phase {
	case importer.PhaseReceive:
		return "reading the input to its end; nothing is locked"
	case importer.PhaseIndex:
		text += fmt.Sprintf("   building index %d of %d, %s, for %s", w.last.Step+1, w.last.Steps, w.last.What, w.took())
	case importer.PhaseMerge:
		text += "   merging " + w.last.What + " rows for " + w.took()
	case importer.PhaseLoad:
	}
	return text
}

// took returns how long the phase has gone on. The caller holds mu.
func (w *importWatch) took() string {
	return cli.HumanDuration(w.f.Now().Sub(w.since).Truncate(time.Second))
}

func (w *importWatch) fields() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("phase=%s read=%d rejected=%d", w.last.Phase, w.last.Read, w.last.Rejected)
}

// mappingLines says which column becomes which field, a few of them a line of a width.
func mappingLines(p importer.Plan, width int) []string {
	const perLine, between = 3, "   "
	var lines []string
	line, on := "", 0
	for _, c := range p.Columns {
		switch c.Field {
		case importer.FieldMetadata, importer.FieldSkip:
		default:
			one := cli.Visible(fmt.Sprintf("%q -> %s", c.Header, c.Field))
			switch {
			case on == 0:
				line = one
			case on == perLine, cli.ColumnsOf(line+between+one) > width:
				lines = append(lines, line)
				line, on = one, 0
			default:
				line += between + one
			}
			on++
		}
	}
	if on > 0 {
		lines = append(lines, line)
	}
	return lines
}

// sameFileText says when a file was imported before.
func sameFileText(show cli.Presentation, i registry.Import) string {
	return fmt.Sprintf("the same file was imported %s by %s", show.Minute(i.StartedAt), cli.Visible(i.Actor))
}

// columnRecord is what became of a column of the file.
type columnRecord struct {
	Header string `json:"header"`
	Field  string `json:"field"`
	Key    string `json:"metadata_key,omitempty"`
}

// keyHint says by what rows could be known of which most have no e-mail address, "" where
// there is nothing to say. key is by what they were.
func keyHint(r importer.Result, key importer.Key) string {
	if key != importer.KeyEmail || r.NoAddress*2 <= r.Read || r.ByPhone*2 <= r.NoAddress {
		return ""
	}
	return fmt.Sprintf("%s of %s rows have no e-mail address: --key phone knows them by their number",
		cli.HumanCount(r.NoAddress), cli.HumanCount(r.Read))
}

func printImport(f *factory, p *cli.Printer, r app.ImportResult, key importer.Key) error {
	if p.Terminal && p.IsTable() {
		f.Note("%s", "")
	}
	if err := cli.PrintObject(p, importObject(r)); err != nil {
		return err
	}
	noteChanges(f, r.Changed, r.NullWords, r.Narrow)
	if !p.Terminal && r.Rejected > 0 {
		f.Note("rejected  %s", rejectNote(r.Result))
	}
	if r.AcceptFile != "" {
		f.Note("accepted  %s -> %s", cli.Plural(int(r.Read-r.Rejected), "row"), cli.Visible(filepath.Base(r.AcceptFile)))
	}
	noteOwnTable(f, r)
	if text := keyHint(r.Result, key); text != "" {
		f.Note("%s", text)
	}
	if r.Read == 0 {
		f.Note("warning: %s has no contacts: there is nothing below its header", cli.Visible(r.Plan.FileName))
	}
	if r.DryRun {
		f.Note("dry run: nothing was kept")
	}
	if r.Rejected == 0 {
		return nil
	}
	if r.RejectFile != "" && !r.DryRun {
		f.Note("\nnext: mend %s and import it again", cli.Visible(r.RejectFile))
	}
	return cli.ExitTold(cli.ExitPartial, "%s rejected", cli.Plural(int(r.Rejected), "row"))
}

// rejectNote is rejectText in a line of its own.
func rejectNote(r importer.Result) string {
	text := strings.TrimSpace(rejectText(r))
	if strings.HasPrefix(text, "(") {
		return strings.Trim(text, "()")
	}
	return text
}

// noteOwnTable says what an application's own table did not take.
func noteOwnTable(f *factory, r app.ImportResult) {
	if len(r.NoPlace) > 0 {
		f.Note("left out, since the table has no column for it: %s", cli.Visible(strings.Join(r.NoPlace, ", ")))
	}
	if len(r.Spare) > 0 {
		f.Note("left out where a row has a value before it: %s", cli.Visible(strings.Join(r.Spare, ", ")))
	}
	if r.Own && !r.DryRun && r.Inserted+r.Updated > 0 {
		f.Note("the table is an application's own: this import cannot be taken back")
	}
}

func importObject(r app.ImportResult) cli.Object {
	slug := r.Tenant.Slug
	columns := make([]columnRecord, len(r.Plan.Columns))
	for i, c := range r.Plan.Columns {
		columns[i] = columnRecord{Header: c.Header, Field: string(c.Field), Key: c.Key}
	}
	rejected := any(r.Rejected)
	if r.Rejected > 0 {
		rejected = cli.Styled{Value: cli.Either{Human: cli.HumanCount(r.Rejected) + rejectText(r.Result),
			Machine: r.Rejected},
			Color: cli.Yellow}
	}
	took := cli.Either{Human: cli.HumanDuration(r.Duration) + ", " + rowsPerSecond(r.Read, r.Duration),
		Machine: r.Duration}
	return cli.Object{
		Kind: "import", Name: slug,
		Fields: []cli.Field{
			{Name: "read", Value: r.Read},
			{Name: "inserted", Value: r.Inserted},
			{Name: "updated", Value: r.Updated},
			{Name: "unchanged", Value: r.Unchanged},
			{Name: "repeated", Value: repeatedValue(r.Result)},
			{Name: "rejected", Value: rejected},
			{Name: "seconds", Title: "duration", Value: took},
			{Name: "tenant", Document: true, Value: slug},
			{Name: "import", Document: true, Optional: true, Value: importID(r)},
			{Name: "undoable", Document: true, Value: r.Undo},
			{Name: "file", Document: true, Value: r.Plan.FileName},
			{Name: "dry_run", Document: true, Value: r.DryRun},
			{Name: "rejected_by_code", Document: true, Value: countsByCode(r.RejectedByCode)},
			{Name: "reject_file", Document: true, Optional: true, Value: r.RejectFile},
			{Name: "accept_file", Document: true, Optional: true, Value: r.AcceptFile},
			{Name: "cleaned", Document: true, Value: countsByChange(r.Changed)},
			{Name: "null_words", Document: true, Optional: true, Value: r.NullWords},
			{Name: "blank_lines", Document: true, Value: r.Blank},
			{Name: "note_lines", Document: true, Value: r.Notes},
			{Name: "sha256", Document: true, Optional: true, Value: r.SHA256},
			{Name: "size_bytes", Document: true, Value: r.Bytes},
			{Name: "format", Document: true, Value: string(r.Plan.Format.Kind)},
			{Name: "compression", Document: true, Optional: true, Value: r.Plan.Format.Compression},
			{Name: "encoding", Document: true, Value: r.Plan.Format.Encoding},
			{Name: "delimiter", Document: true, Value: string(rune(r.Plan.Format.Delimiter))},
			{Name: "header_row", Document: true, Value: r.Plan.Format.HeaderRow},
			{Name: "columns", Document: true, Value: columns},
		},
	}
}

// importID returns the number of the import, nil where it has none.
func importID(r app.ImportResult) any {
	if r.ID == 0 {
		return nil
	}
	return r.ID
}

// repeatedValue says what became of rows that share a key.
func repeatedValue(r importer.Result) any {
	if r.Repeated == 0 {
		return r.Repeated
	}
	what := map[importer.RepeatPolicy]string{
		importer.RepeatMerge: "merged with an earlier row of the file",
		importer.RepeatFirst: "the first row of the file counts",
		importer.RepeatLast:  "the last row of the file counts",
	}[r.InFile]
	if what == "" {
		what = "the same as an earlier row"
	}
	return cli.Either{Human: cli.HumanCount(r.Repeated) + "   (" + what + ")", Machine: r.Repeated}
}

func rowsPerSecond(rows int64, d time.Duration) string {
	if d <= 0 {
		return "0 rows/s"
	}
	return cli.HumanCount(int64(float64(rows)/d.Seconds())) + " rows/s"
}

// rejectText returns "   -> leads.rejected.csv   (98 bad_email, 41 too_many_columns)".
func rejectText(r importer.Result) string {
	var b strings.Builder
	if r.RejectFile != "" {
		b.WriteString("   -> " + filepath.Base(r.RejectFile))
	}
	if codes := codesText(r.RejectedByCode); codes != "" {
		b.WriteString("  " + codes)
	}
	return b.String()
}
