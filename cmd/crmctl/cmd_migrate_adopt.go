package main

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateAdoptOptions are the options of `crmctl migrate adopt`.
type migrateAdoptOptions struct {
	schemas     []string // names, patterns, slug=schema
	exclude     []string
	fromFile    string
	from        string // goose, knex
	stripPrefix string
	mapFile     string
	upTo        int64
	knexTable   string
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
}

// adoptSources returns the programs whose fleets can be adopted, the default
// first.
func adoptSources() []string { return []string{"goose", "knex"} }

func (o *migrateAdoptOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.schemas, "schema", nil, "the `SCHEMAS` to adopt: names, patterns ('tenant_*'), or slug=schema")
	fs.StringSliceVar(&o.exclude, "exclude", nil, "not these schemas: `NAMES` or patterns")
	fs.StringVar(&o.fromFile, "from-file", "", "also the schemas in `FILE`: a line each as in --schema, or slug=schema,display name; - for stdin")
	fs.Var(cli.NewEnum(&o.from, "goose", adoptSources()), "from", "`PROGRAM` that migrated the schemas: "+strings.Join(adoptSources(), ", "))
	fs.StringVar(&o.stripPrefix, "strip-prefix", "tenant_", "the slug is the schema's name without this `PREFIX`")
	fs.StringVar(&o.mapFile, "map", "", "with --from knex, which file each migration stands for: a `FILE` of name,version as .csv or .yaml")
	fs.Int64Var(&o.upTo, "up-to", 0, "with --from knex, pair the migrations with the files up to `VERSION` by their order")
	fs.StringVar(&o.knexTable, "knex-table", "knex_migrations", "with --from knex, the `TABLE` in which it keeps what it did")
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func (o *migrateAdoptOptions) validate() error {
	switch {
	case len(o.schemas) == 0 && o.fromFile == "":
		return cli.WithHint(cli.Usagef("no schema to adopt: name some"), "all of a kind, first without a change", "crmctl migrate adopt --schema 'tenant_*' --dry-run")
	case o.from != "knex" && (o.mapFile != "" || o.upTo != 0):
		return cli.Usagef("--map and --up-to go with --from knex")
	case o.upTo < 0:
		return cli.Usagef("--up-to %d: want a version", o.upTo)
	}
	return nil
}

func newMigrateAdoptCmd(f *factory, runF func(context.Context, *factory, *migrateAdoptOptions) error) *cobra.Command {
	opts := &migrateAdoptOptions{}
	if runF == nil {
		runF = runMigrateAdopt
	}
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "register schemas that goose or knex migrated",
		Long: `Make tenants of schemas that are there already. Each schema says itself at which version it is:
in the goose_db_version that goose keeps, or, with --from knex, in knex_migrations, whose rows
become a goose_db_version. A registered tenant whose row has another version than its schema
has the row corrected. The tenants' data is not touched, and knex's tables stay.

A schema is refused, and named, when it has no table of versions, when its versions are newer
than the files, or when some in between are missing; when its slug or it itself belongs to
another tenant; and when it is PostgreSQL's own or public.

With --from knex a migration stands for the file with its number and its words
(00001_create_contacts.js for 1_create_contacts.sql). For others say what stands for what with
--map, or with --up-to that the fleet's migrations are the files up to that version, in order.`,
		Example: `crmctl migrate adopt --schema 'tenant_*' --dry-run
crmctl migrate adopt --schema acme=customer_17,globex=customer_18
crmctl migrate adopt --schema 'app_*' --strip-prefix app_ --from knex`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.RegisterCompletion(cmd, "from", cli.CompleteWords(adoptSources()...))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable)
	return cmd
}

// claims reads the names before anything is asked of the database. A claim whose
// schema is a pattern is expanded later.
func (o *migrateAdoptOptions) claims(f *factory) ([]migrate.Claim, error) {
	var claims []migrate.Claim
	add := func(text, display string) error {
		slug, schema, paired := strings.Cut(text, "=")
		if !paired {
			slug, schema = "", text
		}
		c := migrate.Claim{Schema: schema, DisplayName: display}
		if isPattern(schema) {
			if _, err := path.Match(schema, ""); err != nil {
				return cli.Usagef("--schema %s: not a pattern", schema)
			}
			if paired || display != "" {
				return cli.Usagef("--schema %s: a pattern stands for many schemas, which cannot have one name", text)
			}
		}
		if paired {
			var err error
			if c.Slug, err = registry.Slug(slug); err != nil {
				return err
			}
			if c.DisplayName == "" {
				c.DisplayName = slug
			}
		}
		claims = append(claims, c)
		return nil
	}
	for _, text := range o.schemas {
		if err := add(text, ""); err != nil {
			return nil, err
		}
	}
	if o.fromFile == "" {
		return claims, nil
	}
	listed, err := f.readNames(o.fromFile)
	if err != nil {
		return nil, err
	}
	for _, n := range listed {
		if err := add(n.name, n.display); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// expand puts the schemas of the database in the place of patterns.
func (o *migrateAdoptOptions) expand(ctx context.Context, q db.Querier, claims []migrate.Claim) ([]migrate.Claim, error) {
	matches := func(patterns []string, schema string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, schema)
			return pattern == schema || err == nil && ok
		})
	}
	var out []migrate.Claim
	named := make(map[string]bool)
	var patterns []string
	for _, c := range claims {
		switch {
		case isPattern(c.Schema):
			patterns = append(patterns, c.Schema)
		case !matches(o.exclude, c.Schema):
			out = append(out, c)
			named[c.Schema] = true
		}
	}
	if len(patterns) == 0 {
		return out, nil
	}
	all, err := migrate.Schemas(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, schema := range all {
		// What was named by itself has been said more exactly there.
		if !named[schema] && matches(patterns, schema) && !matches(o.exclude, schema) {
			out = append(out, migrate.Claim{Schema: schema})
		}
	}
	return out, nil
}

