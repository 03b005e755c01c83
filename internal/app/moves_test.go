package app_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// TestMoves seeds a tenant and takes it through its states, its names and its settings.
func TestMoves(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	ctx := t.Context()
	of := func(name string) app.MoveOptions { return app.MoveOptions{Tenant: name, LockTimeout: 5 * time.Second} }

	seed := app.SeedOptions{Tenant: "Acme", Contacts: 20, RandSeed: 1, DryRun: true}
	if would, err := a.SeedTenant(ctx, seed); err != nil || !would.Create || would.Slug != "acme" {
		t.Fatalf("seed, dry run: %+v, %v", would, err)
	}
	seed.DryRun = false
	if did, err := a.SeedTenant(ctx, seed); err != nil || did.Contacts != 20 {
		t.Fatalf("seed: %+v, %v", did, err)
	}
	for _, seed.DryRun = range []bool{false, true} {
		if did, err := a.SeedTenant(ctx, seed); !errors.Is(err, app.ErrHasContacts) || !did.There {
			t.Errorf("seed again, dry run %v: %+v, %v", seed.DryRun, did, err)
		}
	}
	if got, err := a.SetTenant(ctx, of("acme"), map[string]any{app.SettingRetention: "2h"}); err != nil ||
		string(got.Settings) != `{"retention":"2h"}` {
		t.Errorf("set: %s, %v", got.Settings, err)
	}
	if got, err := a.SuspendTenant(ctx, of("acme")); err != nil || got.Status != registry.Suspended {
		t.Errorf("suspend: %+v, %v", got, err)
	}
	var state *registry.StateError
	if _, err := a.SeedTenant(ctx, app.SeedOptions{Tenant: "acme", Contacts: 1}); !errors.As(err, &state) {
		t.Errorf("a suspended tenant is filled: %v", err)
	}
	if got, err := a.ActivateTenant(ctx, of("acme")); err != nil || got.Status != registry.Active {
		t.Errorf("activate: %+v, %v", got, err)
	}
	rename := app.RenameOptions{MoveOptions: of("acme"), To: "Globex", Schema: true}
	if got, err := a.RenameTenant(ctx, rename); err != nil || !got.Changed() || got.Before.Slug != "acme" ||
		got.After.Schema.String() != "tenant_globex" {
		t.Errorf("rename: %+v, %v", got, err)
	}
	testDelete(t, a, of("globex"))
}

// testDelete closes a tenant with 20 contacts and a setting of two hours, and brings it back.
func testDelete(t *testing.T, a *app.App, of app.MoveOptions) {
	t.Helper()
	ctx := t.Context()
	refused := errors.New("no")
	o := app.DeleteOptions{MoveOptions: of, Retention: time.Hour, IfExists: true,
		Confirm: func(_ context.Context, c app.Closing) error {
			if c.Retention != 2*time.Hour || !c.Holds.Known || c.Holds.Contacts == nil || *c.Holds.Contacts != 20 {
				t.Errorf("what is asked about: %+v", c)
			}
			return refused
		}}
	if _, err := a.DeleteTenant(ctx, o); !errors.Is(err, refused) {
		t.Errorf("delete that is refused: %v", err)
	}
	o.Confirm, o.Given = nil, true
	got, err := a.DeleteTenant(ctx, o)
	if err != nil || got.Tenant.Status != registry.Deleted || got.Closing.Retention != time.Hour {
		t.Errorf("delete: %+v, %v", got, err)
	}
	if got, err := a.DeleteTenant(ctx, o); err != nil || got.Closing != nil || got.Missing {
		t.Errorf("delete again: %+v, %v", got, err)
	}
	o.Tenant = "nobody"
	if got, err := a.DeleteTenant(ctx, o); err != nil || !got.Missing {
		t.Errorf("delete nobody: %+v, %v", got, err)
	}
	back, newest, err := a.UndeleteTenant(ctx, of)
	if err != nil || back.Status != registry.Active || newest != back.Version {
		t.Errorf("undelete: %+v, %d, %v", back, newest, err)
	}
}

// TestSizes measures, records, and leaves alone what is not valid.
func TestSizes(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	ctx := t.Context()
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme", "globex"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	all, err := app.Select(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := app.SizesOptions{Selection: all, Mode: stats.Exact, Record: true, DryRun: true}
	if got, err := a.Sizes(ctx, o); err != nil || len(got.Report.Tenants) != 2 || got.Recorded != 0 {
		t.Errorf("dry run: %+v, %v", got, err)
	}
	o.DryRun = false
	if got, err := a.Sizes(ctx, o); err != nil || got.Recorded != 2 {
		t.Errorf("record: %+v, %v", got, err)
	}
	f.Exec(t, "update public.tenants set schema_name = 'pg_catalog' where slug = 'acme'")
	if got, err := a.Sizes(ctx, o); err != nil || got.Recorded != 1 || len(got.Invalid) != 1 {
		t.Errorf("with a row that is not valid: %+v, %v", got, err)
	}
}
