package app_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// openCRM opens what lasts as long as the test.
func openCRM(t *testing.T, a *app.App, o app.CRMOptions) *app.CRM {
	t.Helper()
	c := a.OpenCRM(o)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// mails returns the addresses of a tenant's contacts.
func mails(ctx context.Context, c *app.CRM, tenant string) (out []string, err error) {
	err = c.Read(ctx, tenant, func(ctx context.Context, r *crm.Reader) error {
		found, _, err := r.Contacts(ctx, crm.Page{})
		for _, one := range found {
			out = append(out, one.Email)
		}
		return err
	})
	slices.Sort(out)
	return out, err
}

func addContact(ctx context.Context, c *app.CRM, tenant string, change crm.ContactChange) (made crm.Contact, err error) {
	err = c.Write(ctx, app.CRMWrite{Tenant: tenant, Do: func(ctx context.Context, w *crm.Writer) error {
		made, err = w.AddContact(ctx, change)
		return err
	}})
	return made, err
}

func rename(t *testing.T, a *app.App, from, to string, schema bool) {
	t.Helper()
	_, err := a.RenameTenant(t.Context(), app.RenameOptions{MoveOptions: app.MoveOptions{Tenant: from,
		LockTimeout: time.Minute}, To: to, Schema: schema})
	if err != nil {
		t.Error(err)
	}
}

// What is kept of tenants is out of date as soon as it is read, and nothing follows the
// registry: still each name means who has it now, in the states in which that may be.
func TestCRMIsNeverBehind(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		for _, schemas := range []bool{false, true} { // which are renamed too, or not
			t.Run(fmt.Sprintf("registry elsewhere %t schemas %t", away, schemas), func(t *testing.T) {
				t.Parallel()
				f := fleettest.New(t)
				f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
				a, _ := open(t, f, "")
				if away {
					a.Registry = elsewhere(t, f)
				}
				crmNeverBehind(t, a, openCRM(t, a, app.CRMOptions{MaxAge: time.Hour}), schemas)
			})
		}
	}
}

