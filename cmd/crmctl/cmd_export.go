package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/db"
)

// exportOptions are the options of `crmctl contacts export` and its sisters.
type exportOptions struct {
	selection

	table            exporter.Table
	all              bool
	to               string
	format           string
	raw              bool
	preset           string
	since            timeFlag
	search           string
	metadata         []string
	status           []string
	contact          string
	limit            int64
	anonymize        bool
	seed             string
	keepMetadata     []string
	keepColumns      []string
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func (o *exportOptions) addFlags(f *factory, cmd *cobra.Command) {
	fs := cmd.Flags()
	o.selection.addFlags(f, cmd)
	fs.BoolVar(&o.all, "all-tenants", false, "of every tenant that is not deleted, with a first column tenant")
	fs.StringVar(&o.to, "to", "-", "write to `FILE`, compressed where it ends in .gz or .zst; - for stdout")
	fs.Var(cli.NewEnum(&o.format, "", textsOf(exporter.Formats(o.table))), "format",
		"`FORMAT`: "+strings.Join(textsOf(exporter.Formats(o.table)), ", ")+" (default by the file's ending, else csv)")
	fs.BoolVar(&o.raw, "raw", false, "leave CSV as it is that a spreadsheet would compute: no ' before = + - @")
	o.addFilterFlags(cmd)
	fs.Int64Var(&o.limit, "limit", 0, "at most `N` rows of a tenant; 0 for all")
	fs.BoolVar(&o.anonymize, "anonymize", false, "replace personal data by fakes")
	fs.StringVar(&o.seed, "seed", "", "with --anonymize, make the fakes from this `TEXT`, so that files go "+
		"together; random if left out")
	fs.StringSliceVar(&o.keepColumns, "keep-columns", nil, "with --anonymize, leave these `COLUMNS` as they are")
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addStatementTimeoutFlag(fs, &o.statementTimeout)
	addDryRunFlag(fs, &o.dryRun)
	cli.RegisterCompletion(cmd, "format", cli.CompleteWords(textsOf(exporter.Formats(o.table))...))
}

// addFilterFlags adds those that not every table has.
func (o *exportOptions) addFilterFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	changed := "changed"
	if o.table == exporter.Messages {
		changed = "made"
	}
	fs.Var(&o.since, "since", "only those "+changed+" since `TIME`: 24h, 7d, 2026-11-23 or RFC 3339")
	switch o.table {
	case exporter.Contacts:
		fs.StringVar(&o.search, "search", "", "only those with `TEXT` in address, number, name or company")
		fs.StringArrayVar(&o.metadata, "metadata", nil, "only those whose metadata has `KEY=VALUE`; may be repeated")
		fs.StringSliceVar(&o.keepMetadata, "keep-metadata", nil, "with --anonymize, leave these `KEYS` of the metadata")
		fs.Var(cli.NewEnum(&o.preset, "", textsOf(exporter.Presets())), "preset", "CSV with the header of another "+
			"`PROGRAM`: "+strings.Join(textsOf(exporter.Presets()), ", "))
		cli.RegisterCompletion(cmd, "preset", cli.CompleteWords(textsOf(exporter.Presets())...))
	case exporter.Conversations:
		fs.StringSliceVar(&o.status, "status", nil, "only those in a `STATUS`: open, pending, closed")
	case exporter.Messages:
		fs.StringVar(&o.search, "search", "", "only those with these `WORDS` in their text, as a search engine takes them")
	}
	if o.table != exporter.Contacts {
		fs.StringVar(&o.contact, "contact", "", "only those of the contact with this `ADDRESS`")
	}
}

// textsOf returns the texts of a list.
func textsOf[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, word := range list {
		out[i] = string(word)
	}
	return out
}

func (o *exportOptions) validate() error {
	picked := len(o.tenants) > 0 || o.from != ""
	switch {
	case !picked && !o.all:
		return cli.Usagef("no tenant to export: give --tenant or --all-tenants")
	case picked && o.all:
		return cli.Usagef("--all-tenants does not go with --tenant and --tenants-from")
	case o.limit < 0:
		return cli.Usagef("--limit %d: want 0 (all) or more", o.limit)
	case !o.anonymize && (o.seed != "" || len(o.keepColumns)+len(o.keepMetadata) > 0):
		return cli.Usagef("--seed, --keep-columns and --keep-metadata go with --anonymize")
	case o.to == "":
		return cli.Usagef("--to: want the name of a file, or - for stdout")
	}
	format := o.fileFormat("")
	switch {
	case format == exporter.VCard && o.table != exporter.Contacts:
		return cli.Usagef("vCards are for contacts")
	case format != exporter.CSV && o.raw:
		return cli.Usagef("--raw is for CSV: %s computes nothing", format)
	case format != exporter.CSV && o.preset != "":
		return cli.Usagef("--preset is for CSV")
	}
	return nil
}

// fileFormat returns how the file is written. output is the format that was asked for with
// --output, "" for none.
func (o *exportOptions) fileFormat(output string) exporter.Format {
	if o.format != "" {
		return exporter.Format(o.format)
	}
	if format := exporter.FormatOf(o.to); format != "" {
		return format
	}
	if o.to == "-" && (output == "json" || output == "ndjson") {
		return exporter.JSONLines
	}
	return exporter.CSV
}

// filter returns the conditions of the flags.
func (o *exportOptions) filter(f *factory) (exporter.Filter, error) {
	out := exporter.Filter{Since: o.since.at(f.Now()), Search: o.search, Status: o.status, Contact: o.contact,
		Limit: o.limit}
	if len(o.metadata) == 0 {
		return out, nil
	}
	members := map[string]string{}
	for _, pair := range o.metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return out, cli.Usagef("--metadata %q: want KEY=VALUE", pair)
		}
		members[key] = value
	}
	text, err := json.Marshal(members)
	out.Metadata = string(text)
	return out, err
}

func runExport(ctx context.Context, f *factory, opts *exportOptions, output string) error {
	chosen, err := opts.selection.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	filter, err := opts.filter(f)
	if err != nil {
		return err
	}
	format := opts.fileFormat(output)
	if opts.to == "-" && format == exporter.XLSX && p.Terminal && !opts.dryRun {
		return cli.Usagef("a workbook is nothing for a terminal: give --to FILE")
	}
	done, err := a.Export(ctx, app.ExportOptions{
		Selection: chosen, Path: opts.to, Out: f.IO.Out, DryRun: opts.dryRun, Anonymize: opts.anonymize, Seed: opts.seed,
		KeepKeys: opts.keepMetadata, KeepColumns: opts.keepColumns,
		Write: exporter.Options{Table: opts.table, Format: format, Filter: filter, Raw: opts.raw,
			Preset: exporter.Preset(opts.preset), LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout},
	})
	if err != nil {
		return exportHint(err)
	}
	return printExport(f, p, opts, format, done)
}

// exportHint adds what leads on.
func exportHint(err error) error {
	_, full := errors.AsType[*exporter.SheetError](err)
	switch {
	case full:
		return cli.WithHint(err, "another format has no such limit", "--format csv")
	case errors.Is(err, exporter.ErrUnknownColumns):
		return cli.WithHint(err, "if they hold nothing personal", "--keep-columns column,...")
	case db.SQLState(err) == db.CodeLockNotAvailable:
		return cli.WithHint(cli.WithCode(err, cli.ExitLocked), "wait longer", "--lock-timeout 1m")
	}
	return err
}
