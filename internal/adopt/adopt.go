package adopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// Reasons to refuse the adoption of a schema, beside migrate.ErrNotManaged,
// db.ErrWrongSchema, db.ErrInvalidSchema and what the server says.
var (
	// ErrClaimed says that the registry, or another claim, has the slug or the
	// schema for somebody else.
	ErrClaimed = errors.New("belongs to another tenant")
	// ErrHistory says that what was applied to a schema are not these files.
	ErrHistory = errors.New("history does not fit the files")
	// ErrPool says that a schema was made ready for tenants to come: it is given to
	// the next one that is created.
	ErrPool = errors.New("belongs to the pool of schemas for new tenants")
)

// Claim says that a schema which another program migrated is a tenant's.
type Claim struct {
	Schema      string // as somebody typed it
	Slug        string // "" = the registry's, or else what Options.Slug makes of Schema
	DisplayName string // "" = the slug
	// Status is that of a new tenant, "" = registry.Active.
	Status registry.Status
}

// State is what becomes of a claim.
type State string

// A schema that the registry does not know is Adopted, one whose cached version
// was wrong is Corrected. After a survey these are what would become of it.
const (
	Adopted    State = "adopted"
	Corrected  State = "corrected"
	Unchanged  State = "unchanged"
	Refused    State = "refused"
	NotStarted State = "not started" // the run was stopped before
)

// Adoption is a claim and what became of it.
type Adoption struct {
	Claim // with the slug and the display name filled in, where they are known

	State   State
	ID      string // of the tenant, "" unless Adopted, Corrected or Unchanged
	Version int64  // newest of the schema's own
	Cached  int64  // what the registry had, 0 when it did not know the schema
	// History are the versions whose rows are written to a goose_db_version that
	// the schema does not have yet; nil when it has one.
	History []int64
	// Taken are versions that the other program has applied since the schema was adopted.
	Taken []int64
	// Forked tells that the schema was adopted, and the other program has gone on in a way
	// that no file is known for, or is at work there.
	Forked bool
	Err    error // why it was Refused

	schema     db.Schema
	tablespace string                           // in which all tables stand, "" for the database's own
	has        struct{ goose, told, lock bool } // which tables the survey found
}

// Options say how to adopt.
type Options struct {
	Registry registry.Registry
	// Slug makes the slug of a tenant from the name of a schema that the
	// registry does not know.
	Slug func(schema string) (string, error)
	// Audit adds the audit row to the transaction of an adoption; nil for none.
	Audit func(p *db.Pipeline, a Adoption) error
	// Source, if not nil, is the program that migrated the schemas. Otherwise they must
	// have goose's own table of versions.
	Source      *Source
	LockTimeout time.Duration // wait for each lock
	// Connect, if not nil, opens other connections for Look to read many schemas over.
	Connect func(context.Context) (*pgx.Conn, error)
}

// Survey is what is known about a number of claims.
type Survey struct {
	Adoptions []Adoption
	// Map says which files each migration of Options.Source stands for, by name.
	Map Map

	plan *migrate.Plan
	opt  Options
	seen []string // of a baseline: what the other program says was done before
}

// Schemas returns the names of all schemas that could be a tenant's, in order. Those of
// the pool could not.
func Schemas(ctx context.Context, q db.Querier) ([]string, error) {
	all, err := db.Select(ctx, q, pgx.RowTo[string],
		`select nspname::text from pg_namespace order by nspname::text collate "C"`)
	if err != nil {
		return nil, fmt.Errorf("list the schemas: %w", err)
	}
	var out []string
	for _, name := range all {
		if _, err := db.RegisteredSchema(name); err == nil && !strings.HasPrefix(name, db.PoolPrefix) {
			out = append(out, name)
		}
	}
	return out, nil
}

