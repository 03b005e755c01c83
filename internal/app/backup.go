package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// Role says whether a tenant that is made out of data gets a database role.
type Role int

// By default a tenant has a role where the data's tenant had one, or where the
// configuration gives every tenant one.
const (
	RoleDefault Role = iota
	RoleYes
	RoleNo
)

func (a *App) roleChoice(r Role) backup.RoleChoice {
	switch {
	case r == RoleNo:
		return backup.RoleNever
	case r == RoleYes, a.Config.TenantRoles:
		return backup.RoleAlways
	}
	return backup.RoleAsSource
}

// audit returns how the audit is told of what was done with a backup.
func (a *App) audit(action string) func(p *db.Pipeline, e registry.Event) error {
	return func(p *db.Pipeline, e registry.Event) error {
		e.Action, e.Actor, e.Program = action, a.Actor, a.Program
		return a.Registry.QueueEvent(p, e)
	}
}

// newTenant returns what making a tenant out of data needs of the migrations.
func (a *App) newTenant(ctx context.Context, conn *pgx.Conn, action string, l backup.Limits, r Role) (backup.NewTenant,
	*migrate.Plan, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return backup.NewTenant{}, nil, err
	}
	if plan, err = a.UseExtensions(ctx, conn, plan, false); err != nil {
		return backup.NewTenant{}, nil, err
	}
	return backup.NewTenant{
		Limits:   l,
		Registry: a.Registry,
		Path:     plan.Path,
		Judge:    judgeTenant,
		Audit:    a.audit(action),
		Role:     a.roleChoice(r),
		Roles:    tenant.Roles{},
		Direct:   a.Direct,
		Build: func(versions []int64) ([]db.Statement, error) {
			only, err := planOf(plan, versions)
			if err != nil {
				return nil, err
			}
			// Older versions are not asked for twice, so their final shape is not
			// worth finding out.
			template, why, err := a.template(ctx, conn, only, templateOptions{fromHistory: only.Checksum() != plan.Checksum(),
				lockTimeout: l.LockTimeout})
			a.byHistory(why)
			return template.Script, err
		},
		Versions: versionsOf(plan),
	}, plan, nil
}

// versionsOf returns what makes the version table of some of a plan's versions.
func versionsOf(plan *migrate.Plan) func(versions []int64) ([]db.Statement, error) {
	return func(versions []int64) ([]db.Statement, error) {
		only, err := planOf(plan, versions)
		if err != nil {
			return nil, err
		}
		return only.Versions(), nil
	}
}

// structures returns what tells of tenants whether they are what their migrations make.
// Where the files cannot be read, that is what it tells.
func (a *App) structures(ctx context.Context, l backup.Limits) *backup.Structures {
	n := backup.NewTenant{Limits: l, Registry: a.Registry, Judge: judgeTenant, Role: backup.RoleNever, Direct: a.Direct}
	plan := sync.OnceValues(func() (*migrate.Plan, error) { return a.placedPlan(ctx) })
	n.Build = func(versions []int64) ([]db.Statement, error) {
		all, err := plan()
		if err != nil {
			return nil, err
		}
		only, err := planOf(all, versions)
		if err != nil {
			return nil, err
		}
		return only.Build()
	}
	n.Versions = func(versions []int64) ([]db.Statement, error) {
		all, err := plan()
		if err != nil {
			return nil, err
		}
		return versionsOf(all)(versions)
	}
	n.Path = func() db.Path {
		all, err := plan()
		if err != nil {
			return db.Path{} // Build says so
		}
		return all.Path()
	}
	return &backup.Structures{Connect: a.Connect, NewTenant: n}
}

// writeOptions returns how backups of tenants are written.
func (a *App) writeOptions(ctx context.Context, l backup.Limits) backup.WriteOptions {
	return backup.WriteOptions{
		Limits: l, Registry: a.Registry, Program: a.Program, Structures: a.structures(ctx, l), Judge: judgeTenant,
		Host: host(), User: a.User,
	}
}

// SettingRetention is the key of the only setting of a tenant that this program itself
// reads: how long the tenant is kept after it was deleted, a duration such as "90d".
const SettingRetention = "retention"

// judgeTenant refuses a tenant out of a file that no user could have made: its name,
// display name and settings are held to the rules of those that are typed.
func judgeTenant(t backup.Tenant) error {
	if slug, err := registry.Slug(t.Slug); err != nil {
		return err
	} else if slug != t.Slug {
		return fmt.Errorf("%q is no name of a tenant", t.Slug)
	}
	settings := map[string]json.RawMessage{}
	if len(t.Settings) > 0 {
		if err := json.Unmarshal(t.Settings, &settings); err != nil {
			return fmt.Errorf("its settings: %w", err)
		}
	}
	for key, value := range settings {
		if key == "" || strings.ContainsFunc(key, registry.Invisible) {
			return fmt.Errorf("%q is no name of a setting", key)
		}
		if key != SettingRetention {
			continue
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return fmt.Errorf("its setting %s is no text", key)
		}
		if _, err := config.ParseDuration(text); err != nil {
			return fmt.Errorf("its setting %s: %w", key, err)
		}
	}
	return nil
}