// knex returns how to read what knex did, nil for goose.
func (o *migrateAdoptOptions) knex(f *factory) (*migrate.Knex, error) {
	if o.from != "knex" {
		return nil, nil //nolint:nilnil // nil is goose
	}
	k := &migrate.Knex{Table: o.knexTable, UpTo: o.upTo}
	if o.mapFile == "" {
		return k, nil
	}
	in, err := f.OpenInput(o.mapFile)
	if err != nil {
		return nil, cli.InputError(err)
	}
	defer func() { _ = in.Close() }()
	k.Map, err = migrate.ReadKnexMap(o.mapFile, in)
	return k, cli.InputError(err)
}

func runMigrateAdopt(ctx context.Context, f *factory, opts *migrateAdoptOptions) error {
	claims, err := opts.claims(f)
	if err != nil {
		return err
	}
	knex, err := opts.knex(f)
	if err != nil {
		return err
	}
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return err
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	// Says what is wrong where there is no registry.
	if _, err := f.registry().List(ctx, conn, registry.Filter{Slugs: []string{""}}); err != nil {
		return f.placed(err)
	}
	if claims, err = opts.expand(ctx, conn, claims); err != nil {
		return err
	}
	if len(claims) == 0 {
		f.Note("crmctl: warning: no schema to adopt")
	}
	begun := f.Now()
	survey, err := plan.SurveyAdoption(ctx, conn, claims, migrate.AdoptOptions{
		Registry: f.registry(),
		Slug: func(schema string) (string, error) {
			return registry.Slug(strings.TrimPrefix(schema, opts.stripPrefix))
		},
		Audit:       adoptAudit(f, opts.from),
		Knex:        knex,
		LockTimeout: opts.lockTimeout,
	})
	if err != nil {
		return err
	}
	if err := warnOfPowers(ctx, f, conn, survey); err != nil {
		return err
	}
	if opts.dryRun {
		noteKnexMap(f, plan, survey.Knex)
		return printAdopted(f, p, survey.Adoptions, true, 0)
	}
	todo := survey.Pending()
	stopped := adoptAll(ctx, f, survey, opts)
	err = printAdopted(f, p, survey.Adoptions, false, f.Now().Sub(begun))
	if f.WasInterrupted() && stopped != nil {
		left := 0
		for _, a := range todo {
			if a.State == migrate.NotAdoptedYet {
				left++
			}
		}
		return f.stopped(fmt.Sprintf("%d of %s adopted or refused, %d not done", len(todo)-left, cli.Plural(len(todo), "schema"), left))
	}
	return cmpErr(stopped, err)
}

// warnOfPowers names the roles whose code in the adopted schemas would run as
// crmctl's: that is usual where the application has made the tables, and worth a
// decision.
func warnOfPowers(ctx context.Context, f *factory, q db.Querier, survey *migrate.Survey) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	var schemas []db.Schema
	for _, a := range survey.Adoptions {
		if s, err := db.RegisteredSchema(a.Schema); err == nil && a.State != migrate.Refused {
			schemas = append(schemas, s)
		}
	}
	powers, err := planted.Powers(ctx, q, schemas, cfg.TrustedOwners)
	for _, p := range powers {
		can := "may create"
		if p.Tables > 0 {
			can = "owns " + cli.Plural(int(p.Tables), "table")
		}
		f.Note("crmctl: warning: role %s %s in %s; crmctl will refuse tenants where it has code", cli.Visible(p.Role), can, cli.Plural(len(p.Schemas), "schema"))
	}
	if len(powers) > 0 {
		f.Note("next: crmctl doctor --check planted,creators; or trust it: CRMCTL_TRUSTED_OWNERS=%s", cli.Visible(powers[0].Role))
	}
	return err
}

func adoptAll(ctx context.Context, f *factory, survey *migrate.Survey, opts *migrateAdoptOptions) error {
	todo := survey.Pending()
	run := fleet.Options{Concurrency: opts.concurrency, Drain: f.Drain()}
	if len(todo) > manyTenants {
		bar := f.NewProgress(cli.ProgressOptions{Verb: "adopt", Total: int64(len(todo))})
		defer bar.Finish()
		run.Observer = fleetProgress{bar: bar, name: func(i int) string { return todo[i].Schema }}
	}
	return survey.Adopt(ctx, f.connect, run)
}

