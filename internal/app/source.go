package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
	"github.com/crmctl/crmctl/internal/tenant"
)

// Sourced reports whether the application names the tenants, in the query of the
// configuration.
func (a *App) Sourced() bool { return a.Config.TenantsQuery != "" }

// SyncOptions say how the registry follows the application.
type SyncOptions struct {
	// MayLose says how many tenants may be gone at once, of so many; nil is
	// source.MayLose.
	MayLose     func(living int) int
	Concurrency int // 0 goes by the machine and the server
	LockTimeout time.Duration
	DryRun      bool

	look bool // says what differs, without a look into new schemas
}

// Synced is what became of a tenant in which the registry and the application differed.
type Synced struct {
	source.Change

	Version int64 // of a tenant that was taken in
	Done    bool  // false where it is as it was: Waiting, Refused, or Err says why
}

// SyncResult is what became of each of them; none where nothing differed.
type SyncResult struct {
	Tenants []Synced
	Elapsed time.Duration
}

// Notices about the application's tenants.
type (
	// TookIn says what was done before the work of a call, so that the registry has what
	// the application names. Matters reports of a slug whether the call is about it.
	TookIn struct {
		Result  *SyncResult
		Matters func(slug string) bool
	}
	// Differing says what was not done, since the call changes nothing.
	Differing struct{ Result *SyncResult }
	// SourceUnread says why it is not known whether there is a difference.
	SourceUnread struct{ Err error }
	// OddWords are words for a tenant's status that are not known: it counts as active.
	OddWords struct{ Words []string }
	// LeftGone names tenants that are left alone, since the application does not name them.
	LeftGone struct{ Slugs []string }
)

func (TookIn) notice()       {}
func (Differing) notice()    {}
func (SourceUnread) notice() {}
func (OddWords) notice()     {}
func (LeftGone) notice()     {}

// ErrNoSource says that no query for the application's tenants is configured.
var ErrNoSource = errors.New("no query for the application's tenants is configured")

// Sync makes the registry follow the application: what is new is adopted, what is not
// named any more is marked. The result is there also where the error says that it ended
// early.
func (a *App) Sync(ctx context.Context, o SyncOptions) (*SyncResult, error) {
	if !a.Sourced() {
		return nil, ErrNoSource
	}
	a.compared.Store(true)
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	return a.syncWith(ctx, conn, o)
}

// TakeIn makes the registry follow the application before the work of a call that
// changes something, or says what differs where that is a dry run. matters reports of a
// slug whether the call is about it; nil is all.
func (a *App) TakeIn(ctx context.Context, conn *pgx.Conn, matters func(slug string) bool, dryRun bool) error {
	if !a.Sourced() {
		return nil
	}
	if dryRun {
		a.NoteSource(ctx, conn)
		return nil
	}
	a.compared.Store(true)
	result, err := a.syncWith(ctx, conn, SyncOptions{LockTimeout: a.Config.LockTimeout})
	if result != nil && len(result.Tenants) > 0 {
		if matters == nil {
			matters = func(string) bool { return true }
		}
		a.Notify(TookIn{Result: result, Matters: matters})
	}
	return err
}

// NoteSource says once in what the registry and the application differ, for calls that
// change nothing.
func (a *App) NoteSource(ctx context.Context, conn *pgx.Conn) {
	const idle = 'I'
	if !a.Sourced() || conn.PgConn().TxStatus() != idle || a.compared.Swap(true) {
		return
	}
	result, err := a.syncWith(ctx, conn, SyncOptions{DryRun: true, LockTimeout: a.Config.LockTimeout, look: true})
	switch {
	case errors.Is(err, registry.ErrNoRegistry), errors.Is(err, registry.ErrOldRegistry): // the call itself says so
	case err != nil:
		a.Notify(SourceUnread{Err: err})
	case len(result.Tenants) > 0:
		a.Notify(Differing{Result: result})
	}
}