// Look reads the catalog, the registry and the versions of the claimed
// schemas, the latter at most 100 schemas a statement, and decides about each
// claim. It changes nothing. A schema that is claimed twice in the same way is
// surveyed once.
//
// A schema is refused unless what was applied to it is a beginning of the plan's
// history. Versions older than the plan's first are let through: old files are
// often squashed into one.
func Look(ctx context.Context, q db.Querier, plan *migrate.Plan, claims []Claim, o Options) (*Survey, error) {
	s := &Survey{plan: plan, opt: o}
	seen := make(map[Claim]bool, len(claims))
	for _, c := range claims {
		if seen[c] {
			continue
		}
		seen[c] = true
		a := Adoption{Claim: c}
		a.schema, a.Err = db.RegisteredSchema(c.Schema)
		s.Adoptions = append(s.Adoptions, a)
	}
	if err := s.refuseNeighbours(ctx, q); err != nil {
		return nil, err
	}
	reg, err := readRegistry(ctx, q, s.Adoptions, o)
	if err != nil {
		return nil, err
	}
	states, err := readHistories(ctx, q, s.Adoptions, o)
	if err != nil {
		return nil, err
	}
	if o.Source != nil {
		if s.Map, err = o.Source.mapping(plan, states); err != nil {
			return nil, err
		}
		s.seen = o.Source.done(states)
	}
	for i := range s.Adoptions {
		a, h := &s.Adoptions[i], states[i]
		a.has.goose, a.has.told, a.has.lock = h.goose.exists, h.told.exists, h.told.hasLock
		s.judge(a, h, reg)
	}
	refuseRivals(s.Adoptions)
	return s, nil
}

// judge decides about one claim.
func (s *Survey) judge(a *Adoption, h history, reg claimed) {
	if a.Err == nil {
		a.Err = s.name(a, reg)
	}
	if a.Err == nil {
		a.Err = s.weigh(a, h)
	}
	known, registered := reg.bySchema[a.Schema]
	switch {
	case a.Err != nil:
		a.State, a.ID = Refused, ""
	case !registered:
		a.State = Adopted
	case known.Version != a.Version || a.History != nil || a.Taken != nil:
		a.State, a.ID, a.Cached = Corrected, known.ID, known.Version
	default:
		a.State, a.ID, a.Cached = Unchanged, known.ID, known.Version
	}
}

// name finds the slug of a claim and refuses one that is somebody else's.
func (s *Survey) name(a *Adoption, reg claimed) (err error) {
	if owner, ok := reg.bySchema[a.Schema]; ok {
		if a.Slug != "" && a.Slug != owner.Slug {
			return fmt.Errorf("schema %w: %s", ErrClaimed, owner.Slug)
		}
		a.Slug = owner.Slug
		return nil
	}
	if strings.HasPrefix(a.Schema, db.PoolPrefix) {
		return fmt.Errorf("schema %w", ErrPool)
	}
	if a.Slug == "" {
		if a.Slug, err = s.opt.Slug(a.Schema); err != nil {
			return err
		}
	}
	if a.DisplayName == "" {
		a.DisplayName = a.Slug
	}
	if other, ok := reg.bySlug[a.Slug]; ok {
		return fmt.Errorf("slug %q %w, with schema %s", a.Slug, ErrClaimed, other.Schema)
	}
	return nil
}

// weigh holds what was applied to a schema against the plan.
func (s *Survey) weigh(a *Adoption, h history) error {
	switch {
	case h.err != nil:
		return h.err
	case !h.exists:
		return fmt.Errorf("%w: %s", db.ErrWrongSchema, a.Schema)
	}
	applied, err := h.goose.applied()
	if err != nil {
		return err
	}
	if s.opt.Source != nil {
		if applied, err = s.weighTold(a, h, applied); err != nil {
			return err
		}
	} else if !h.goose.exists {
		return h.unmanaged(a.Schema, migrate.VersionTable)
	}
	for _, v := range applied {
		a.Version = max(a.Version, v)
	}
	return fits(s.plan, applied)
}

