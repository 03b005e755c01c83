package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// Result is what a check of a fleet that is to be adopted found.
type Result string

// A Fails finding stands in the way of something, a Warns one wants a decision.
const (
	Fine  Result = "ok"
	Warns Result = "warning"
	Fails Result = "error"
)

// Area is what a finding is about.
type Area string

// The areas, in the order in which they are checked.
const (
	AreaSchemas Area = "schemas"    // can be adopted
	AreaNew     Area = "new tenant" // can be made from the files
	AreaDrift   Area = "drift"      // schemas are what the files make
	AreaOwners  Area = "owners"
	AreaNames   Area = "names"
	AreaPublic  Area = "public"
)

// AdoptFinding is what a check found, once for all schemas that it is about.
type AdoptFinding struct {
	Area    Area
	Result  Result
	Schemas []string // that it is about
	Text    string
	Do      string // what mends it, "" where nothing is to be done
}

// AdoptCheck is what CheckAdoption found.
type AdoptCheck struct {
	Findings  []AdoptFinding
	Schemas   int // that were looked at
	Adoptable int
	// Program is one whose table a schema has instead of that of the program that was named,
	// "" for none; NoProgram tells that a schema has no table of versions that is known.
	Program   string
	NoProgram bool
}

// Worst returns the worst result in an area.
func (c *AdoptCheck) Worst(area Area) Result {
	worst := Fine
	for _, f := range c.Findings {
		if f.Area == area && (f.Result == Fails || worst == Fine) {
			worst = f.Result
		}
	}
	return worst
}