// syncWith compares the registry with what the application names, in one statement where
// they do not differ, and changes the registry.
func (a *App) syncWith(ctx context.Context, conn *pgx.Conn, o SyncOptions) (*SyncResult, error) {
	begun := a.Now()
	q, err := a.sourceQuery()
	if err != nil {
		return nil, err
	}
	limits := source.Limits{Lock: o.LockTimeout, Statement: a.Config.StatementTimeout}
	differs, err := q.Differs(ctx, conn, a.Registry, limits)
	if err != nil || !differs.Any {
		return &SyncResult{}, err
	}
	found, only, err := a.onlyWaiting(ctx, conn, differs.Waiting)
	if err == nil && !only {
		found, err = a.compare(ctx, conn, q, limits)
	}
	if err != nil {
		return nil, err
	}
	may := source.MayLose(found.Living)
	if o.MayLose != nil {
		may = o.MayLose(found.Living)
	}
	if err := found.CheckLoss(may); err != nil && !o.look {
		return nil, err
	}
	if len(found.Odd) > 0 {
		a.Notify(OddWords{Words: found.Odd})
	}
	out := &SyncResult{}
	for _, ch := range found.Changes {
		out.Tenants = append(out.Tenants, Synced{Change: ch})
	}
	if !o.look {
		if err = a.moveAll(ctx, conn, out, o); err == nil {
			err = a.takeNew(ctx, conn, out, o)
		}
	}
	out.Elapsed = a.Now().Sub(begun)
	return out, err
}

// onlyWaiting compares rows of tenants that wait for their schemas, without a look at the
// rest of the fleet. It is false where something else is to be said of one, or there is none.
func (a *App) onlyWaiting(ctx context.Context, conn *pgx.Conn, rows source.Rows) (source.Comparison, bool, error) {
	found, only := source.OnlyWaiting(rows, a.Registry.Schema())
	if !only || len(found.Changes) == 0 {
		return found, false, nil
	}
	var slugs []string
	for _, ch := range found.Changes {
		slugs = append(slugs, ch.To.Slug)
	}
	tenants, invalid, err := a.Registry.ListAll(ctx, conn, registry.Filter{Slugs: slugs})
	return found, len(tenants)+len(invalid) == 0, err
}

// sourceQuery returns the configured query.
func (a *App) sourceQuery() (source.Query, error) {
	q, err := source.Parse(a.Config.TenantsQuery)
	if err == nil && a.Config.TenantsQueryFromProject() {
		err = q.CheckPlain()
	}
	return q, err
}

// compare reads the registry, then what the application names.
func (a *App) compare(ctx context.Context, conn *pgx.Conn, q source.Query,
	limits source.Limits) (source.Comparison, error) {
	known := source.Known{Own: a.Registry.Schema()}
	var err error
	if known.Tenants, known.Invalid, err = a.Registry.ListAll(ctx, conn, registry.Filter{}); err != nil {
		return source.Comparison{}, err
	}
	rows, err := q.Read(ctx, conn, limits)
	if err != nil {
		return source.Comparison{}, err
	}
	all, err := adopt.Schemas(ctx, conn)
	if err != nil {
		return source.Comparison{}, err
	}
	there := make(map[string]bool, len(all))
	for _, name := range all {
		there[name] = true
	}
	known.Exists = func(schema string) bool { return there[schema] }
	found := source.Compare(rows, known)
	if a.Config.TenantsWrites {
		err = a.keepOwn(ctx, conn, &found)
	}
	return found, err
}