// weighTold returns the versions of a schema that another program migrated. Where an
// earlier adoption has made goose's table, that is the truth, together with what the
// program has done since.
func (s *Survey) weighTold(a *Adoption, h history, applied []int64) ([]int64, error) {
	from := s.opt.Source
	switch {
	case h.goose.exists && (!h.told.exists || from.Baseline != 0):
		return applied, nil
	case !h.told.exists && from.table() != "":
		return nil, h.unmanaged(a.Schema, from.table())
	case from.table() == "" && h.found != nil:
		return nil, fmt.Errorf("%w: %s of %s keeps versions there", ErrHistory, h.found.table, h.found.title)
	case h.told.locked:
		a.Forked = h.goose.exists
		return nil, fmt.Errorf("%s is locked: a run of knex is under way, or was killed (knex migrate:unlock)",
			from.lockTable())
	}
	m := s.Map
	if h.goose.exists {
		from, m = from.remember(s.plan, m)
	}
	versions, err := from.versions(s.plan, m, h.told)
	if err != nil {
		a.Forked = h.goose.exists
		return nil, err
	}
	if !h.goose.exists {
		// Not nil, for a schema to which nothing was applied too.
		a.History = append([]int64{}, versions...)
		return versions, nil
	}
	for _, v := range versions {
		if !slices.Contains(applied, v) {
			a.Taken = append(a.Taken, v)
		}
	}
	return append(applied, a.Taken...), nil
}

// fits refuses versions that are no beginning of the plan.
func fits(p *migrate.Plan, applied []int64) error {
	current := int64(0)
	for _, v := range applied {
		current = max(current, v)
	}
	if current > p.Head() {
		return &NewerError{Version: current, Newest: p.Head()}
	}
	for _, v := range applied {
		if v > p.Migrations[0].Version && p.Migration(v) == nil {
			return fmt.Errorf("%w: %w", ErrHistory, &migrate.UnknownVersionError{Version: v})
		}
	}
	_, err := p.Pending(applied)
	if late, ok := errors.AsType[*migrate.OutOfOrderError](err); ok {
		return fmt.Errorf("%w: the schema is at version %d without %s", ErrHistory, current, fileNames(late.Missing))
	}
	return err
}

// fileNames joins the files of migrations.
func fileNames(ms []*migrate.Migration) string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = m.File
	}
	return strings.Join(names, ", ")
}

// refuseRivals refuses new tenants that would have the same slug, and a schema
// claimed for two.
func refuseRivals(adoptions []Adoption) {
	slugs, schemas := make(map[string][]int), make(map[string][]int)
	for i, a := range adoptions {
		if a.State == Refused {
			continue
		}
		slugs[a.Slug] = append(slugs[a.Slug], i)
		schemas[a.Schema] = append(schemas[a.Schema], i)
	}
	refuse := func(rivals []int, format string, name func(Adoption) string) {
		if len(rivals) < 2 {
			return
		}
		var names []string
		for _, i := range rivals {
			names = append(names, name(adoptions[i]))
		}
		for _, i := range rivals {
			adoptions[i].State, adoptions[i].ID = Refused, ""
			adoptions[i].Err = fmt.Errorf(format, ErrClaimed, strings.Join(names, ", "))
		}
	}
	for slug, rivals := range slugs {
		refuse(rivals, "slug "+fmt.Sprintf("%q", slug)+" %w: it is claimed for the schemas %s", func(a Adoption) string {
			return a.Schema
		})
	}
	for _, rivals := range schemas {
		refuse(rivals, "schema %w: it is claimed for the slugs %s", func(a Adoption) string { return a.Slug })
	}
}

// Refuse takes an adoption out of those that Adopt carries out.
func (s *Survey) Refuse(i int, why error) {
	a := &s.Adoptions[i]
	a.State, a.ID, a.Err = Refused, "", why
}

// Pending returns the adoptions that Adopt has to carry out, in the order in which
// it names them to an observer.
func (s *Survey) Pending() []*Adoption {
	var todo []*Adoption
	for i := range s.Adoptions {
		if a := &s.Adoptions[i]; a.State == Adopted || a.State == Corrected {
			todo = append(todo, a)
		}
	}
	return todo
}

