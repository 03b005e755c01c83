package main

import (
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
)

// tableColumn is a column of an application's own table in JSON and YAML.
type tableColumn struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	From      []string `json:"from,omitempty"`
	Fills     string   `json:"filled_by,omitempty"`
	Missing   bool     `json:"missing"`
	NotNull   bool     `json:"not_null"`
	Default   string   `json:"default,omitempty"`
	Generated bool     `json:"generated,omitempty"`
	Primary   bool     `json:"primary_key,omitempty"`
	Unique    bool     `json:"unique,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	Checks    []string `json:"checks,omitempty"`
}

func tableColumns(list []importer.TableColumn) []tableColumn {
	var out []tableColumn
	for _, c := range list {
		out = append(out, tableColumn{
			Name: c.Name, Type: c.Type, From: c.From, Fills: c.Fills, Missing: c.Missing(), NotNull: c.NotNull,
			Default: c.Default, Generated: c.Generated, Primary: c.Primary, Unique: c.Unique && !c.Primary,
			Labels: c.Labels, Checks: c.Checks,
		})
	}
	return out
}

// printTable shows what fills the columns of an application's own table.
func printTable(f *factory, p *cli.Printer, in importer.Inspection) error {
	if len(in.Table) == 0 || !p.IsTable() {
		return nil
	}
	f.Note("\nthe tenant's table contacts, which is an application's own:\n")
	if err := cli.PrintList(p, tableList(), in.Table); err != nil {
		return err
	}
	if len(in.NoPlace) > 0 {
		f.Note("%s", "")
		noteFolded(f, "no place  "+strings.Join(in.NoPlace, ", "))
	}
	f.Note("\nwhat its checks, keys and triggers refuse is told by the import, or its dry run")
	return nil
}

func tableList() cli.List[importer.TableColumn] {
	return cli.List[importer.TableColumn]{
		Plural: "table_columns", Empty: "no columns",
		Name: func(c importer.TableColumn) string { return c.Name },
		Columns: []cli.Column[importer.TableColumn]{
			{Name: "name", Title: "TABLE", Value: func(c importer.TableColumn) any { return c.Name }},
			{Name: "type", Value: func(c importer.TableColumn) any { return shortType(c.Type) }},
			{Name: "from", Title: "FILLED BY", Text: true, Value: func(c importer.TableColumn) any { return filledBy(c) }},
			{Name: "rules", Text: true, Value: func(c importer.TableColumn) any { return rulesOf(c) }},
		},
	}
}

// shortType returns the name of a type as people write it.
func shortType(name string) string {
	return strings.NewReplacer("character varying", "varchar", "timestamp without time zone", "timestamp",
		"timestamp with time zone", "timestamptz", " without time zone", "", " with time zone", "tz").Replace(name)
}

// filledBy says what fills a column.
func filledBy(c importer.TableColumn) string {
	switch {
	case c.Missing():
		return "nothing: a value is needed"
	case len(c.From) > 0:
		return strings.Join(c.From, ", ")
	case c.Fills != "":
		return c.Fills
	case c.Generated || c.Default != "":
		return "its default"
	}
	return "-"
}

// rulesOf says what a column does not take.
func rulesOf(c importer.TableColumn) string {
	var rules []string
	if c.NotNull {
		rules = append(rules, "not null")
	}
	switch {
	case c.Primary:
		rules = append(rules, "primary key")
	case c.Unique:
		rules = append(rules, "unique")
	}
	if len(c.Labels) > 0 {
		rules = append(rules, strings.Join(c.Labels, "|"))
	}
	return strings.Join(append(rules, c.Checks...), ", ")
}
