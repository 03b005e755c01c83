package main

import (
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/fleet"
)

// printExport says what was written. Where that is on stdout, it is said on stderr.
func printExport(f *factory, p *cli.Printer, opts *exportOptions, format exporter.Format,
	done *app.ExportResult) error {
	s := fleet.Summarize(done.Results, done.Stopped)
	slug := func(i int) string { return done.Tenants[i].Slug }
	f.sayFailures(done.Results, slug, exportHint)
	if len(done.Tenants) == 0 {
		f.Note("crmctl: warning: no tenant is meant")
	}
	noteAnonymized(f, done.Anonymized)
	switch {
	case opts.dryRun, opts.to != "-" && done.Written:
		if err := cli.PrintObject(p, exportObject(opts, format, done)); err != nil {
			return err
		}
	case done.Written:
		f.Note("exported %s in %s", exportedText(opts.table, done), cli.HumanDuration(done.Elapsed))
	}
	if opts.dryRun {
		f.Note("dry run: nothing was written")
	}
	return f.end(runEnd{Summary: s, alone: exportHint})
}

// exportedText returns "1,200 contacts of 3 tenants".
func exportedText(table exporter.Table, done *app.ExportResult) string {
	what := string(table)
	if n := done.Total(); n == 1 {
		what = "1 " + strings.TrimSuffix(what, "s")
	} else {
		what = cli.HumanCount(n) + " " + what
	}
	if len(done.Tenants) == 1 {
		return what + " of " + cli.Visible(done.Tenants[0].Slug)
	}
	return what + " of " + cli.Plural(len(done.Tenants), "tenant")
}

// noteAnonymized says exactly what was replaced.
func noteAnonymized(f *factory, a *exporter.Anonymized) {
	if a == nil {
		return
	}
	for _, line := range []struct {
		label   string
		columns []string
	}{{"replaced ", a.Replaced}, {"left empty", a.Dropped}, {"to the day", a.Days}, {"kept     ", a.Kept}} {
		if len(line.columns) > 0 {
			f.Note("%-10s %s", line.label, cli.Visible(strings.Join(line.columns, ", ")))
		}
	}
}

// exportTenant is what became of one tenant, in JSON and YAML.
type exportTenant struct {
	Tenant string `json:"tenant"`
	Result string `json:"result"`
	Rows   int64  `json:"rows"`
	Error  string `json:"error,omitempty"`
}

func exportTenants(done *app.ExportResult) []exportTenant {
	out := make([]exportTenant, len(done.Tenants))
	for i, t := range done.Tenants {
		out[i] = exportTenant{Tenant: t.Slug, Result: "exported", Rows: done.Rows[i]}
		if i >= len(done.Results) || done.Results[i].State != fleet.Done {
			out[i].Result = "failed"
			if i < len(done.Results) && done.Results[i].Err != nil {
				out[i].Error = textOf(done.Results[i].Err)
			}
		}
	}
	return out
}

func exportObject(opts *exportOptions, format exporter.Format, done *app.ExportResult) cli.Object {
	columns := make([]string, len(done.Columns))
	for i, c := range done.Columns {
		columns[i] = c.Name
	}
	took := cli.Either{Human: fmt.Sprintf("%s, %s", cli.HumanDuration(done.Elapsed),
		rowsPerSecond(done.Total(), done.Elapsed)), Machine: done.Elapsed}
	file := opts.to
	fields := []cli.Field{
		{Name: "file", Document: file == "-", Value: file},
		{Name: "format", Value: string(format)},
		{Name: "table", Document: true, Value: string(opts.table)},
		{Name: "rows", Title: string(opts.table), Value: done.Total()},
		{Name: "tenants", Value: len(done.Tenants)},
		{Name: "size_bytes", Title: "size", Value: cli.Either{Human: cli.HumanSize(done.Bytes), Machine: done.Bytes}},
		{Name: "seconds", Title: "duration", Value: took},
		{Name: "columns", Document: true, Value: columns},
		{Name: "dry_run", Document: true, Value: opts.dryRun},
		{Name: "by_tenant", Document: true, Value: exportTenants(done)},
	}
	if a := done.Anonymized; a != nil {
		fields = append(fields, cli.Field{Name: "replaced", Document: true, Value: notNil(a.Replaced)},
			cli.Field{Name: "left_empty", Document: true, Value: notNil(a.Dropped)},
			cli.Field{Name: "to_the_day", Document: true, Value: notNil(a.Days)},
			cli.Field{Name: "kept", Document: true, Value: notNil(a.Kept)})
	}
	if opts.dryRun {
		fields[5].Document, fields[6].Document = true, true
	}
	return cli.Object{Kind: "export", Name: file, Fields: fields}
}
