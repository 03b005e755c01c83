package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// PersonOptions say about whom something is asked, of which tenants.
type PersonOptions struct {
	Selection *Selection
	Address   crm.Address

	Rows bool // what is stored, beside how much

	Concurrency      int
	LockTimeout      time.Duration
	StatementTimeout time.Duration

	// The rest is for an erasure.
	DryRun  bool
	NewKey  bool                     // begin with a new key where that of the erasures before is lost
	Confirm func(PersonResult) error // asked before anything is changed, with what is there; nil agrees
}

// PersonTenant is what a tenant has of a person.
type PersonTenant struct {
	Tenant registry.Tenant
	Held   crm.Held
	Rows   []crm.PersonRow
	Erased bool
}

// OldBackup is a backup that was made before an erasure, as the audit has it.
type OldBackup struct {
	Slug string
	File string
	At   time.Time
}

// PersonResult is what there is of a person, or was erased.
type PersonResult struct {
	Tenants []PersonTenant
	Results []fleet.Result
	Stopped error // why the run ended before its tenants did
	Backups []OldBackup
	KeyFile string // of the erasure, "" for none
	Elapsed time.Duration
}

// Total adds up what the tenants have.
func (r *PersonResult) Total() (h crm.Held, tenants int) {
	for _, t := range r.Tenants {
		h.Add(t.Held)
		if t.Held != (crm.Held{}) {
			tenants++
		}
	}
	return h, tenants
}

// Summary counts what became of the tenants.
func (r *PersonResult) Summary() fleet.Summary { return fleet.Summarize(r.Results, r.Stopped) }

// FindPerson returns what is stored about somebody, in tenants of every state, until they are
// purged. One that is being moved or purged is a failure: what it has is not known.
func (a *App) FindPerson(ctx context.Context, o PersonOptions) (PersonResult, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return PersonResult{}, err
	}
	defer closeConn(ctx, conn)
	run, err := a.person(ctx, conn, o)
	if err != nil {
		return PersonResult{}, err
	}
	if err := run.find(ctx, conn); err != nil {
		return PersonResult{}, err
	}
	run.result.Elapsed = a.Now().Sub(run.begun)
	return run.result, nil
}

// ErasePerson erases what is stored about somebody. A tenant is one transaction; the erasure
// itself is recorded before the first, so that it is applied to what is restored even if
// this is cut short, and the same call goes on with the tenants that are left.
func (a *App) ErasePerson(ctx context.Context, o PersonOptions) (PersonResult, error) {
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return PersonResult{}, err
	}
	defer closeConn(ctx, conn)
	run, err := a.person(ctx, conn, o)
	if err != nil {
		return PersonResult{}, err
	}
	if err := run.find(ctx, conn); err != nil {
		return PersonResult{}, err
	}
	if o.DryRun || ctx.Err() != nil || run.result.Stopped != nil {
		return run.result, context.Cause(ctx)
	}
	if o.Confirm != nil {
		if err := o.Confirm(run.result); err != nil {
			return run.result, err
		}
	}
	return run.result, run.erase(ctx)
}

// personRun is a search or an erasure under way.
type personRun struct {
	app    *App
	o      PersonOptions
	begun  time.Time
	path   db.Path
	ground *crm.Ground
	key    *erasureKey
	hash   string
	result PersonResult
}

func (a *App) person(ctx context.Context, conn *pgx.Conn, o PersonOptions) (*personRun, error) {
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection)
	if err != nil {
		return nil, err
	}
	if len(invalid) > 0 {
		a.Notify(InvalidRows{invalid})
	}
	run := &personRun{app: a, o: o, begun: a.Now()}
	for _, t := range tenants {
		run.result.Tenants = append(run.result.Tenants, PersonTenant{Tenant: t})
	}
	run.path, err = a.TenantPath(ctx, conn, nil)
	return run, err
}

// each does something with the tenants whose indexes are given, and keeps how it went.
func (r *personRun) each(ctx context.Context, connect Connect, verb string, which []int,
	do func(ctx context.Context, conn *pgx.Conn, t *PersonTenant) error) {
	names := make([]string, len(which))
	for i, at := range which {
		names[i] = r.result.Tenants[at].Tenant.Slug
	}
	observer, end := r.app.Watch(verb, names)
	defer end()
	results, stopped := fleet.Run(ctx, connect, len(which), fleet.Options{Concurrency: r.o.Concurrency,
		Observer: observer, Drain: r.app.Drain()}, func(ctx context.Context, conn *pgx.Conn, i int) error {
		return do(ctx, conn, &r.result.Tenants[which[i]])
	})
	for i, at := range which {
		r.result.Results[at] = results[i]
	}
	r.result.Stopped = stopped
}

// survey looks at all tenants at once.
func (r *personRun) survey(ctx context.Context, conn *pgx.Conn) (err error) {
	schemas := make([]db.Schema, len(r.result.Tenants))
	for i, t := range r.result.Tenants {
		schemas[i] = t.Tenant.Schema
	}
	r.ground, err = crm.Survey(ctx, conn, schemas, crm.Options{Trusted: r.app.Config.TrustedOwners,
		OwnRole: r.app.ownRole()})
	return err
}

