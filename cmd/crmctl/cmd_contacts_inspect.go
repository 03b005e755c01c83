package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
)

// contactFileOptions say how a file of contacts is read.
type contactFileOptions struct {
	mapping   []string
	mapFile   string
	null      []string
	encoding  string
	delimiter string
	headerRow int
	region    string
}

func (o *contactFileOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.mapping, "map", nil, "`\"HEADER=FIELD\"`: email, phone, name, first_name, last_name, company, "+
		"created_at, external_id, metadata.KEY, a column of an application's own table, or - to leave it out; may be "+
		"repeated")
	fs.StringVar(&o.mapFile, "map-file", "", "a mapping that \"contacts inspect --save-map\" has kept in `FILE`; --map "+
		"wins over it")
	fs.StringArrayVar(&o.null, "null", nil, "a `VALUE` that means nothing, such as \"(blank)\"; may be repeated")
	fs.StringVar(&o.encoding, "encoding", "", "`NAME` of the encoding, when the guess is wrong: utf-8, windows-1252, "+
		"utf-16le ...")
	fs.StringVar(&o.delimiter, "delimiter", "", "`CHARACTER` between columns, when the guess is wrong; tab for a tab")
	fs.IntVar(&o.headerRow, "header-row", 0, "`LINE` of the header, when the guess is wrong; -1 for none")
}

// source turns the flags into the application's options for a file.
func (o *contactFileOptions) source(path string) app.ContactFile {
	return app.ContactFile{Path: path, MapFile: o.mapFile, Read: importer.Options{Map: o.mapping, Null: o.null,
		Encoding: o.encoding, Delimiter: o.delimiter, HeaderRow: o.headerRow, Region: o.region}}
}

// contactsInspectOptions are the options of `crmctl contacts inspect`.
type contactsInspectOptions struct {
	contactFileOptions

	file    string
	saveMap string
	tenant  string
	key     string
}

