package main

import (
	"context"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// checkAdoption is migrate adopt --check.
func checkAdoption(ctx context.Context, f *factory, p *cli.Printer, a *app.App, o app.AdoptOptions) error {
	c, err := a.CheckAdoption(ctx, o)
	if err != nil {
		return f.withTarget(err)
	}
	if err := cli.PrintList(p, adoptFindings(), c.Findings); err != nil {
		return err
	}
	noteVerdict(f, c)
	wrong := 0
	for _, found := range c.Findings {
		if found.Result == app.Fails {
			wrong++
		}
	}
	if wrong == 0 {
		return nil
	}
	return cli.ExitTold(cli.ExitPending, "%s of %s can be adopted, %s", cli.HumanCount(int64(c.Adoptable)),
		cli.Plural(c.Schemas, "schema"), cli.Plural(wrong, "error"))
}

func adoptFindings() cli.List[app.AdoptFinding] {
	return cli.List[app.AdoptFinding]{
		Plural: "findings",
		Columns: []cli.Column[app.AdoptFinding]{
			{Name: "result", Value: func(r app.AdoptFinding) any {
				return cli.Styled{Value: string(r.Result), Color: adoptResultColor(r.Result)}
			}},
			{Name: "check", Value: func(r app.AdoptFinding) any { return string(r.Area) }},
			{Name: "schemas", Value: func(r app.AdoptFinding) any {
				return cli.Either{Human: someSchemas(r.Schemas), Machine: append([]string{}, r.Schemas...)}
			}},
			{Name: "message", Title: "FINDING", Text: true, Value: func(r app.AdoptFinding) any { return r.Text }},
			{Name: "fix", Text: true, Value: func(r app.AdoptFinding) any { return r.Do }},
		},
		Name: func(r app.AdoptFinding) string { return string(r.Area) },
	}
}

// someSchemas returns the name of one schema, and how many more there are.
func someSchemas(schemas []string) string {
	switch len(schemas) {
	case 0:
		return ""
	case 1:
		return schemas[0]
	}
	return schemas[0] + " +" + cli.HumanCount(int64(len(schemas)-1))
}

func adoptResultColor(r app.Result) cli.Color {
	switch r {
	case app.Fails:
		return cli.Red
	case app.Warns:
		return cli.Yellow
	case app.Fine:
	}
	return cli.Green
}

// noteVerdict says what works of the fleet as it is, what does not, and what comes next.
func noteVerdict(f *factory, c *app.AdoptCheck) {
	var works, fails []string
	sort := func(good bool, what string) {
		if good {
			works = append(works, what)
		} else {
			fails = append(fails, what)
		}
	}
	sort(c.Adoptable > 0, "adopting "+cli.HumanCount(int64(c.Adoptable))+" of "+cli.Plural(c.Schemas, "schema"))
	if c.Adoptable > 0 {
		works = append(works, "reading: status, stats, backups")
		sort(c.Worst(app.AreaOwners) != app.Fails, "migrations of the schemas")
	}
	sort(c.Worst(app.AreaNew) == app.Fine, "new tenants, clones and drift")
	if len(works) > 0 {
		f.Note("works today:   %s", strings.Join(works, "; "))
	}
	if len(fails) > 0 {
		f.Note("does not work: %s", strings.Join(fails, "; "))
	}
	if c.Worst(app.AreaDrift) == app.Warns {
		f.Note("uncertain:     migrations of schemas that are not what the files make")
	}
	if c.Program != "" {
		f.Note("next: where %s migrated them, --from %s", c.Program, c.Program)
	}
	if c.NoProgram {
		f.Note("next: where no table tells the version, --from none --baseline VERSION says where they stand")
	}
	switch {
	case c.Adoptable > 0 && len(fails) == 0:
		f.Note("next: the same command without --check")
	default:
		f.Note("next: mend what the table calls an error, then check once more")
	}
}
