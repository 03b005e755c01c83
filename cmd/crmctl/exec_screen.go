package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// execPrinter prints the rows of `crmctl tenant exec` as they come, and what became
// of the run.
type execPrinter struct {
	f *factory
	p *cli.Printer
	o *tenantExecOptions

	printed bool // the answer is on stdout
}

// isProgress reports whether the rows that come by are progress enough.
func (e *execPrinter) isProgress() bool { return e.p.Terminal && !e.p.IsTable() }

// show prints the rows. Where the statements give none, the answer is what became of
// each tenant, which finish prints.
func (e *execPrinter) show(columns []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error {
	if len(columns) == 0 {
		for _, err := range rows {
			if err != nil {
				return err
			}
		}
		return nil
	}
	e.printed = true
	if e.o.aggregate != "" {
		return e.showAggregate(columns, rows)
	}
	if e.p.NamesOnly() {
		rows = eachTenantOnce(rows)
	}
	return cli.PrintRows(e.p, rowList(columns), rows)
}

// eachTenantOnce lets the first row of every tenant through: --quiet prints the names
// of the tenants that have rows.
func eachTenantOnce(rows iter.Seq2[tenantsql.Row, error]) iter.Seq2[tenantsql.Row, error] {
	return func(yield func(tenantsql.Row, error) bool) {
		last := ""
		for row, err := range rows {
			if err == nil && row.Tenant.Slug == last {
				continue
			}
			last = row.Tenant.Slug
			if !yield(row, err) {
				return
			}
		}
	}
}

func rowList(columns []tenantsql.Column) cli.List[tenantsql.Row] {
	names := uniqueNames("tenant", columns)
	l := cli.List[tenantsql.Row]{
		Plural:  "rows",
		Columns: []cli.Column[tenantsql.Row]{{Name: names[0], Value: func(r tenantsql.Row) any { return r.Tenant.Slug }}},
		Name:    func(r tenantsql.Row) string { return r.Tenant.Slug },
		Record: func(r tenantsql.Row) any {
			values := make([]any, 0, len(names))
			values = append(values, r.Tenant.Slug)
			for i, v := range r.Values {
				values = append(values, jsonValue(columns[i], v))
			}
			return cli.Ordered(names, values)
		},
		Empty:   "no rows",
		Upright: true,
	}
	for i, c := range columns {
		l.Columns = append(l.Columns, cli.Column[tenantsql.Row]{
			Name: names[i+1], Right: c.Kind() == tenantsql.Number,
			Value: func(r tenantsql.Row) any { return cellValue(c, r.Values[i]) },
		})
	}
	return l
}

// uniqueNames returns the names of the columns behind the first: JSON and programs
// that read CSV want each name once, so that a second "count" is "count_2".
func uniqueNames(first string, columns []tenantsql.Column) []string {
	names, taken := []string{first}, map[string]bool{first: true}
	for _, c := range columns {
		name := c.Name
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s_%d", c.Name, n)
		}
		taken[name] = true
		names = append(names, name)
	}
	return names
}

// cellValue returns a value for tables and CSV: the text that PostgreSQL gives.
func cellValue(c tenantsql.Column, v tenantsql.Value) any {
	switch {
	case v.Null:
		return nil
	case c.Kind() == tenantsql.Number:
		return cli.Numeral(v.Text)
	}
	return v.Text
}

// jsonValue returns a value for JSON and YAML: numbers as they are, with all their
// digits, and what JSON knows no form of (NaN, a time, an array) as text.
func jsonValue(c tenantsql.Column, v tenantsql.Value) any {
	switch kind := c.Kind(); {
	case v.Null:
		return nil
	case kind == tenantsql.Bool:
		return v.Text == "t"
	case kind != tenantsql.Text && json.Valid([]byte(v.Text)):
		return json.RawMessage(v.Text)
	}
	return v.Text
}