func (r *personRun) find(ctx context.Context, conn *pgx.Conn) error {
	if err := r.survey(ctx, conn); err != nil {
		return err
	}
	r.result.Results = make([]fleet.Result, len(r.result.Tenants))
	which := make([]int, len(r.result.Tenants))
	for i := range which {
		which[i] = i
	}
	r.each(ctx, fleet.Reuse(conn, r.app.Connect), "search", which, func(ctx context.Context, conn *pgx.Conn,
		t *PersonTenant) error {
		opened, err := r.open(ctx, conn, t)
		if err != nil {
			return err
		}
		return opened.Read(ctx, conn, func(ctx context.Context, reader *crm.Reader) (err error) {
			if t.Held, err = reader.Person(ctx, r.o.Address); err != nil || !r.o.Rows {
				return err
			}
			t.Rows, err = reader.PersonRows(ctx, r.o.Address)
			return err
		})
	})
	return nil
}

func (r *personRun) open(ctx context.Context, conn *pgx.Conn, t *PersonTenant) (*crm.Tenant, error) {
	a := r.app
	switch state := t.Tenant.State(); state {
	case registry.Leaving, registry.Incoming, registry.Purging:
		return nil, &registry.StateError{Slug: t.Tenant.Slug, State: state}
	}
	timeout := r.o.StatementTimeout
	if a.Config.Setting(config.KeyStatementTimeout).Origin == "default" {
		timeout = 0 // a table may be large, and has to be read whole
	}
	return crm.Open(ctx, conn, crm.Options{
		Schema: t.Tenant.Schema, Path: r.path, Tablespace: t.Tenant.Tablespace,
		Ground: r.ground, Private: true,
		LockTimeout: r.o.LockTimeout, StatementTimeout: timeout, ReadTimeout: timeout,
		Look: func(p *db.Pipeline) {
			a.Registry.QueueStill(p, t.Tenant, registry.Statuses()...)
		},
		Hold: func(ctx context.Context, q db.Querier) error { return a.Registry.HoldRow(ctx, q, t.Tenant) },
		Record: func(ctx context.Context, q db.Querier, role string, _ []crm.Change) error {
			detail := heldDetail(t.Held)
			detail["key"], detail["hash"] = r.key.id, r.hash
			var p db.Pipeline
			if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: t.Tenant.ID, Slug: t.Tenant.Slug,
				Action: registry.ActionErase, Actor: a.Actor, Program: a.Program, Role: role, Detail: detail}); err != nil {
				return err
			}
			return p.Run(ctx, q)
		},
	})
}

func (r *personRun) erase(ctx context.Context) error {
	a := r.app
	// The connection may be gone by now.
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if r.key, err = a.openErasureKey(ctx, conn, r.o.NewKey); err != nil {
		return err
	}
	if err := r.survey(ctx, conn); err != nil { // the answer may have taken its time
		return err
	}
	r.hash, r.result.KeyFile = r.key.hash(r.o.Address.Canonical()), a.Config.ErasureKeyFile
	record := func() error {
		var tenants []registry.Tenant
		if !r.o.Selection.Everything() {
			tenants = []registry.Tenant{}
			for _, t := range r.result.Tenants {
				tenants = append(tenants, t.Tenant)
			}
		}
		return a.Registry.RecordErasures(ctx, conn, a.erasures(r.key, r.o.Address, tenants))
	}
	if err := record(); err != nil {
		return err
	}
	var which []int
	for i, t := range r.result.Tenants {
		if r.result.Results[i].State == fleet.Done && t.Held.Erasable() > 0 {
			which = append(which, i)
		}
	}
	r.each(ctx, a.Connect, "erase", which, r.eraseTenant)
	r.result.Elapsed = a.Now().Sub(r.begun)
	if ctx.Err() != nil {
		return nil // the result says so
	}
	// Once more: a backup that was made meanwhile may have what was not erased yet.
	if err := record(); err != nil {
		return err
	}
	return r.findBackups(ctx, conn)
}

func (r *personRun) eraseTenant(ctx context.Context, conn *pgx.Conn, t *PersonTenant) error {
	opened, err := r.open(ctx, conn, t)
	if err != nil {
		return err
	}
	before := t.Held
	err = opened.Write(ctx, conn, func(ctx context.Context, w *crm.Writer) (err error) {
		t.Held, err = w.ErasePerson(ctx, r.o.Address)
		return err
	})
	if err != nil {
		t.Held = before // it is still there
	}
	t.Erased = err == nil && t.Held.Erasable() > 0 // another process may have been first
	return err
}

// findBackups names the backups of the tenants in which something was erased.
func (r *personRun) findBackups(ctx context.Context, conn *pgx.Conn) error {
	var slugs []string
	for _, t := range r.result.Tenants {
		if t.Erased {
			slugs = append(slugs, t.Tenant.Slug)
		}
	}
	if len(slugs) == 0 {
		return nil
	}
	filter := registry.AuditFilter{Actions: []string{registry.ActionBackup}, Slugs: slugs}
	for e, err := range r.app.Registry.Audit(ctx, conn, filter) {
		if err != nil {
			return err
		}
		var detail struct {
			File string `json:"file"`
		}
		_ = json.Unmarshal(e.Detail, &detail) // one of another form names no file
		r.result.Backups = append(r.result.Backups, OldBackup{Slug: e.Tenant, File: detail.File, At: e.At})
	}
	return nil
}
