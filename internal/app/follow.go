package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// Moved says that tenants stand at other versions than the registry had: another program,
// or somebody by hand, has migrated them.
type Moved struct {
	Program   string
	Adoptions []adopt.Adoption // with the registry's version as Cached
	Taken     bool             // the registry has them now
}

func (Moved) notice() {}

// Forked is a tenant in which another program has gone on in a way that no file is known
// for, or is at work.
type Forked struct {
	Tenant  registry.Tenant
	Program string
	Err     error
}

// followOptions say how tenants are looked at.
type followOptions struct {
	lockTimeout time.Duration
	keep        bool // what was found, in the registry and the tenants' tables of versions
}

// followed is what a look at the tenants has found, by their ids.
type followed struct {
	forked map[string]Forked // not to be worked on
	odd    map[string]error  // of the others, those whose history is not the files'
}

// Standing puts the versions that tenants stand at in place of the registry's, where other
// programs may have migrated them, and returns by id what is wrong with some. It changes
// nothing in the database.
func (a *App) Standing(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, tenants []registry.Tenant,
	lockTimeout time.Duration) (map[string]error, error) {
	found, err := a.follow(ctx, conn, plan, tenants, followOptions{lockTimeout: lockTimeout})
	wrong := found.odd
	for id, f := range found.forked {
		wrong[id] = f.Err
	}
	return wrong, err
}

// follow looks whether the programs that migrated the fleet before it was adopted have
// gone on, and puts the versions that the tenants stand at in place of the registry's. A
// fleet that was never adopted costs one query.
func (a *App) follow(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, tenants []registry.Tenant,
	o followOptions) (followed, error) {
	out := followed{forked: make(map[string]Forked), odd: make(map[string]error)}
	sources, err := a.Registry.ListSources(ctx, conn)
	if err != nil || len(sources) == 0 || len(tenants) == 0 {
		return out, err
	}
	// Every other program's look covers goose's table too, and that is one whatever is kept.
	others := slices.DeleteFunc(slices.Clone(sources), func(s registry.Source) bool { return s.Program == adopt.Goose })
	if len(others) == 0 {
		others = sources[:1]
	}
	for _, s := range others {
		if err := a.followOne(ctx, conn, plan, s, tenants, out, o); err != nil {
			return out, err
		}
	}
	return out, nil
}

// errNotRegistered keeps a schema from being adopted whose tenant has gone meanwhile.
var errNotRegistered = errors.New("the registry has it no more")

func (a *App) followOne(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, kept registry.Source,
	tenants []registry.Tenant, out followed, o followOptions) error {
	source, err := adopt.Following(kept, plan)
	if err != nil {
		return err
	}
	claims := make([]adopt.Claim, len(tenants))
	at := make(map[string]int, len(tenants))
	for i, t := range tenants {
		claims[i] = adopt.Claim{Schema: t.Schema.String()}
		at[t.ID] = i
	}
	survey, err := adopt.Look(ctx, conn, plan, claims, adopt.Options{
		Registry: a.Registry, Audit: a.adoptAudit(source), Source: source, LockTimeout: o.lockTimeout,
		Slug:    func(string) (string, error) { return "", errNotRegistered },
		Connect: a.Connect,
	})
	if err != nil {
		return err
	}
	moved := Moved{Program: kept.Program, Taken: o.keep}
	for i, found := range survey.Adoptions {
		switch {
		case found.State == adopt.Corrected:
			moved.Adoptions = append(moved.Adoptions, found)
			if n, ok := at[found.ID]; ok {
				tenants[n].Version = found.Version
			}
		case found.Forked:
			out.forked[tenants[i].ID] = Forked{Tenant: tenants[i], Program: kept.Program, Err: found.Err}
		case found.State == adopt.Refused && !errors.Is(found.Err, errNotRegistered):
			// A run meets what is wrong, and says it.
			out.odd[tenants[i].ID] = found.Err
			if found.Version > 0 {
				tenants[i].Version = found.Version
			}
		}
	}
	if len(moved.Adoptions) == 0 {
		return nil
	}
	a.Notify(moved)
	if !o.keep {
		return nil
	}
	stopped := survey.Adopt(ctx, a.Connect, fleet.Options{Drain: a.Drain()})
	for i, found := range survey.Adoptions {
		// A file that the tenant's own table does not name would be applied once more.
		if len(found.Taken) > 0 && found.State != adopt.Corrected {
			out.forked[tenants[i].ID] = Forked{Tenant: tenants[i], Program: kept.Program, Err: cmp.Or(found.Err, errNotTaken)}
		}
	}
	return stopped
}

// errNotTaken says that a tenant's own table of versions could not be brought up to date.
var errNotTaken = errors.New("what another program has applied could not be written down")

// judgeSource refuses a program, out of a file, that no run could follow.
func judgeSource(s registry.Source) error {
	const longest = 63 // of a table's name
	switch {
	case s.Program != adopt.Goose && adopt.From(s.Program) == nil:
		return errors.New("it is none that is known")
	case s.Table == "" || len(s.Table) > longest || strings.ContainsFunc(s.Table, registry.Invisible):
		return fmt.Errorf("%q is no name of a table of versions", s.Table)
	}
	for name, versions := range s.Files {
		if slices.ContainsFunc(versions, func(v int64) bool { return v <= 0 }) {
			return fmt.Errorf("%q stands for a version that no file has", name)
		}
	}
	return nil
}
