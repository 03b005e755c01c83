package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// personScreen says what there is of a person, or what was erased.
type personScreen struct {
	f       *factory
	p       *cli.Printer
	o       *personOptions
	address crm.Address
	done    app.PersonResult
}

// The places where a person is looked for, and those that nobody can look at for them.
func lookedAt() []string {
	return []string{"contacts and their metadata", "conversations", "messages", "rows kept by imports and merges",
		"columns of other tables whose names have \"mail\""}
}

func notLookedAt() []string {
	return []string{"backups", "exported files", "rejects of imports", "logs of the server", "texts without the address"}
}

// notLookedAt is of this search: what is in other databases too.
func (s personScreen) notLookedAt() []string {
	list := notLookedAt()
	if moved := s.elsewhere(); len(moved) > 0 {
		list = append(list, "tenants in the database that they have moved to: "+strings.Join(moved, ", "))
	}
	return list
}

// elsewhere returns the tenants that have moved to another database, where nobody has looked.
func (s personScreen) elsewhere() []string {
	var slugs []string
	for _, t := range s.done.Tenants {
		if t.Tenant.Status == registry.Moved || t.Tenant.DeletedFrom == registry.Moved {
			slugs = append(slugs, t.Tenant.Slug)
		}
	}
	return slugs
}

// again is what is left to do in another database.
func (s personScreen) again() string {
	if s.o.erase {
		return "erase"
	}
	return "look"
}

// personRecord is a row that is about a person.
type personRecord struct {
	Tenant string          `json:"tenant"`
	Kind   string          `json:"kind"`
	Table  string          `json:"table"`
	Row    json.RawMessage `json:"row"`
}

func (s personScreen) records() []personRecord {
	out := []personRecord{}
	for _, t := range s.done.Tenants {
		for _, r := range inThreads(t.Rows) {
			out = append(out, personRecord{t.Tenant.Slug, r.Kind, r.Table, r.Row})
		}
	}
	return out
}

// failed returns what could not be read, or not be erased, by tenant.
func (s personScreen) failed() []personTenant {
	out := []personTenant{}
	for i, r := range s.done.Results {
		if r.State != fleet.Done {
			text := "not looked at"
			if r.Err != nil {
				text = s.f.redact(textOf(r.Err))
			}
			out = append(out, personTenant{Tenant: s.done.Tenants[i].Tenant.Slug, Error: text})
		}
	}
	return out
}

type personTenant struct {
	Tenant string `json:"tenant"`
	Error  string `json:"error"`
}

// found prints or writes what there is.
func (s personScreen) found() error {
	show := s.print
	if s.o.export {
		show = s.export
	}
	if err := show(); err != nil {
		return err
	}
	return s.end("")
}

func (s personScreen) print() error {
	cut := false
	err := cli.PrintList(s.p, cli.List[personRecord]{
		Plural: "rows",
		Columns: []cli.Column[personRecord]{
			{Name: "tenant", Value: func(r personRecord) any { return r.Tenant }},
			{Name: "kind", Value: func(r personRecord) any { return r.Kind }},
			{Name: "table", Wide: true, Value: func(r personRecord) any { return r.Table }},
			{Name: "created_at", Title: "CREATED", Spare: true, Value: func(r personRecord) any { return createdAt(s.p, r) }},
			{Name: "row", Title: "STORED", Text: true, Value: func(r personRecord) any {
				text, short := personText(r)
				cut = cut || short
				return cli.Either{Human: text, Machine: string(r.Row), Document: r.Row}
			}},
		},
		Name:   func(r personRecord) string { return r.Tenant },
		Empty:  "nothing is stored",
		Footer: s.total,
	}, s.records())
	if err == nil && cut && s.p.Terminal && s.p.IsTable() {
		s.f.Note("long texts are cut: -o json has them whole")
	}
	return err
}

// total is what stands below the rows.
func (s personScreen) total() string {
	held, tenants := s.done.Total()
	text := cli.Plural(tenants, "tenant") + ": " + heldText(held)
	if held.Mentions > 0 {
		text += "; of others " + cli.Plural(int(held.Mentions), "message")
	}
	if held.Others > 0 {
		text += "; elsewhere " + cli.Plural(int(held.Others), "row")
	}
	return cli.Fold(text, s.p.Width, "")
}

// personDocument is what --export writes.
type personDocument struct {
	Kind        string         `json:"kind"`
	Version     int            `json:"version"`
	Address     string         `json:"address"`
	At          time.Time      `json:"at"`
	LookedAt    []string       `json:"looked_at"`
	NotLookedAt []string       `json:"not_looked_at"`
	Tenants     int            `json:"tenants"`
	Failed      []personTenant `json:"failed"`
	Rows        []personRecord `json:"rows"`
}

func (s personScreen) export() error {
	write := func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(personDocument{Kind: "person", Version: 1, Address: s.address.Canonical(), At: s.f.Now().UTC(),
			LookedAt: lookedAt(), NotLookedAt: s.notLookedAt(), Tenants: len(s.done.Tenants), Failed: s.failed(),
			Rows: s.records()})
	}
	switch {
	case s.o.dryRun:
	case s.o.to == "-":
		return write(s.f.IO.Out)
	default:
		if err := app.WriteFile(s.o.to, 0o600, write); err != nil {
			return err
		}
	}
	held, tenants := s.done.Total()
	return cli.PrintObject(s.p, cli.Object{Kind: "person_export", Name: s.o.to, Fields: append([]cli.Field{
		{Name: "file", Value: s.o.to},
		{Name: "tenants", Value: tenants},
		{Name: "dry_run", Document: true, Value: s.o.dryRun}}, heldFields(held)...)})
}