// CheckAdoption finds out what would work of an adopted fleet, and changes nothing: what
// the files make is made in a transaction that is rolled back, or in a schema that is
// dropped where the files take several.
func (a *App) CheckAdoption(ctx context.Context, o AdoptOptions) (*AdoptCheck, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	conn, err := a.change(ctx, true)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	// The comparison below proves a baseline, where the files make anything.
	survey, err := a.surveyAdoption(ctx, conn, plan, o, false)
	if err != nil {
		return nil, err
	}
	c := &AdoptCheck{Schemas: len(survey.Adoptions)}
	made := a.checkNew(ctx, conn, plan, c)
	for _, step := range []func() error{
		func() error { return a.checkDrift(ctx, conn, plan, survey, made, c, o) },
		func() error { return a.checkOwners(ctx, conn, survey, c) },
		func() error { return checkPublic(ctx, conn, survey, c) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	checkNames(plan, survey, c)
	others := c.Findings
	c.Findings = nil
	c.schemas(survey)
	c.Findings = append(c.Findings, others...)
	return c, nil
}

func (c *AdoptCheck) add(f AdoptFinding) { c.Findings = append(c.Findings, f) }

// untold notes what is known of a schema that lacks the table of versions of the program
// that is said to have migrated it, and reports whether it is one.
func (c *AdoptCheck) untold(err error) bool {
	missing, is := errors.AsType[*adopt.UnmanagedError](err)
	switch {
	case !is:
		return false
	case missing.Tool == "":
		c.NoProgram = true
	default:
		c.Program = missing.Tool
	}
	return true
}

// schemas groups those that are refused by their reasons.
func (c *AdoptCheck) schemas(survey *adopt.Survey) {
	byReason := make(map[string]int)
	for _, claim := range survey.Adoptions {
		if claim.State != adopt.Refused {
			c.Adoptable++
			continue
		}
		// The same reason names another schema each time.
		reason := strings.ReplaceAll(db.Text(claim.Err), claim.Schema, "the schema")
		at, seen := byReason[reason]
		if !seen {
			at = len(c.Findings)
			byReason[reason] = at
			do := "leave them out, or mend what is said"
			if c.untold(claim.Err) {
				do = "say which program migrated them, or at which version they stand; or leave them out"
			}
			c.add(AdoptFinding{Area: AreaSchemas, Result: Fails, Text: db.Text(claim.Err), Do: do})
		}
		c.Findings[at].Schemas = append(c.Findings[at].Schemas, claim.Schema)
	}
	if c.Adoptable > 0 {
		c.add(AdoptFinding{Area: AreaSchemas, Result: Fine, Text: fmt.Sprintf("%d of %d can be adopted",
			c.Adoptable, c.Schemas)})
	}
}

// checkNew tries to make a new tenant. It reports whether that is possible.
func (a *App) checkNew(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, c *AdoptCheck) bool {
	err := func() error {
		plan, err := a.UseExtensions(ctx, conn, plan, true)
		if err != nil {
			return err
		}
		script, err := plan.Build()
		if err == nil {
			_, err = catalog.Build(ctx, conn, script, catalog.Options{Registry: a.Registry, Direct: a.Direct})
		}
		return err
	}()
	if err == nil {
		c.add(AdoptFinding{Area: AreaNew, Result: Fine, Text: fmt.Sprintf("the files make one, up to version %d",
			plan.Head())})
		return true
	}
	do := "write a file that makes what is missing, or grant what is missing"
	if !conn.IsClosed() {
		err = migrate.ExplainNames(ctx, conn, a.Registry, err)
	}
	if elsewhere, ok := errors.AsType[*migrate.ElsewhereError](err); ok {
		do = fmt.Sprintf("write %s.%s in the file, or put %s on the path (shared_schemas)", elsewhere.Schema,
			elsewhere.Object, elsewhere.Schema)
	}
	c.add(AdoptFinding{Area: AreaNew, Result: Fails, Text: db.Text(err), Do: do})
	return false
}

// checkDrift compares the schemas with what the files up to their versions make.
func (a *App) checkDrift(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, survey *adopt.Survey, made bool,
	c *AdoptCheck, o AdoptOptions) error {
	if schemas := claimedSchemas(survey); !made || len(schemas) == 0 {
		if !made {
			c.add(AdoptFinding{Area: AreaDrift, Result: Warns, Text: "not compared: the files make no tenant"})
		}
		return nil
	}
	at := make(map[string]int)
	for i, claim := range survey.Adoptions {
		if claim.State != adopt.Refused {
			at[claim.Schema] = i
		}
	}
	drift, err := a.compareClaims(ctx, conn, plan, survey, at, o.Concurrency)
	if err != nil {
		return err
	}
	for _, g := range drift.Groups {
		f := AdoptFinding{Area: AreaDrift, Result: Warns, Do: "bring them in line with the files, or the files with them",
			Text: fmt.Sprintf("not what the files up to version %d make: %s", g.Version,
				strings.Join(catalog.Subjects(g.Differences, mostNamed), ", "))}
		for _, t := range g.Tenants {
			f.Schemas = append(f.Schemas, t.Schema.String())
		}
		c.add(f)
		if o.Source != nil && o.Source.Baseline != 0 && !o.Trust {
			refuseGroup(survey, at, g)
		}
	}
	for _, u := range drift.Unread {
		c.add(AdoptFinding{Area: AreaDrift, Result: Warns, Schemas: []string{u.Schema.String()}, Text: "not compared: " +
			db.Text(u.Err)})
	}
	if drift.Clean > 0 {
		c.add(AdoptFinding{Area: AreaDrift, Result: Fine, Text: fmt.Sprintf("%d of %d are what the files make", drift.Clean,
			drift.Tenants)})
	}
	return nil
}

// claimedSchemas returns the names of the schemas that can be adopted.
func claimedSchemas(survey *adopt.Survey) []string {
	var out []string
	for _, s := range adoptable(survey) {
		out = append(out, s.String())
	}
	return out
}

// mostLookedAt is how many schemas a check looks into for code of others: they have been
// made from the same files.
const mostLookedAt = 20

// checkPlanted looks for code of others, where crmctl would refuse to write. It reports
// whether there is any.
func (a *App) checkPlanted(ctx context.Context, conn *pgx.Conn, schemas []db.Schema, c *AdoptCheck) (bool, error) {
	found, err := planted.Find(ctx, conn, schemas, a.Config.TrustedOwners)
	if err != nil || len(found) == 0 {
		return false, err
	}
	f := AdoptFinding{Area: AreaOwners, Result: Fails,
		Do: "make the code's owner a role of crmctl's, log in as the owner, or trust it (trusted_owners)"}
	var roles []string
	for _, s := range schemas {
		for i, o := range found[s.String()] {
			if i == 0 {
				f.Schemas = append(f.Schemas, s.String())
			}
			if f.Text == "" {
				f.Text = "what writes there is refused, since others' code would run: " + o.String()
			}
			if !slices.Contains(roles, o.Owner) {
				roles = append(roles, o.Owner)
			}
		}
	}
	slices.Sort(roles)
	f.Text += "; all of it is code of " + strings.Join(roles, ", ")
	c.add(f)
	return true, nil
}

func (a *App) checkOwners(ctx context.Context, conn *pgx.Conn, survey *adopt.Survey, c *AdoptCheck) error {
	others, me, version, err := owner.Others(ctx, conn, claimedSchemas(survey))
	for _, o := range others {
		f := AdoptFinding{Area: AreaOwners, Result: Fine, Text: fmt.Sprintf("role %s owns tables in %s; the work there is "+
			"done as it", o.Role, schemasOf(o.Schemas))}
		switch {
		case o.Takes:
		case o.Uses:
			f.Result, f.Do = Warns, o.Grant(me, version)
			f.Text = fmt.Sprintf("role %s owns tables in %s; new tables will be another role's", o.Role, schemasOf(o.Schemas))
		default:
			f.Result, f.Do = Fails, o.Grant(me, version)+", or log in as "+o.Role
			f.Text = fmt.Sprintf("role %s owns tables in %s, and this role may not change them", o.Role, schemasOf(o.Schemas))
		}
		c.add(f)
	}
	schemas := adoptable(survey)
	if err != nil || len(schemas) == 0 {
		return err
	}
	code, err := a.checkPlanted(ctx, conn, schemas[:min(mostLookedAt, len(schemas))], c)
	if err == nil && !code && len(others) == 0 {
		c.add(AdoptFinding{Area: AreaOwners, Result: Fine, Text: "this role owns all"})
	}
	return err
}

// schemasOf returns "1 schema" or "12 schemas".
func schemasOf(n int64) string {
	if n == 1 {
		return "1 schema"
	}
	return fmt.Sprintf("%d schemas", n)
}

func checkPublic(ctx context.Context, conn *pgx.Conn, survey *adopt.Survey, c *AdoptCheck) error {
	twins, err := adopt.Twins(ctx, conn, claimedSchemas(survey))
	if len(twins) > 0 {
		c.add(AdoptFinding{Area: AreaPublic, Result: Warns,
			Do:   "files and statements find the tenant's alone unless public is on the path",
			Text: "public has tables with the names of tenants': " + strings.Join(few(twins), ", ")})
	}
	return err
}

// maxName is how many bytes a name has in PostgreSQL at the most.
const maxName = 63

// checkNames looks for names that the server cuts, or has cut.
func checkNames(plan *migrate.Plan, survey *adopt.Survey, c *AdoptCheck) {
	var long []string
	for _, m := range plan.Migrations {
		for _, s := range m.Up {
			for _, t := range sqltext.Tokens(s.SQL) {
				if name := t.Name(); len(name) > maxName && !slices.Contains(long, name) {
					long = append(long, name)
				}
			}
		}
	}
	if len(long) > 0 {
		c.add(AdoptFinding{Area: AreaNames, Result: Warns, Do: "shorten them: two that begin alike become one",
			Text: fmt.Sprintf("names in the files over %d bytes, which PostgreSQL cuts: %s", maxName,
				strings.Join(few(long), ", "))})
	}
	cut := AdoptFinding{Area: AreaNames, Result: Warns, Do: "see that the application knows them by the cut name",
		Text: fmt.Sprintf("schemas have names of %d bytes or more: a longer one is cut to that", maxName)}
	for _, claim := range survey.Adoptions {
		if len(claim.Schema) >= maxName {
			cut.Schemas = append(cut.Schemas, claim.Schema)
		}
	}
	if len(cut.Schemas) > 0 {
		c.add(cut)
	}
}

// few returns the first of many names.
func few(names []string) []string {
	const most = 5
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
}
