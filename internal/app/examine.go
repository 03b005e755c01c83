package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// ExamineOptions say what is looked at, and what an examination goes by.
type ExamineOptions struct {
	Only, Skip  []doctor.Class
	LockTimeout time.Duration
	Newest      int64 // version of the registry that this program knows
	// Retention is how long a tenant is kept whose row is marked as deleted. A tenant's
	// own setting wins, unless Given.
	Retention time.Duration
	Given     bool
	// Way returns the command that leads on where something else has the registry's names,
	// or the registry stands elsewhere.
	Way func(ctx context.Context, conn *pgx.Conn, standing registry.Standing) string
}

// Examine looks for what is wrong. conn need not have been asked whose the registry is:
// that is looked at first.
func (a *App) Examine(ctx context.Context, conn *pgx.Conn, o ExamineOptions) (*doctor.Report, error) {
	standing, err := a.Registry.LookToMake(ctx, conn, a.Config.TrustedOwners)
	if err != nil {
		return nil, err
	}
	var fleet doctor.Fleet
	if standing.Refusal() == nil {
		if fleet, err = a.known(ctx, conn, o); err != nil {
			return nil, err
		}
	}
	if fleet.RegistryClosed = standing.Refusal() != nil; !fleet.RegistryClosed {
		a.NoteSource(ctx, conn)
	}
	for _, list := range [][]registry.ForeignObject{standing.Strange, standing.Others} {
		for _, found := range list {
			owner := doctor.RegistryOwner{Kind: found.Kind, Name: found.Name, Owner: found.Owner, Trusted: found.Trusted,
				Strange: !found.Ours}
			if !slices.Contains(fleet.RegistryOwners, owner) {
				fleet.RegistryOwners = append(fleet.RegistryOwners, owner)
			}
		}
	}
	if len(standing.Strange) > 0 && o.Way != nil {
		fleet.RegistryWay = o.Way(ctx, conn, standing)
	}
	d := doctor.Options{
		Only: o.Only, Skip: o.Skip, LockTimeout: o.LockTimeout, Now: a.Now, Trusted: a.Config.TrustedOwners,
		Shared: a.Config.SharedSchemas,
	}
	if fleet.RegistryClosed || fleet.RegistryErr == nil && fleet.RegistryVersion < fleet.RegistryHead &&
		len(fleet.Tenants) == 0 {
		d.Only = []doctor.Class{doctor.Registry} // what it lacks, the other checks would read
	}
	return doctor.Examine(ctx, conn, fleet, d)
}

// Mend mends what was found, as far as it can be.
func (a *App) Mend(ctx context.Context, conn *pgx.Conn, findings []doctor.Finding, o ExamineOptions) []doctor.Fixed {
	return doctor.Fix(ctx, conn, findings, doctor.FixOptions{
		Registry: a.Registry, Actor: a.Actor, Program: a.Program,
		LockTimeout: o.LockTimeout, Retention: o.Retention, Now: a.Now, Direct: a.Direct,
		CloseRuns: func(ctx context.Context) error { return a.Registry.CloseRuns(ctx, conn) },
	})
}

// known returns what the registry, the files and the ledger know.
func (a *App) known(ctx context.Context, conn *pgx.Conn, o ExamineOptions) (doctor.Fleet, error) {
	public, unread := migrate.PublicVersion(ctx, conn, a.Registry)
	if unread != nil && db.SQLState(unread) == "" { // not the server's answer
		return doctor.Fleet{}, unread
	}
	fleet := doctor.Fleet{
		Registry: a.Registry, RegistryVersion: public, RegistryHead: o.Newest, RegistryErr: unread,
		Tables: []string{"contacts", "conversations", "messages"},
	}
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return doctor.Fleet{}, err
	}
	fleet.Head = plan.Head()
	tenants, invalid, err := a.Registry.ListAll(ctx, conn, registry.Filter{Settings: []string{SettingRetention}})
	switch {
	case errors.Is(err, registry.ErrOldRegistry):
		// The finding about the registry says what to do; nothing else can be known.
		return fleet, nil
	case err != nil:
		return doctor.Fleet{}, err
	}
	fleet.Invalid = invalid
	fleet.Tenants = make([]doctor.Tenant, len(tenants))
	for i, t := range tenants {
		fleet.Tenants[i] = doctor.Tenant{Tenant: t, Retention: o.retention(t)}
	}
	fleet.Versions = func(ctx context.Context, wanted []doctor.Tenant) ([]doctor.ActualVersion, error) {
		list := make([]registry.Tenant, len(wanted))
		for i, t := range wanted {
			list[i] = t.Tenant
		}
		actual, err := plan.Verify(ctx, conn, list, o.LockTimeout)
		return doctorVersions(actual), err
	}
	fleet.Dirty = func(ctx context.Context) ([]doctor.Dirty, error) {
		dirty, err := migrate.Dirty(ctx, conn, a.Registry)
		out := make([]doctor.Dirty, len(dirty))
		for i, d := range dirty {
			out[i] = doctor.Dirty{Slug: d.Slug, What: d.Error(), Running: d.Running, Since: d.Since}
		}
		return out, err
	}
	fleet.DeadRuns = func(ctx context.Context) ([]int64, error) { return a.Registry.DeadRuns(ctx, conn) }
	return fleet, nil
}

// retention returns how long a tenant is kept when its row is marked as deleted. A
// setting that nobody can read does not count.
func (o ExamineOptions) retention(t registry.Tenant) *time.Duration {
	if o.Given {
		return &o.Retention
	}
	d, err := Retention(t, o.Retention)
	if err != nil {
		return nil
	}
	return &d
}

// RetentionError says that a tenant's setting of how long it is kept cannot be read.
type RetentionError struct {
	Slug string
	Err  error
}

func (e *RetentionError) Error() string {
	return fmt.Sprintf("setting %s of tenant %q: %v", SettingRetention, e.Slug, e.Err)
}

func (e *RetentionError) Unwrap() error { return e.Err }

// Retention returns how long a tenant is kept after it was deleted: as its own setting
// says, otherwise usual. The error is a *RetentionError.
func Retention(t registry.Tenant, usual time.Duration) (time.Duration, error) {
	var settings struct {
		Retention *string `json:"retention"`
	}
	if err := json.Unmarshal(t.Settings, &settings); err != nil {
		return 0, &RetentionError{t.Slug, err}
	}
	if settings.Retention == nil {
		return usual, nil
	}
	d, err := config.ParseDuration(*settings.Retention)
	if err != nil {
		return 0, &RetentionError{t.Slug, err}
	}
	return d, nil
}

func doctorVersions(actual []migrate.ActualVersion) []doctor.ActualVersion {
	out := make([]doctor.ActualVersion, len(actual))
	for i, t := range actual {
		out[i] = doctor.ActualVersion{
			Version: t.Version, Unmanaged: errors.Is(t.Err, migrate.ErrNotManaged),
			Gone: errors.Is(t.Err, db.ErrWrongSchema), Err: t.Err,
		}
		for _, m := range t.Late {
			out[i].Late = append(out[i].Late, m.Name())
		}
	}
	return out
}
