package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateAdoptOptions are the options of `crmctl migrate adopt`.
type migrateAdoptOptions struct {
	schemas     []string // names, patterns, slug=schema
	exclude     []string
	fromFile    string
	from        string // one of adopt.Tools
	stripPrefix string
	mapFile     string
	upTo        int64
	baseline    int64
	trust       bool
	table       string
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
	check       bool
}

func (o *migrateAdoptOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.schemas, "schema", nil, "the `SCHEMAS` to adopt: names, patterns ('tenant_*'), or slug=schema")
	fs.StringSliceVar(&o.exclude, "exclude", nil, "not these schemas: `NAMES` or patterns")
	fs.StringVar(&o.fromFile, "from-file", "", "also the schemas in `FILE`: a line each as in --schema, or "+
		"slug=schema,display name; - for stdin")
	fs.Var(cli.NewEnum(&o.from, "goose", adopt.Tools()), "from", "`PROGRAM` that migrated the schemas: "+
		strings.Join(adopt.Tools(), ", "))
	fs.StringVar(&o.stripPrefix, "strip-prefix", "tenant_", "the slug is the schema's name without this `PREFIX`")
	fs.StringVar(&o.mapFile, "map", "", "which file each migration stands for: a `FILE` of name,version as .csv or .yaml")
	fs.Int64Var(&o.upTo, "up-to", 0, "pair the migrations with the files up to `VERSION` by their order")
	fs.Int64Var(&o.baseline, "baseline", 0, "all schemas stand at what the files up to `VERSION` make, which is compared")
	fs.BoolVar(&o.trust, "trust", false, "with --baseline, adopt also the schemas that differ")
	fs.StringVar(&o.table, "table", "", "the `TABLE` of each schema in which the program keeps what it did, where it is "+
		"another than usual")
	fs.StringVar(&o.table, "knex-table", "", "--table by its older name")
	_ = fs.MarkHidden("knex-table")
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	fs.BoolVar(&o.check, "check", false, "change nothing, and say what would work of the adopted fleet and what would not")
	addExpectDatabaseFlag(fs)
}

func (o *migrateAdoptOptions) validate() error {
	switch {
	case len(o.schemas) == 0 && o.fromFile == "":
		return cli.WithHint(cli.Usagef("no schema to adopt: name some"), "all of a kind, first without a change",
			"crmctl migrate adopt --schema 'tenant_*' --dry-run")
	case o.upTo < 0:
		return cli.Usagef("--up-to %d: want a version", o.upTo)
	case o.baseline < 0:
		return cli.Usagef("--baseline %d: want a version", o.baseline)
	case o.trust && o.baseline == 0:
		return cli.Usagef("--trust goes with --baseline")
	}
	return o.validateSource()
}

// validateSource checks what goes with which program.
func (o *migrateAdoptOptions) validateSource() error {
	mapped := o.mapFile != "" || o.upTo != 0
	source := adopt.From(o.from)
	switch {
	case source == nil && mapped:
		return cli.Usagef("--map and --up-to go with --from another program, such as knex")
	case source == nil && o.baseline != 0:
		return cli.Usagef("--baseline goes with --from another program, or --from none where there is no table of versions")
	case source == nil && o.table != "":
		return cli.Usagef("--table goes with --from another program: goose's table is goose_db_version")
	case mapped && o.baseline != 0:
		return cli.Usagef("--baseline goes without --map and --up-to: it says where all schemas stand")
	case o.from == adopt.NoTool && o.baseline == 0:
		return cli.Usagef("--from none wants --baseline VERSION: nothing else says where the schemas stand")
	case o.from == adopt.NoTool && (mapped || o.table != ""):
		return cli.Usagef("--from none has no table to read")
	case source != nil && o.upTo != 0 && !source.Ordered():
		return cli.Usagef("--up-to needs a list of migrations, and %s keeps a version: take --map or --baseline", o.from)
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
		Short: "register schemas that another program migrated",
		Long: `Make tenants of schemas that are there already. Each schema says itself at which version it is:
in the goose_db_version that goose keeps, or, with --from, in the table of another program, from
which a goose_db_version is made. A registered tenant whose row has another version than its
schema has the row corrected. The tenants' data is not touched, and the other tables stay.

A schema is refused, and named, when it has no table of versions, when its versions are newer
than the files, or when some in between are missing; when a run of the other program failed
there; when its slug or it itself belongs to another tenant; and when it is PostgreSQL's own or
public.

A migration of another program stands for the file with its number and its words
(00001_create_contacts.js for 1_create_contacts.sql), or with its number where the program keeps
no words (golang-migrate, tern, rails, dbmate). For others say what stands for what with --map, or
with --up-to that the fleet's migrations are the files up to that version, in order. Or say with
--baseline at which version all schemas stand: each is compared with what the files up to it make.`,
		Example: `crmctl migrate adopt --schema 'tenant_*' --check
crmctl migrate adopt --schema 'tenant_*' --dry-run
crmctl migrate adopt --schema acme=customer_17,globex=customer_18
crmctl migrate adopt --schema 'app_*' --strip-prefix app_ --from knex
crmctl migrate adopt --schema 'tenant_*' --from django --baseline 12`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.RegisterCompletion(cmd, "from", cli.CompleteWords(adopt.Tools()...))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable)
	return cmd
}

