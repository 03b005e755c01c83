package app

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// AdoptOptions say which schemas become tenants, and who migrated them.
type AdoptOptions struct {
	Claims      []adopt.Claim // a schema may be a pattern
	Exclude     []string      // names and patterns of schemas
	Source      *adopt.Source // the program that migrated them, nil for goose
	Trust       bool          // take a baseline for granted where a schema differs from it
	StripPrefix string        // of a schema's name, where it is no part of the slug
	Concurrency int           // 0 goes by the machine and the server
	LockTimeout time.Duration // wait for each lock
	DryRun      bool
}

// AdoptResult is what became of each claim, or would.
type AdoptResult struct {
	Adoptions []adopt.Adoption
	Elapsed   time.Duration
	Pending   int // adoptions that were to be carried out
	Left      int // of them, those that were not begun
	// Stopped is why the run ended before its adoptions did, nil when each had its turn.
	Stopped error
}

// Summary counts what became of the claims.
func (r *AdoptResult) Summary() fleet.Summary {
	s := fleet.Summary{Stopped: r.Stopped}
	for _, a := range r.Adoptions {
		switch a.State {
		case adopt.Refused:
			s.Add(fleet.Failed, a.Err)
		case adopt.NotStarted:
			s.Add(fleet.NotStarted, a.Err)
		case adopt.Adopted, adopt.Corrected, adopt.Unchanged:
			s.Add(fleet.Done, nil)
		}
	}
	return s
}

// Notices of Adopt.
type (
	// NoSchemas says that no schema was chosen.
	NoSchemas struct{}
	// ForeignRoles names roles whose code in adopted schemas would run as ours.
	ForeignRoles struct{ Roles []planted.Power }
	// Mapped says which files each migration of the other program is taken for.
	Mapped struct {
		Map  adopt.Map
		Plan *migrate.Plan
	}
	// Differ says how schemas differ from what the files up to their version make.
	Differ struct {
		Groups  []catalog.Group
		Trusted bool // they are adopted all the same
	}
)

func (NoSchemas) notice()    {}
func (ForeignRoles) notice() {}
func (Mapped) notice()       {}
func (Differ) notice()       {}

// IsPattern reports whether the name of a tenant or a schema stands for several.
func IsPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// Adopt makes tenants of schemas that another program migrated. The error says that the
// run could not begin.
func (a *App) Adopt(ctx context.Context, o AdoptOptions) (*AdoptResult, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	begun := a.Now()
	survey, err := a.surveyAdoption(ctx, conn, plan, o, true)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		if len(survey.Map) > 0 {
			a.Notify(Mapped{Map: survey.Map, Plan: plan})
		}
		return &AdoptResult{Adoptions: survey.Adoptions}, nil
	}
	todo := survey.Pending()
	if err := a.keepProgram(ctx, conn, survey); err != nil {
		return nil, err
	}
	stopped := a.carryAdoption(ctx, conn, survey, o.Concurrency)
	out := &AdoptResult{Adoptions: survey.Adoptions, Elapsed: a.Now().Sub(begun), Pending: len(todo), Stopped: stopped}
	for _, t := range todo {
		if t.State == adopt.NotStarted {
			out.Left++
		}
	}
	return out, nil
}

// surveyAdoption finds the schemas and what is to become of each. With prove it compares
// those that are taken for a baseline with the files.
func (a *App) surveyAdoption(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, o AdoptOptions,
	prove bool) (*adopt.Survey, error) {
	// Says what is wrong where there is no registry.
	if _, err := a.Registry.List(ctx, conn, registry.Filter{Slugs: []string{""}}); err != nil {
		return nil, err
	}
	claims, err := expandClaims(ctx, conn, o.Claims, o.Exclude)
	if err != nil {
		return nil, err
	}
	if len(claims) == 0 {
		a.Notify(NoSchemas{})
	}
	if o.Source != nil {
		kept, err := a.Registry.ListSources(ctx, conn)
		if err != nil {
			return nil, err
		}
		source := *o.Source
		if at := slices.IndexFunc(kept, source.Keeps); at >= 0 {
			source.Kept = &kept[at]
		}
		o.Source = &source
	}
	survey, err := adopt.Look(ctx, conn, plan, claims, adopt.Options{
		Registry: a.Registry,
		Slug: func(schema string) (string, error) {
			return registry.Slug(strings.TrimPrefix(schema, o.StripPrefix))
		},
		Audit: a.adoptAudit(o.Source), Source: o.Source, LockTimeout: o.LockTimeout, Connect: a.Connect,
	})
	if err == nil && prove && o.Source != nil && o.Source.Baseline != 0 {
		err = a.proveBaseline(ctx, conn, plan, survey, o)
	}
	if err != nil {
		return nil, err
	}
	powers, err := planted.Powers(ctx, conn, adoptable(survey), a.Config.TrustedOwners)
	if len(powers) > 0 {
		a.Notify(ForeignRoles{Roles: powers})
	}
	return survey, err
}