func crmNeverBehind(t *testing.T, a *app.App, c *app.CRM, schemas bool) {
	t.Helper()
	ctx := t.Context()
	add := func(tenant, mail string) error {
		_, err := addContact(ctx, c, tenant, crm.ContactChange{Email: &mail})
		return err
	}
	want := func(tenant string, want ...string) {
		t.Helper()
		if got, err := mails(ctx, c, tenant); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", tenant, got, err, want)
		}
	}
	if err := errors.Join(add("acme", "a@example.com"), add("globex", "g@example.com")); err != nil {
		t.Fatal(err)
	}
	rename(t, a, "acme", "initech", schemas)
	if err := add("acme", "lost@example.com"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("written under a name that nobody has: %v", err)
	}
	if _, err := mails(ctx, c, "acme"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("read under a name that nobody has: %v", err)
	}
	want("initech", "a@example.com")
	want("globex", "g@example.com")
	// Another has the name, and perhaps the schema's name.
	rename(t, a, "globex", "acme", schemas)
	if err := add("acme", "g2@example.com"); err != nil {
		t.Error(err)
	}
	want("acme", "g2@example.com", "g@example.com")
	want("initech", "a@example.com")
	// Names change hands between two reads.
	rename(t, a, "initech", "swap", schemas)
	rename(t, a, "acme", "initech", schemas)
	rename(t, a, "swap", "acme", schemas)
	want("acme", "a@example.com")
	want("initech", "g2@example.com", "g@example.com")

	state := func(do func(context.Context, app.MoveOptions) (registry.Tenant, error)) {
		t.Helper()
		if _, err := do(ctx, app.MoveOptions{Tenant: "acme", LockTimeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, is registry.Status) {
		t.Helper()
		if e, ok := errors.AsType[*registry.StateError](err); !ok || e.State != is {
			t.Errorf("%v; want one that is %s", err, is)
		}
	}
	state(a.SuspendTenant)
	refused(add("acme", "x@example.com"), registry.Suspended)
	want("acme", "a@example.com")
	state(a.ActivateTenant)
	if err := add("acme", "b@example.com"); err != nil {
		t.Error(err)
	}
	state(func(ctx context.Context, o app.MoveOptions) (registry.Tenant, error) {
		done, err := a.DeleteTenant(ctx, app.DeleteOptions{MoveOptions: o})
		return done.Tenant, err
	})
	refused(add("acme", "x@example.com"), registry.Deleted)
	_, err := mails(ctx, c, "acme")
	refused(err, registry.Deleted)
	state(func(ctx context.Context, o app.MoveOptions) (registry.Tenant, error) {
		back, _, err := a.UndeleteTenant(ctx, o)
		return back, err
	})
	want("acme", "a@example.com", "b@example.com")
}

// Many read and write while the tenants get each other's names, are suspended and deleted:
// each change is in the tenant that had the name, and in a state in which it may be.
func TestCRMWhileTenantsMove(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "c")
	// Rows are numbered while the tenant's row is locked.
	f.Exec(t, "alter table public.tenant_events add column nth bigserial")
	a, _ := open(t, f, "")
	c := openCRM(t, a, app.CRMOptions{Connections: 4, PerTenant: 2, MaxAge: time.Hour, Tenants: 2, Follow: true})
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var added atomic.Int64
	for range 6 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil || added.Load() < 30; i++ {
				name := []string{"a", "b", "c"}[rand.N(3)]
				_, err := addContact(t.Context(), c, name, crm.ContactChange{Name: new("X")})
				if err == nil {
					added.Add(1)
				} else if !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrState) {
					t.Error(err)
				}
				_, err = mails(t.Context(), c, name)
				if err != nil && !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, registry.ErrState) {
					t.Error(err)
				}
			}
		})
	}
	for i := range 8 {
		schemas := i%2 == 0
		rename(t, a, "a", "x", schemas)
		rename(t, a, "b", "a", schemas)
		rename(t, a, "x", "b", schemas)
		o := app.MoveOptions{Tenant: "c", LockTimeout: time.Minute}
		_, suspended := a.SuspendTenant(ctx, o)
		_, activated := a.ActivateTenant(ctx, o)
		_, deleted := a.DeleteTenant(ctx, app.DeleteOptions{MoveOptions: o})
		_, _, undeleted := a.UndeleteTenant(ctx, o)
		if err := errors.Join(suspended, activated, deleted, undeleted); err != nil {
			t.Error(err)
		}
	}
	stop()
	all.Wait()
	total := int64(0)
	for _, is := range tenants {
		var schema string
		f.Scan(t, []any{&schema}, "select schema_name from public.tenants where id = $1", is.ID)
		total += f.Int(t, "select count(*) from "+db.Quoted(schema, "contacts"))
		// Who had the name, and in which state, by the last move before.
		if n := f.Int(t, `select count(*) from public.tenant_events e
			left join lateral (select m.after ->> 'slug' as slug from public.tenant_events m where m.tenant_id = e.tenant_id
				and m.nth < e.nth and m.after ? 'slug' order by m.nth desc limit 1) named on true
			left join lateral (select m.after ->> 'status' as status from public.tenant_events m where
				m.tenant_id = e.tenant_id and m.nth < e.nth and m.after ? 'status' order by m.nth desc limit 1) state on true
			where e.tenant_id = $1 and e.action = 'edit' and (named.slug <> e.slug or state.status <> 'active'
				or not exists (select from `+db.Quoted(schema, "contacts")+` c where c.id::text = e.detail ->> 'id'))`,
			is.ID); n != 0 {
			t.Errorf("%d changes in another tenant than was named, or in another state", n)
		}
	}
	if total != added.Load() || total == 0 {
		t.Errorf("%d contacts, %d were added", total, added.Load())
	}
}