func newContactsInspectCmd(f *factory) *cobra.Command {
	opts := &contactsInspectOptions{}
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "what an import would make of a file",
		Long: `Show what "contacts import" would make of a file, without a database and without touching
anything: format, encoding and how they were told, what each column looks like and becomes and
why, the first rows as they would be stored, what would be rejected and cleaned.

With --tenant the file is looked at for that tenant's table, which may be an application's own:
what fills each of its columns, what it needs and has not, which values it does not take.

--save-map keeps the mapping for the next file of the same kind, which takes it by --map-file.`,
		Example: `crmctl contacts inspect leads.csv
crmctl contacts inspect leads.xlsx --map Mail=email --save-map leads.json
crmctl contacts inspect leads.csv --tenant acme-corp
crmctl contacts import --tenant acme-corp next.xlsx --map-file leads.json`,
		Args: cli.ExactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file = args[0]
			return runContactsInspect(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&opts.region, "region", "", "`COUNTRY` of phone numbers without a country code, such as DE")
	cmd.Flags().StringVar(&opts.saveMap, "save-map", "", "keep the mapping in `FILE`, as JSON")
	cmd.Flags().StringVar(&opts.tenant, "tenant", "", "look at the file for the table of this `TENANT`")
	cmd.Flags().Var(cli.NewEnum(&opts.key, string(importer.KeyEmail), importKeys()), "key",
		"by `WHAT` a row is known to be a contact of the tenant: email, phone, external_id, email,phone")
	cli.RegisterCompletion(cmd, "tenant", completeOne(f))
	cli.RegisterCompletion(cmd, "key", cli.CompleteWords(importKeys()...))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runContactsInspect(ctx context.Context, f *factory, opts *contactsInspectOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	file := opts.source(opts.file)
	file.Read.Key = importer.Key(opts.key)
	in, read, inspectErr := a.InspectContacts(ctx, file, opts.tenant)
	if in.Plan.Columns == nil {
		return fileError(inspectErr)
	}
	if err := printInspection(f, p, in, inspectErr == nil); err != nil {
		return err
	}
	switch {
	case inspectErr != nil:
		return fileError(inspectErr)
	case opts.saveMap == "":
		return nil
	case a.Config.DryRun:
		f.Note("\ndry run: no mapping was saved")
		return nil
	}
	if err := app.SaveMapping(opts.saveMap, in.Plan.Save(read)); err != nil {
		return err
	}
	f.Note("\nsaved     %s", cli.Visible(opts.saveMap))
	return nil
}

// inspectedRow is a contact as it would be stored.
type inspectedRow struct {
	Line      int             `json:"line"`
	Email     string          `json:"email,omitempty"`
	Phone     string          `json:"phone,omitempty"`
	Name      string          `json:"name,omitempty"`
	Company   string          `json:"company,omitempty"`
	CreatedAt string          `json:"created_at,omitempty"`
	Metadata  json.RawMessage `json:"metadata"`
}

// inspectedReject is a row that would be rejected.
type inspectedReject struct {
	Line    int    `json:"line"`
	Header  string `json:"header,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func printInspection(f *factory, p *cli.Printer, in importer.Inspection, whole bool) error {
	if p.IsDocument() {
		return cli.PrintObject(p, inspectionObject(in))
	}
	format := in.Plan.Format
	f.Note("file      %s   %s", cli.Visible(in.Plan.FileName), formatText(format))
	if format.Encoding != "" && format.Evidence != "" {
		f.Note("          %s: %s", format.Encoding, format.Evidence)
	}
	if in.Plan.Preset != "" {
		f.Note("          an export of %s", in.Plan.Preset)
	}
	for _, line := range formatNotes(format) {
		f.Note("          %s", line)
	}
	f.Note("%s", "")
	if err := cli.PrintList(p, inspectedColumns(), in.Plan.Columns); err != nil {
		return err
	}
	if err := printTable(f, p, in); err != nil || !whole {
		return err
	}
	switch {
	case len(in.Rows) > 0 && len(in.Table) > 0:
		f.Note("\nthe first rows, of which the table takes what it has columns for:")
	case len(in.Rows) > 0:
		f.Note("\nthe first rows as they would be stored:")
	}
	for _, r := range in.Rows {
		noteFolded(f, rowText(p, r))
	}
	f.Note("\nrows      %s, %s would be rejected%s", cli.HumanCount(in.Read), cli.HumanCount(in.Rejected),
		codesText(in.RejectedByCode))
	for _, r := range in.Rejects {
		noteFolded(f, fmt.Sprintf("line %d: %s", r.Line, r.Message))
	}
	noteChanges(f, in.Changed, in.NullWords, len(in.NoPlace) > 0)
	return nil
}

// noteFolded says a long text in lines that fit the terminal.
func noteFolded(f *factory, text string) {
	const width = 78
	for line := range strings.SplitSeq(cli.Fold(cli.Visible(text), width, "      "), "\n") {
		f.Note("%s", line)
	}
}

func inspectedColumns() cli.List[importer.ColumnPlan] {
	return cli.List[importer.ColumnPlan]{
		Plural: "columns", Empty: "no columns",
		Name: func(c importer.ColumnPlan) string { return c.Header },
		Columns: []cli.Column[importer.ColumnPlan]{
			{Name: "header", Title: "COLUMN", Value: func(c importer.ColumnPlan) any { return c.Header }},
			{Name: "field", Title: "BECOMES", Value: func(c importer.ColumnPlan) any {
				return cli.Either{Human: becomes(c), Machine: string(c.Field)}
			}},
			{Name: "metadata_key", Wide: true, Optional: true, Value: func(c importer.ColumnPlan) any { return c.Key }},
			{Name: "kind", Wide: true, Optional: true, Value: func(c importer.ColumnPlan) any { return c.Kind }},
			{Name: "class", Title: "LOOKS LIKE", Value: func(c importer.ColumnPlan) any {
				text := string(c.Class)
				if c.Class != importer.ClassEmpty {
					text = fmt.Sprintf("%s %.0f %%", c.Class, 100*c.Confidence)
				}
				return cli.Either{Human: text, Machine: string(c.Class)}
			}},
			{Name: "confidence", Wide: true, Value: func(c importer.ColumnPlan) any { return c.Confidence }},
			{Name: "sample", Spare: true, Optional: true, Value: func(c importer.ColumnPlan) any { return c.Sample }},
			{Name: "why", Text: true, Value: func(c importer.ColumnPlan) any { return c.Why }},
		},
	}
}

// becomes says where a column goes.
func becomes(c importer.ColumnPlan) string {
	switch {
	case c.Field == importer.FieldSkip:
		return "left out"
	case c.Field == importer.FieldMetadata && c.Key != c.Header:
		return "metadata." + c.Key
	case c.Field != importer.FieldMetadata && c.Kind != "":
		return string(c.Field) + " (" + c.Kind + ")"
	}
	return string(c.Field)
}

// rowText shows a contact in one line, whose words fit a line of the terminal.
func rowText(p *cli.Printer, r importer.InspectedRow) string {
	parts := []string{fmt.Sprintf("line %d:", r.Line)}
	for _, field := range []struct{ name, value string }{
		{"email", r.Email}, {"phone", r.Phone}, {"name", r.Name}, {"company", r.Company}, {"created_at", r.CreatedAt},
	} {
		if field.value != "" {
			parts = append(parts, field.name+" "+field.value+",")
		}
	}
	text := strings.TrimSuffix(strings.Join(parts, " "), ",")
	if r.Metadata != "{}" {
		text += ", metadata " + spacedJSON(r.Metadata)
	}
	const longest = 70
	words := strings.Split(text, " ")
	for i, word := range words {
		words[i] = p.Cut(word, longest)
	}
	return strings.Join(words, " ")
}

// spacedJSON returns JSON with blanks behind its commas and colons, where lines may break.
func spacedJSON(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "") != nil {
		return text
	}
	return strings.NewReplacer("{\n", "{", "\n}", "}", "[\n", "[", "\n]", "]", "\n", " ").Replace(b.String())
}

// codesText returns " (98 bad email, 41 too many columns)", "" where nothing was rejected.
func codesText(codes []importer.RejectCount) string {
	var parts []string
	for _, c := range codes {
		parts = append(parts, cli.HumanCount(c.Count)+" "+strings.ReplaceAll(string(c.Code), "_", " "))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// countsByCode returns how many rows are rejected for what.
func countsByCode(list []importer.RejectCount) map[string]int64 {
	out := make(map[string]int64, len(list))
	for _, c := range list {
		out[string(c.Code)] = c.Count
	}
	return out
}

// countsByChange returns in how many rows what was cleaned.
func countsByChange(list []importer.ChangeCount) map[string]int64 {
	out := make(map[string]int64, len(list))
	for _, c := range list {
		out[string(c.Change)] = c.Rows
	}
	return out
}

func inspectionObject(in importer.Inspection) cli.Object {
	rows := make([]inspectedRow, len(in.Rows))
	for i, r := range in.Rows {
		rows[i] = inspectedRow{r.Line, r.Email, r.Phone, r.Name, r.Company, r.CreatedAt, json.RawMessage(r.Metadata)}
	}
	rejects := make([]inspectedReject, len(in.Rejects))
	for i, r := range in.Rejects {
		rejects[i] = inspectedReject{r.Line, r.Column, string(r.Code), r.Message}
	}
	format := in.Plan.Format
	return cli.Object{
		Kind: "inspection", Name: in.Plan.FileName,
		Fields: []cli.Field{
			{Name: "file", Value: in.Plan.FileName},
			{Name: "format", Value: string(format.Kind)},
			{Name: "compression", Optional: true, Value: format.Compression},
			{Name: "sheet", Optional: true, Value: format.Sheet},
			{Name: "program", Optional: true, Value: in.Plan.Preset},
			{Name: "encoding", Value: format.Encoding},
			{Name: "evidence", Value: format.Evidence},
			{Name: "delimiter", Value: string(rune(format.Delimiter))},
			{Name: "header_row", Value: format.HeaderRow},
			{Name: "read", Value: in.Read},
			{Name: "rejected", Value: in.Rejected},
			{Name: "blank_lines", Value: in.Blank},
			{Name: "note_lines", Value: in.Notes},
			{Name: "rejected_by_code", Document: true, Value: countsByCode(in.RejectedByCode)},
			{Name: "cleaned", Document: true, Value: countsByChange(in.Changed)},
			{Name: "null_words", Document: true, Optional: true, Value: in.NullWords},
			{Name: "columns", Document: true, Value: cli.Documents(inspectedColumns().Columns, in.Plan.Columns)},
			{Name: "table_columns", Document: true, Optional: true, Value: tableColumns(in.Table)},
			{Name: "no_place", Document: true, Optional: true, Value: in.NoPlace},
			{Name: "rows", Document: true, Value: rows},
			{Name: "rejects", Document: true, Value: rejects},
		},
	}
}