// showAggregate prints one row for all tenants: how many tenants and rows there were,
// and the columns.
func (e *execPrinter) showAggregate(columns []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error {
	function := tenantsql.Function(e.o.aggregate)
	a := tenantsql.NewAggregate(function, columns)
	if len(a.Columns()) == 0 {
		return cli.Usagef("--aggregate %s: no column of the result is a number", function)
	}
	if left := len(columns) - len(a.Columns()); left > 0 {
		e.f.Note("crmctl: %s left out, being no numbers", cli.Plural(left, "column"))
	}
	for row, err := range rows {
		if err == nil {
			err = a.Add(row)
		}
		if err != nil {
			return err
		}
	}
	counted := tenantsql.Column{Name: "rows", OID: countOID}
	shown := append([]tenantsql.Column{counted}, a.Columns()...)
	if function == tenantsql.Count {
		for i := range shown {
			shown[i].OID = countOID
		}
	}
	names := uniqueNames("tenants", shown)
	values := append([]tenantsql.Value{{Text: fmt.Sprint(a.Rows())}}, a.Result()...)
	record := []any{a.Tenants()}
	l := cli.List[[]tenantsql.Value]{
		Plural: "rows",
		Columns: []cli.Column[[]tenantsql.Value]{{Name: names[0], Right: true, Value: func([]tenantsql.Value) any {
			return a.Tenants()
		}}},
		Name:   func([]tenantsql.Value) string { return values[1].Text },
		Record: func([]tenantsql.Value) any { return cli.Ordered(names, record) },
	}
	for i, c := range shown {
		record = append(record, jsonValue(c, values[i]))
		l.Columns = append(l.Columns, cli.Column[[]tenantsql.Value]{
			Name: names[i+1], Right: true, Value: func(v []tenantsql.Value) any { return cellValue(c, v[i]) },
		})
	}
	return cli.PrintList(e.p, l, [][]tenantsql.Value{values})
}

// countOID is the type of a count, bigint.
const countOID = 20

// finish prints what became of each tenant, where that is the answer, and of the run.
func (e *execPrinter) finish(done *app.ExecResult) error {
	s := done.Summary()
	e.sayFailures(done.Outcomes)
	if !e.printed {
		if err := e.printOutcomes(done.Outcomes); err != nil {
			return err
		}
	}
	if s.Items > 1 || e.o.write {
		e.f.Note("%s", e.line(s, done.Affected(), done.Elapsed))
	}
	end := runEnd{Summary: s, threshold: true}
	switch {
	case e.o.write:
		end.left = func() error { return e.interrupted(done.Report, s) }
	case s.Done == 0 && e.refused(s.First()):
		// The chain is left out: it would be explained as a read-only replica.
		return cli.WithHint(errors.New(s.First().Error()), "to change data, add", "--write")
	}
	return e.f.end(end)
}

// interrupted names what is left: the same command would change the others twice.
func (e *execPrinter) interrupted(report *tenantsql.Report, s fleet.Summary) error {
	var names, changed []string
	for _, out := range report.Outcomes {
		if out.State == fleet.Done {
			changed = append(changed, out.Tenant.Slug)
		} else {
			names = append(names, out.Tenant.Slug)
		}
	}
	text := fmt.Sprintf("%s of %s changed, %s failed, %s not done", cli.HumanCount(int64(s.Done)),
		cli.Plural(s.Items, "tenant"), cli.HumanCount(int64(s.Failed)), cli.HumanCount(int64(s.NotStarted)))
	return cli.WithHint(cli.WithCode(stoppedError{text}, cli.ExitInterrupted), "next",
		e.f.commandFor(e.o.names, names, changed))
}

// sayFailures names the tenants that failed, of several.
func (e *execPrinter) sayFailures(outcomes []tenantsql.Outcome) {
	if len(outcomes) == 1 {
		return
	}
	var failed []tenantError
	for _, out := range outcomes {
		if out.State == fleet.Failed && !e.refused(out.Err) {
			failed = append(failed, tenantError{out.Tenant.Slug, out.Err})
		}
	}
	e.f.sayFailed(failed, len(outcomes) > manyTenants && !e.isProgress())
}

// refused reports whether a statement failed for want of --write.
func (e *execPrinter) refused(err error) bool {
	return !e.o.write && db.SQLState(err) == db.CodeReadOnlyTransaction
}

// line returns "12 rows changed in 3 tenants in 18 ms, 1 failed".
func (e *execPrinter) line(s fleet.Summary, affected int64, elapsed time.Duration) string {
	text := runLine(s, elapsed)
	if !e.o.write {
		return text
	}
	verb := "changed"
	if e.o.dryRun {
		verb = "would change"
	}
	return fmt.Sprintf("%s %s in %s", cli.Plural(int(affected), "row"), verb, text)
}

func (e *execPrinter) printOutcomes(outcomes []tenantsql.Outcome) error {
	if e.o.aggregate != "" {
		return nil
	}
	alike := alikeTenants(func(o tenantsql.Outcome) registry.Tenant { return o.Tenant })
	alike.Of = func(o tenantsql.Outcome) bool { return o.State != fleet.Done }
	alike.Blank = []string{"seconds"}
	return cli.PrintList(e.p, cli.List[tenantsql.Outcome]{
		Plural: "tenants",
		Columns: []cli.Column[tenantsql.Outcome]{
			{Name: "result", Value: func(o tenantsql.Outcome) any { return e.result(o) }},
			{Name: "tenant", Value: func(o tenantsql.Outcome) any { return o.Tenant.Slug }},
			{Name: "rows", Right: true, Value: func(o tenantsql.Outcome) any { return o.Affected }},
			{Name: "seconds", Title: "TIME", Right: true, Value: func(o tenantsql.Outcome) any { return o.Duration }},
			{Name: "sqlstate", Document: true, Optional: true, Value: func(o tenantsql.Outcome) any {
				return db.SQLState(o.Err)
			}},
			{Name: "error", Document: true, Optional: true, Value: func(o tenantsql.Outcome) any {
				if o.Err == nil {
					return nil
				}
				return e.f.redact(textOf(o.Err))
			}},
		},
		Name:  func(o tenantsql.Outcome) string { return o.Tenant.Slug },
		Empty: "no tenants",
		Alike: alike,
	}, outcomes)
}

func (e *execPrinter) result(o tenantsql.Outcome) any {
	switch {
	case o.State == fleet.Failed:
		return cli.Styled{Value: "failed", Color: cli.Red}
	case o.State == fleet.NotStarted:
		return cli.Styled{Value: "not started", Color: cli.Yellow}
	case e.o.write && e.o.dryRun:
		return "would change"
	case e.o.write:
		return "changed"
	}
	return "done"
}