// adoptAudit returns what adds the audit row of an adoption.
func adoptAudit(f *factory, from string) func(*db.Pipeline, migrate.Adoption) error {
	return func(p *db.Pipeline, a migrate.Adoption) error {
		detail := map[string]any{"schema": a.Schema, "version": a.Version, "from": from}
		if a.State == migrate.Corrected {
			detail["registered_version"] = a.Cached
		}
		return f.registry().QueueEvent(p, registry.Event{
			TenantID: a.ID, Slug: a.Slug, Action: registry.ActionAdopt, Actor: f.actor(), Program: programName(), Detail: detail,
		})
	}
}

// noteKnexMap says what was taken for what, to be looked at before it counts.
func noteKnexMap(f *factory, plan *migrate.Plan, m migrate.KnexMap) {
	files := make(map[int64]string)
	for _, file := range plan.Migrations {
		files[file.Version] = file.Name()
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		var parts []string
		for _, v := range m[name] {
			parts = append(parts, files[v])
		}
		if len(parts) == 0 {
			parts = []string{"nothing"}
		}
		f.Note("%s -> %s", cli.Visible(name), strings.Join(parts, ", "))
	}
}

func adoptedList(dryRun bool) cli.List[migrate.Adoption] {
	return cli.List[migrate.Adoption]{
		Plural: "adoptions",
		Columns: []cli.Column[migrate.Adoption]{
			{Name: "result", Value: func(a migrate.Adoption) any {
				return cli.Styled{Value: adoptResult(a.State, dryRun), Color: adoptColor(a.State)}
			}},
			{Name: "tenant", Value: func(a migrate.Adoption) any { return a.Slug }},
			{Name: "schema", Value: func(a migrate.Adoption) any { return a.Schema }},
			{Name: "schema_version", Title: "VERSION", Value: func(a migrate.Adoption) any {
				if a.State == migrate.Refused && a.Version == 0 {
					return cli.Either{Human: "", Machine: a.Version} // nobody knows
				}
				return a.Version
			}},
			{Name: "why", Value: func(a migrate.Adoption) any { return adoptWhy(a) }},
			{Name: "registered_version", Document: true, Optional: true, Value: func(a migrate.Adoption) any {
				if a.State != migrate.Corrected {
					return nil
				}
				return a.Cached
			}},
			{Name: "error", Document: true, Optional: true, Value: func(a migrate.Adoption) any { return errorText(a.Err) }},
		},
		Name: func(a migrate.Adoption) string { return a.Slug },
	}
}

// errorText returns the text of an error, nil for none.
func errorText(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

// adoptResult returns "adopted", or "would adopt" in a dry run.
func adoptResult(s migrate.AdoptState, dryRun bool) string {
	switch {
	case dryRun && s == migrate.Adopted:
		return "would adopt"
	case dryRun && s == migrate.Corrected:
		return "would correct"
	}
	return string(s)
}

func adoptColor(s migrate.AdoptState) cli.Color {
	switch s {
	case migrate.Adopted, migrate.Corrected:
		return cli.Green
	case migrate.Refused:
		return cli.Red
	case migrate.NotAdoptedYet:
		return cli.Yellow
	case migrate.Unchanged:
	}
	return cli.Dim
}

func adoptWhy(a migrate.Adoption) string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case a.State == migrate.Corrected && a.Cached != a.Version:
		return fmt.Sprintf("the registry had version %d", a.Cached)
	}
	return ""
}

// printAdopted prints what became of each claim, or would, and returns the error
// that carries the exit code.
func printAdopted(f *factory, p *cli.Printer, adoptions []migrate.Adoption, dryRun bool, elapsed time.Duration) error {
	if err := cli.PrintList(p, adoptedList(dryRun), adoptions); err != nil {
		return err
	}
	count := make(map[migrate.AdoptState]int)
	for _, a := range adoptions {
		count[a.State]++
	}
	if len(adoptions) > 1 {
		f.Note("%s", adoptedLine(count, dryRun, elapsed))
	}
	switch count[migrate.Refused] + count[migrate.NotAdoptedYet] {
	case 0:
		return nil
	case len(adoptions):
		return cli.ExitWith(cli.ExitFailure)
	}
	return cli.ExitWith(cli.ExitPartial)
}

// adoptedLine returns "4,990 adopted, 3 corrected, 2 unchanged, 5 refused in 2.1 s",
// and "4,990 would adopt, 5 refused" for a dry run.
func adoptedLine(count map[migrate.AdoptState]int, dryRun bool, elapsed time.Duration) string {
	var parts []string
	for _, s := range []migrate.AdoptState{migrate.Adopted, migrate.Corrected, migrate.Unchanged, migrate.Refused, migrate.NotAdoptedYet} {
		if n := count[s]; n > 0 {
			parts = append(parts, cli.HumanCount(int64(n))+" "+adoptResult(s, dryRun))
		}
	}
	text := strings.Join(parts, ", ")
	if dryRun {
		return text
	}
	return text + " in " + cli.HumanDuration(elapsed)
}