// claims reads the names before anything is asked of the database. A claim whose
// schema is a pattern is expanded later.
func (o *migrateAdoptOptions) claims(f *factory) ([]adopt.Claim, error) {
	var claims []adopt.Claim
	add := func(text, display string) error {
		slug, schema, paired := strings.Cut(text, "=")
		if !paired {
			slug, schema = "", text
		}
		c := adopt.Claim{Schema: schema, DisplayName: display}
		if app.IsPattern(schema) {
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

// source returns the program that migrated the schemas, nil for goose.
func (o *migrateAdoptOptions) source(f *factory) (*adopt.Source, error) {
	source := adopt.From(o.from)
	if source == nil {
		return nil, nil //nolint:nilnil // nil is goose
	}
	source.Table, source.UpTo, source.Baseline = o.table, o.upTo, o.baseline
	if o.mapFile == "" {
		return source, nil
	}
	in, err := f.OpenInput(o.mapFile)
	if err != nil {
		return nil, cli.InputError(err)
	}
	defer func() { _ = in.Close() }()
	source.Map, err = adopt.ReadMap(o.mapFile, in)
	return source, cli.InputError(err)
}

func runMigrateAdopt(ctx context.Context, f *factory, opts *migrateAdoptOptions) error {
	claims, err := opts.claims(f)
	if err != nil {
		return err
	}
	source, err := opts.source(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	adoption := app.AdoptOptions{
		Claims: claims, Exclude: opts.exclude, Source: source, Trust: opts.trust, StripPrefix: opts.stripPrefix,
		Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun,
	}
	if opts.check {
		return checkAdoption(ctx, f, p, a, adoption)
	}
	done, err := a.Adopt(ctx, adoption)
	if err != nil {
		return err
	}
	return printAdopted(f, p, done, opts.dryRun)
}

func adoptedList(dryRun bool) cli.List[adopt.Adoption] {
	return cli.List[adopt.Adoption]{
		Plural: "adoptions",
		Columns: []cli.Column[adopt.Adoption]{
			{Name: "result", Value: func(a adopt.Adoption) any {
				return cli.Styled{Value: adoptResult(a.State, dryRun), Color: adoptColor(a.State)}
			}},
			{Name: "tenant", Value: func(a adopt.Adoption) any { return a.Slug }},
			{Name: "schema", Value: func(a adopt.Adoption) any { return a.Schema }},
			{Name: "schema_version", Title: "VERSION", Value: func(a adopt.Adoption) any {
				if a.State == adopt.Refused && a.Version == 0 {
					return cli.Either{Human: "", Machine: a.Version} // nobody knows
				}
				return cli.Serial(a.Version)
			}},
			{Name: "why", Text: true, Optional: true, Value: func(a adopt.Adoption) any { return adoptWhy(a) }},
			{Name: "error", Document: true, Optional: true, Value: func(a adopt.Adoption) any { return errorText(a.Err) }},
			{Name: "registered_version", Title: "REGISTRY", Wide: true, Optional: true, Value: func(a adopt.Adoption) any {
				if a.State != adopt.Corrected {
					return nil
				}
				return a.Cached
			}},
		},
		Name: func(a adopt.Adoption) string { return a.Slug },
		Alike: &cli.Alike[adopt.Adoption]{
			Noun: "tenant", Own: func(a adopt.Adoption) []cli.OwnWord { return ownWords(a.Slug, a.Schema) },
			Of: func(a adopt.Adoption) bool { return a.State == adopt.Refused || a.State == adopt.NotStarted },
		},
	}
}

// errorText returns the text of an error, nil for none.
func errorText(err error) any {
	if err == nil {
		return nil
	}
	return textOf(err)
}

// adoptResult returns "adopted", or "would adopt" in a dry run.
func adoptResult(s adopt.State, dryRun bool) string {
	switch {
	case dryRun && s == adopt.Adopted:
		return "would adopt"
	case dryRun && s == adopt.Corrected:
		return "would correct"
	}
	return string(s)
}

func adoptColor(s adopt.State) cli.Color {
	switch s {
	case adopt.Adopted, adopt.Corrected:
		return cli.Green
	case adopt.Refused:
		return cli.Red
	case adopt.NotStarted:
		return cli.Yellow
	case adopt.Unchanged:
	}
	return cli.Dim
}

func adoptWhy(a adopt.Adoption) string {
	switch {
	case a.Err != nil:
		if other, ok := errors.AsType[*adopt.UnmanagedError](a.Err); ok && other.Tool != "" {
			return textOf(a.Err) + ": --from " + other.Tool
		}
		return textOf(a.Err)
	case a.State == adopt.Corrected && a.Cached != a.Version:
		return fmt.Sprintf("the registry had version %d", a.Cached)
	}
	return ""
}

// unknownProgram counts the schemas in which no program that is known has a table.
func unknownProgram(adoptions []adopt.Adoption) int {
	n := 0
	for _, a := range adoptions {
		if missing, ok := errors.AsType[*adopt.UnmanagedError](a.Err); ok && missing.Tool == "" {
			n++
		}
	}
	return n
}

// printAdopted prints what became of each claim, or would, and returns the error
// that carries the exit code.
func printAdopted(f *factory, p *cli.Printer, done *app.AdoptResult, dryRun bool) error {
	adoptions := done.Adoptions
	if err := cli.PrintList(p, adoptedList(dryRun), adoptions); err != nil {
		return err
	}
	count := make(map[adopt.State]int)
	for _, a := range adoptions {
		count[a.State]++
	}
	if len(adoptions) > 1 {
		f.Note("%s", adoptedLine(count, dryRun, done.Elapsed))
	}
	if n := unknownProgram(adoptions); n > 0 {
		f.Note("%d without a table of versions that is known: --from none --baseline VERSION says where it stands", n)
	}
	if f.structured() {
		for _, a := range adoptions {
			if a.State == adopt.Refused {
				f.sayTenant(a.Slug, a.Err)
			}
		}
	}
	s := done.Summary()
	end := runEnd{Summary: s, told: s.Stopped == nil, line: fmt.Sprintf("%d of %s refused, %d not started", s.Failed,
		cli.Plural(s.Items, "schema"), s.NotStarted)}
	if s.Stopped != nil {
		end.left = func() error {
			return f.stopped(fmt.Sprintf("%d of %s adopted or refused, %d not done", done.Pending-done.Left,
				cli.Plural(done.Pending, "schema"), done.Left))
		}
	}
	return f.end(end)
}

// adoptedLine returns "4,990 adopted, 3 corrected, 2 unchanged, 5 refused in 2.1 s",
// and "4,990 would adopt, 5 refused" for a dry run.
func adoptedLine(count map[adopt.State]int, dryRun bool, elapsed time.Duration) string {
	var parts []string
	for _, s := range []adopt.State{adopt.Adopted, adopt.Corrected, adopt.Unchanged, adopt.Refused, adopt.NotStarted} {
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