// A tenant has its share of the connections, and leaves the others to others.
func TestCRMShares(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	a, _ := open(t, f, "")
	c := openCRM(t, a, app.CRMOptions{Connections: 2})
	err := c.Read(t.Context(), "ACME", func(ctx context.Context, _ *crm.Reader) error {
		if _, err := mails(ctx, c, "globex"); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := mails(ended, c, "acme")
		if wait, ok := errors.AsType[*db.WaitError](err); !ok || !wait.Share || wait.Purpose != "acme" || wait.Limit != 1 {
			t.Errorf("the same tenant: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// region returns which country a tenant's numbers are from, as far as is known: it is looked
// up with the tenant, and nothing makes sure of it later.
func region(t *testing.T, c *app.CRM, tenant string) string {
	t.Helper()
	made, err := addContact(t.Context(), c, tenant, crm.ContactChange{Phone: new("030 1234567")})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"+49301234567": "DE", "+390301234567": "IT", "0301234567": ""}[made.Phone]
}

// What was looked up is used again, until it is too old or a change of the registry is heard
// of; no longer because who listens was cut off, and not heard through a pooler.
func TestCRMHears(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	var later atomic.Int64
	direct, _ := open(t, f, "")
	direct.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	pooled := *direct
	behind := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	pooled.Connect, pooled.Direct, pooled.Unchecked = behind.Dial, behind.Dial, behind.Dial
	set := func(country string) {
		t.Helper()
		if _, err := direct.SetTenant(t.Context(), app.MoveOptions{Tenant: "acme", LockTimeout: time.Minute},
			map[string]any{"region": country}); err != nil {
			t.Fatal(err)
		}
	}
	listens := func() (pid int64) {
		return f.Int(t, `select coalesce(max(pid), 0) from pg_stat_activity where datname = current_database()
			and query = 'listen crmctl_tenants'`)
	}
	for name, a := range map[string]*app.App{"alone": direct, "pooled": &pooled} {
		c := openCRM(t, a, app.CRMOptions{MaxAge: time.Hour, Follow: name == "pooled"})
		set("DE")
		if got := region(t, c, "acme"); got != "DE" {
			t.Errorf("%s: %q at first", name, got)
		}
		set("IT")
		if got := region(t, c, "acme"); got != "DE" {
			t.Errorf("%s: %q is not what was looked up", name, got)
		}
		later.Add(int64(time.Hour))
		if got := region(t, c, "acme"); got != "IT" {
			t.Errorf("%s: %q after an hour", name, got)
		}
	}
	if listens() != 0 {
		t.Error("something listens through a pooler")
	}
	c := openCRM(t, direct, app.CRMOptions{MaxAge: time.Hour, Follow: true})
	hears := func() (pid int64) {
		t.Helper()
		for pid == 0 {
			pid = listens()
		}
		for _, country := range []string{"IT", "DE", "IT"} {
			region(t, c, "acme") // looks it up, perhaps
			set(country)
			for region(t, c, "acme") != country { // a notification comes soon, and not at once
				t.Log("not yet")
			}
		}
		return pid
	}
	former := hears()
	f.Exec(t, fmt.Sprintf("select pg_terminate_backend(%d, 10000)", former))
	set("DE") // perhaps nobody hears it
	if hears() == former {
		t.Error("the session was not ended")
	}
	c.Close(t.Context())
	for listens() != 0 { // the server may need a moment
		t.Log("not yet")
	}
}

// Connections that were lost while nobody used them are not noticed.
func TestCRMAfterARestart(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	a, _ := open(t, f, "")
	c := openCRM(t, a, app.CRMOptions{Connections: 3, PerTenant: 3})
	nested := func() error { // three connections
		return c.Read(t.Context(), "acme", func(ctx context.Context, _ *crm.Reader) error {
			return c.Read(ctx, "acme", func(ctx context.Context, _ *crm.Reader) error {
				_, err := mails(ctx, c, "acme")
				return err
			})
		})
	}
	if err := nested(); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, `select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	if _, err := addContact(t.Context(), c, "acme", crm.ContactChange{Name: new("X")}); err != nil {
		t.Error(err)
	}
	if err := nested(); err != nil {
		t.Error(err)
	}
	c.Close(t.Context())
	if _, err := mails(t.Context(), c, "acme"); !errors.Is(err, db.ErrPoolClosed) {
		t.Errorf("closed: %v", err)
	}
}

// While somebody is asked whether a person is to be erased, the tenant's schema goes to
// another tenant: nothing of that one is erased.
func TestEraseAfterASwap(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	for _, s := range []string{"tenant_acme", "tenant_globex"} {
		f.Exec(t, "insert into "+s+".contacts (email) values ('ann@example.com')")
	}
	a, _ := open(t, f, "")
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "key")
	address, err := crm.ParseAddress("ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	only, err := app.Select([]string{"acme"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.ErasePerson(t.Context(), app.PersonOptions{Selection: only, Address: address, Concurrency: 1,
		LockTimeout: time.Minute, Confirm: func(app.PersonResult) error {
			rename(t, a, "acme", "initech", true)
			rename(t, a, "globex", "acme", true)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if _, renamed := errors.AsType[*registry.RenamedError](got.Results[0].Err); !renamed || got.Tenants[0].Erased {
		t.Errorf("%+v", got.Results[0])
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts where email = 'ann@example.com'"); n != 1 {
		t.Errorf("%d contacts of the other tenant", n)
	}
}

// TestCRMAfterAPanic: what panics within a call keeps no connection.
func TestCRMAfterAPanic(t *testing.T) {
	t.Parallel()
	_, a := withAcme(t)
	c := openCRM(t, a, app.CRMOptions{Connections: 1})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = c.Read(t.Context(), "acme", func(context.Context, *crm.Reader) error { panic("a fault of the caller") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := mails(ctx, c, "acme"); err != nil {
		t.Error(err)
	}
}