// expandClaims puts the schemas of the database in the place of patterns.
func expandClaims(ctx context.Context, q db.Querier, claims []adopt.Claim, exclude []string) ([]adopt.Claim, error) {
	matches := func(patterns []string, schema string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, schema)
			return pattern == schema || err == nil && ok
		})
	}
	var out []adopt.Claim
	named := make(map[string]bool)
	var patterns []string
	for _, c := range claims {
		switch {
		case IsPattern(c.Schema):
			patterns = append(patterns, c.Schema)
		case !matches(exclude, c.Schema):
			out = append(out, c)
			named[c.Schema] = true
		}
	}
	if len(patterns) == 0 {
		return out, nil
	}
	all, err := adopt.Schemas(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, schema := range all {
		// What was named by itself has been said more exactly there.
		if !named[schema] && matches(patterns, schema) && !matches(exclude, schema) {
			out = append(out, adopt.Claim{Schema: schema})
		}
	}
	return out, nil
}

// adoptable returns the schemas that were not refused.
func adoptable(survey *adopt.Survey) []db.Schema {
	var schemas []db.Schema
	for _, a := range survey.Adoptions {
		if s, err := db.RegisteredSchema(a.Schema); err == nil && a.State != adopt.Refused {
			schemas = append(schemas, s)
		}
	}
	return schemas
}

// keepProgram keeps which program migrated the schemas, and what its migrations stand for,
// so that every run looks whether it has gone on. What is said of tenants that are adopted
// already counts too.
func (a *App) keepProgram(ctx context.Context, conn *pgx.Conn, survey *adopt.Survey) error {
	source, ok := survey.Program()
	if !ok || !slices.ContainsFunc(survey.Adoptions, func(t adopt.Adoption) bool { return t.State != adopt.Refused }) {
		return nil
	}
	return a.Registry.PutSource(ctx, conn, source)
}

// carryAdoption adopts what the survey found, and remembers the files that they are at.
func (a *App) carryAdoption(ctx context.Context, conn *pgx.Conn, survey *adopt.Survey, concurrency int) error {
	todo := survey.Pending()
	names := make([]string, len(todo))
	for i, t := range todo {
		names[i] = t.Schema
	}
	observer, end := a.Watch("adopt", names)
	defer end()
	stopped := survey.Adopt(ctx, a.Connect, fleet.Options{Concurrency: concurrency, Drain: a.Drain(), Observer: observer})
	// What was adopted before an interruption is adopted.
	return errors.Join(stopped, survey.RecordFiles(context.WithoutCancel(ctx), conn))
}

// adoptAudit returns what adds the audit row of an adoption.
func (a *App) adoptAudit(source *adopt.Source) func(*db.Pipeline, adopt.Adoption) error {
	from := "goose"
	if source != nil {
		from = source.Name()
	}
	return func(p *db.Pipeline, done adopt.Adoption) error {
		detail := map[string]any{"schema": done.Schema, "version": done.Version, "from": from}
		if done.State == adopt.Corrected {
			detail["registered_version"] = done.Cached
		}
		return a.Registry.QueueEvent(p, registry.Event{
			TenantID: done.ID, Slug: done.Slug, Action: registry.ActionAdopt, Actor: a.Actor, Program: a.Program, Detail: detail,
		})
	}
}