func heldFields(h crm.Held) []cli.Field {
	return []cli.Field{
		{Name: "contacts", Value: h.Contacts}, {Name: "conversations", Value: h.Conversations},
		{Name: "messages", Value: h.Messages}, {Name: "kept", Value: h.Kept}, {Name: "mentions", Value: h.Mentions},
		{Name: "others", Value: h.Others},
	}
}

// erasedRow is what became of a tenant.
type erasedRow struct {
	app.PersonTenant

	result string
	err    string
}

type erasedSummary struct {
	KeyFile string         `json:"key_file"`
	Backups []backupBefore `json:"backups"`
}

// backupBefore is a backup that still holds a person.
type backupBefore struct {
	Tenant string    `json:"tenant"`
	File   string    `json:"file"`
	At     time.Time `json:"at"`
}

func (s personScreen) erasedRows() []erasedRow {
	rows := []erasedRow{}
	for i, t := range s.done.Tenants {
		row := erasedRow{PersonTenant: t}
		state, failed := s.done.Results[i], s.done.Results[i].State != fleet.Done
		switch {
		case failed && state.Err != nil:
			row.result, row.err = "failed", s.f.redact(textOf(state.Err))
		case failed:
			row.result = "not started"
		case t.Erased:
			row.result = "erased"
		case t.Held.Erasable() > 0 && s.o.dryRun:
			row.result = "would erase"
		case t.Held.Erasable() > 0:
			row.result = "not erased"
		case t.Held != (crm.Held{}):
			row.result = "left"
		default:
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

func (s personScreen) erased() error {
	count := func(name string, of func(crm.Held) int64) cli.Column[erasedRow] {
		return cli.Column[erasedRow]{Name: name, Right: true, Value: func(r erasedRow) any { return of(r.Held) }}
	}
	summary := erasedSummary{KeyFile: s.done.KeyFile, Backups: []backupBefore{}}
	for _, b := range s.done.Backups {
		summary.Backups = append(summary.Backups, backupBefore{b.Slug, b.File, b.At})
	}
	alike := alikeTenants(func(r erasedRow) registry.Tenant { return r.Tenant })
	alike.Of = func(r erasedRow) bool { return r.err != "" || r.result == resultNotStarted }
	err := cli.PrintList(s.p, cli.List[erasedRow]{
		Plural: "tenants",
		Columns: []cli.Column[erasedRow]{
			{Name: "result", Value: func(r erasedRow) any { return cli.Styled{Value: r.result, Color: resultColor(r.result)} }},
			{Name: "tenant", Value: func(r erasedRow) any { return r.Tenant.Slug }},
			count("contacts", func(h crm.Held) int64 { return h.Contacts }),
			count("conversations", func(h crm.Held) int64 { return h.Conversations }),
			count("messages", func(h crm.Held) int64 { return h.Messages }),
			count("kept", func(h crm.Held) int64 { return h.Kept }),
			{Name: "mentions", Document: true, Value: func(r erasedRow) any { return r.Held.Mentions }},
			{Name: "others", Document: true, Value: func(r erasedRow) any { return r.Held.Others }},
			{Name: "error", Title: "WHY", Text: true, Optional: true, Value: func(r erasedRow) any { return r.err }},
		},
		Name:    func(r erasedRow) string { return r.Tenant.Slug },
		Alike:   alike,
		Summary: func() any { return summary },
		Empty:   "nothing is stored",
	}, s.erasedRows())
	if err != nil {
		return err
	}
	if s.o.dryRun {
		s.f.Note("dry run: nothing was erased")
	} else if s.done.KeyFile != "" {
		s.f.Note("key       %s: bring it along where backups are restored", cli.Visible(s.done.KeyFile))
	}
	const shown = 10
	for i, b := range s.done.Backups {
		if i == shown {
			s.f.Note("backup    and %d more (-o json has all)", len(s.done.Backups)-shown)
			break
		}
		s.f.Note("backup    %s of %s may still have the person", cli.Visible(b.File), s.p.Show.Minute(b.At))
	}
	return s.end("erased")
}

// end says what was not looked at or stays, and returns the error with the exit code.
func (s personScreen) end(did string) error {
	held, _ := s.done.Total()
	if held.Mentions > 0 && s.o.erase {
		s.f.Note("left      %s of others with the address in the text", cli.Plural(int(held.Mentions), "message"))
	}
	if held.Others > 0 && s.o.erase {
		s.f.Note("left      %s elsewhere with the address (--show has them)", cli.Plural(int(held.Others), "row"))
	}
	for _, slug := range s.elsewhere() {
		s.f.Note("moved     %s lives in another database: %s there too (crmctl tenant show %s)", slug, s.again(), slug)
	}
	s.f.Note("note: not looked at: backups, exported files, rejects, logs of the server")
	sum := s.done.Summary()
	if !s.o.erase { // the failures are in the table otherwise
		s.f.sayFailures(s.done.Results, func(i int) string { return s.done.Tenants[i].Tenant.Slug }, func(err error) error {
			return err
		})
	}
	err := s.f.end(runEnd{Summary: sum, did: did, alone: func(err error) error { return err }})
	if err == nil && held.Others > 0 && s.o.erase && !s.o.dryRun {
		return cli.ExitTold(cli.ExitPartial, "%s left elsewhere", cli.Plural(int(held.Others), "row"))
	}
	return err
}

// erasedText says what was erased again from a restored tenant.
func erasedText(n app.PersonsErased) string {
	return fmt.Sprintf("erased again from %s: %s", cli.Visible(n.Slug), heldText(n.Held))
}