// keepOwn takes out of what is lost the tenants that this program has made: where both
// make tenants, the application need not know them yet.
func (a *App) keepOwn(ctx context.Context, conn *pgx.Conn, found *source.Comparison) error {
	var ids []string
	for _, ch := range found.Changes {
		if ch.Kind == source.Lost {
			ids = append(ids, ch.From.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	named, err := a.Registry.Followed(ctx, conn, ids)
	if err != nil {
		return err
	}
	found.Changes = slices.DeleteFunc(found.Changes, func(ch source.Change) bool {
		return ch.Kind == source.Lost && !named[ch.From.ID]
	})
	return nil
}

// moveAll changes the rows of tenants that the registry knows. One that is busy, or was
// changed by somebody else meanwhile, is left for the next time.
func (a *App) moveAll(ctx context.Context, conn *pgx.Conn, out *SyncResult, o SyncOptions) error {
	for i := range out.Tenants {
		t := &out.Tenants[i]
		switch t.Kind {
		case source.Changed, source.Back, source.Lost:
		default:
			continue
		}
		if o.DryRun {
			t.Done = true
			continue
		}
		after, err := tenant.Follow(ctx, conn, t.From, t.To, a.move(o.LockTimeout))
		switch {
		case err == nil:
			t.Done, t.Version = true, after.Version
		case db.SQLState(err) == codeCheckViolation:
			return registry.ErrOldRegistry
		case errors.Is(err, db.ErrBusy), errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrState),
			errors.Is(err, registry.ErrExists), errors.Is(err, registry.ErrInvalidRow):
			t.Err = err
		default:
			return fmt.Errorf("follow the application in tenant %q: %w", t.From.Slug, err)
		}
	}
	return nil
}

// codeCheckViolation is the server's: a registry of an older program has no such status.
const codeCheckViolation = "23514"

// takeNew adopts the schemas that are new, and looks at those that came back or have
// another name: their version may be another one too.
func (a *App) takeNew(ctx context.Context, conn *pgx.Conn, out *SyncResult, o SyncOptions) error {
	at := make(map[string]int)
	var claims []adopt.Claim
	for i, t := range out.Tenants {
		switch {
		case t.Kind == source.New:
			claims = append(claims, adopt.Claim{Schema: t.To.Schema.String(), Slug: t.To.Slug, DisplayName: t.To.DisplayName,
				Status: t.To.Status})
		case t.Done && !o.DryRun && (t.Kind == source.Back || t.From.Schema != t.To.Schema):
			claims = append(claims, adopt.Claim{Schema: t.To.Schema.String()})
		default:
			continue
		}
		at[t.To.Schema.String()] = i
	}
	if len(claims) == 0 {
		return nil
	}
	from, err := a.sourceProgram()
	if err != nil {
		return err
	}
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return err
	}
	survey, err := a.surveyAdoption(ctx, conn, plan, AdoptOptions{Claims: claims, Source: from,
		Concurrency: o.Concurrency, LockTimeout: o.LockTimeout, DryRun: o.DryRun}, true)
	if err != nil {
		return err
	}
	if !o.DryRun {
		if err = a.keepProgram(ctx, conn, survey); err == nil {
			err = a.carryAdoption(ctx, conn, survey, o.Concurrency)
		}
	}
	for _, done := range survey.Adoptions {
		t := &out.Tenants[at[done.Schema]]
		t.Version, t.Err = done.Version, done.Err
		if t.Kind == source.New {
			t.Done = done.Err == nil && done.State != adopt.NotStarted
		}
		if done.State == adopt.Refused && t.Kind == source.New {
			t.Kind = source.Refused
		}
	}
	return err
}

// sourceProgram returns the program that migrates the application's new tenants, nil for
// goose.
func (a *App) sourceProgram() (*adopt.Source, error) {
	cfg := a.Config
	from := adopt.From(cfg.TenantsFrom)
	if from == nil {
		return nil, nil //nolint:nilnil // nil is goose
	}
	from.Baseline = cfg.TenantsBaseline
	if cfg.TenantsMap == "" {
		return from, nil
	}
	in, err := os.Open(cfg.TenantsMap)
	if err != nil {
		return nil, fmt.Errorf("read the mapping of migrations: %w", err)
	}
	defer func() { _ = in.Close() }()
	from.Map, err = adopt.ReadMap(cfg.TenantsMap, in)
	return from, err
}