// Adopt carries out what the survey found, over several connections, one
// transaction a tenant, in which everything is read and decided once more. A tenant
// that is registered is locked meanwhile; of two that register one, the second meets
// the row of the first. Registry row, version table (where
// knex had its own) and audit row commit together; the tenant's data is not
// touched. Adoptions tells what became of each claim; the error says why the run
// ended before it was through.
func (s *Survey) Adopt(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), run fleet.Options) error {
	todo := s.Pending()
	for _, a := range todo {
		if a.State == Adopted && a.ID == "" {
			id, err := uuid.NewV7()
			if err != nil {
				return fmt.Errorf("make an id for tenant %q: %w", a.Slug, err)
			}
			a.ID = id.String()
		}
	}
	results, stopped := fleet.Run(ctx, connect, len(todo), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		now, err := s.adopt(ctx, conn, *todo[i])
		if err != nil {
			if rollbackErr := db.Rollback(ctx, conn); rollbackErr != nil {
				return errors.Join(err, rollbackErr)
			}
			return db.NameBlockers(ctx, conn, now.schema, err)
		}
		*todo[i] = now
		return nil
	})
	for i, r := range results {
		switch r.State {
		case fleet.NotStarted:
			todo[i].State, todo[i].ID, todo[i].Err = NotStarted, "", r.Err
		case fleet.Failed:
			todo[i].State, todo[i].ID, todo[i].Err = Refused, "", r.Err
		case fleet.Done:
		}
	}
	return stopped
}

// adopt does one tenant in two round trips.
func (s *Survey) adopt(ctx context.Context, conn *pgx.Conn, planned Adoption) (Adoption, error) {
	now := Adoption{Claim: planned.Claim, schema: planned.schema, has: planned.has}
	one := []Adoption{planned}
	var (
		open db.Pipeline
		reg  = newClaimed()
		h    = make([]history, 1)
	)
	locals := db.Locals{Schema: now.schema, LockTimeout: s.opt.LockTimeout, Follow: true}
	if planned.State != Adopted {
		locals.Tenant = s.opt.Registry.Row(planned.ID)
	}
	open.Begin(locals)
	open.CheckSchema(now.schema)
	open.OwnSettings() // what stands in the schema is somebody else's
	reg.queue(&open, one, s.opt)
	queueHistory(&open, planned, s.opt, h)
	tablespace.QueueCommon(&open, now.schema, &now.tablespace)
	if err := open.Run(ctx, conn); err != nil {
		return now, err
	}
	s.judge(&now, h[0], reg)
	switch {
	case now.State == Refused:
		return now, now.Err
	case now.State != Adopted && now.ID == planned.ID && planned.State == Adopted:
		// The answer to an earlier attempt's commit was lost: it is ours.
		return planned, db.Rollback(ctx, conn)
	case now.State == Unchanged:
		return now, db.Rollback(ctx, conn)
	case now.State == Adopted:
		now.ID = planned.ID
	}
	var write db.Pipeline
	if now.State == Corrected && locals.Tenant == (db.Row{}) { // registered meanwhile
		write.LockTenant(s.opt.Registry.Row(now.ID), now.schema, false)
	}
	if err := s.queueWrite(&write, now); err != nil {
		return now, err
	}
	if err := write.Run(ctx, conn); err != nil {
		if db.SQLState(err) == db.CodeUniqueViolation {
			// Registered meanwhile, by another run or under another name: another
			// look tells.
			err = &db.BusyError{Err: err}
		}
		return now, err
	}
	return now, db.Commit(ctx, conn)
}

func (s *Survey) queueWrite(p *db.Pipeline, a Adoption) error {
	if a.State == Adopted {
		settings, err := registry.WithTablespace(nil, a.tablespace)
		if err != nil {
			return err
		}
		s.opt.Registry.QueueInsert(p, registry.Tenant{
			Settings: settings, ID: a.ID, Slug: a.Slug, DisplayName: a.DisplayName, Schema: a.schema,
			Status: cmp.Or(a.Status, registry.Active), Version: a.Version,
		})
	} else {
		s.opt.Registry.QueueVersion(p, a.ID, a.Version)
	}
	if a.History != nil {
		for _, s := range migrate.History(a.schema, a.History) {
			p.Exec(s.SQL)
		}
	}
	for _, version := range a.Taken {
		migrate.QueueApplied(p, a.schema, version)
	}
	if s.opt.Audit == nil {
		return nil
	}
	return s.opt.Audit(p, a)
}
