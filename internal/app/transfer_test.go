package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tablespace"
	"github.com/crmctl/crmctl/internal/tenant"
)

// transferEnv makes this test binary the process that is killed: the step at which it waits
// for that, and the two databases, on a line each.
const transferEnv = "CRMCTL_TEST_TRANSFER_CHILD"

// In the middle of the copy and of the comparison, which are no steps of their own.
const (
	midCopy    = "transfer"
	midCompare = "compare"
)

// transferChild transfers a tenant as far as it is told, says so, and waits to be killed.
func transferChild() int {
	parts := strings.Split(os.Getenv(transferEnv), "\n")
	wait := func(at string) {
		if at == parts[0] {
			fmt.Println("there")
			select {}
		}
	}
	cfg, err := config.Load(config.Sources{Apart: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	both := [2]*app.App{}
	for i := range both {
		f := &fleettest.Fleet{DSN: parts[i+1]}
		both[i] = app.New(app.App{Config: cfg, Registry: registry.Default(), Connect: f.Dial, Actor: "child",
			Notify: func(n app.Notice) {
				if s, is := n.(app.TransferStep); is {
					wait(s.Step)
				}
			},
			Bytes: func(verb string) (func(int64), func()) { return func(int64) { wait(verb) }, func() {} }})
	}
	_, err = both[0].TransferTenant(context.Background(), transferTo(both[1]))
	fmt.Println("not killed:", err)
	return 1
}

func transferTo(to *app.App) app.TransferOptions {
	return app.TransferOptions{To: to, MoveOptions: app.MoveOptions{Tenant: "acme", LockTimeout: 10 * time.Second}}
}

// killTransfer kills a transfer, the hard way, at a step.
func killTransfer(t *testing.T, step string, from, to *fleettest.Fleet) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), transferEnv+"="+step+"\n"+from.DSN+"\n"+to.DSN)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != "there\n" {
		t.Fatalf("%s: the child said %q", step, line)
	}
	for _, f := range []*fleettest.Fleet{from, to} {
		for end := time.Now().Add(20 * time.Second); f.Int(t, `select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'crmctl' and state <> 'idle'
				and pid <> pg_backend_pid()`) > 0; {
			if time.Now().After(end) {
				var left string
				f.Scan(t, []any{&left}, `select string_agg(concat_ws(' ', state, wait_event, query), '; ')
					from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
				t.Fatalf("%s: sessions of the killed process stay: %s", step, left)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// standing returns the status of acme in a registry, "none" where it is not there.
func standing(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var is string
	f.Scan(t, []any{&is}, "select coalesce((select status from public.tenants where slug = 'acme'), 'none')")
	return is
}

// owners returns in how many of two registries the tenant is somebody's.
func owners(here, there string) (n int) {
	for _, s := range []string{here, there} {
		if s != "none" && s != "incoming" && s != "moved" {
			n++
		}
	}
	return n
}

// twoServers returns a fleet with a tenant that has rows of every kind, and a server with
// an empty registry.
func twoServers(t *testing.T) (from, to *fleettest.Fleet, a, b *app.App) {
	t.Helper()
	from = fleettest.New(t)
	server, _ := pgtest.Second(t)
	to = &fleettest.Fleet{DSN: server.DSN}
	to.Registry(t)
	a, _ = open(t, from, "")
	b, _ = open(t, to, "")
	if _, err := a.SeedTenant(t.Context(), app.SeedOptions{Tenant: "acme", Contacts: 300, RandSeed: 7}); err != nil {
		t.Fatal(err)
	}
	return from, to, a, b
}

// digest is what a tenant holds, but for nothing.
func digest(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var out, one string
	for _, table := range []string{"contacts", "companies", "conversations", "messages", "goose_db_version"} {
		if f.Int(t, "select count(*) from pg_class where oid = to_regclass('tenant_acme."+table+"')") == 0 {
			continue
		}
		f.Scan(t, []any{&one}, "select count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' order by r::text)), '') from "+
			"tenant_acme."+table+" r")
		out += table + " " + one + "\n"
	}
	return out
}

// TestTransferIsKilledAnywhere kills a transfer between two servers at each of its steps: there is
// one owner at any time, and the same call goes on to the end; before the hand-over it can be given up
// as well.
func TestTransferIsKilledAnywhere(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	ctx, want := t.Context(), digest(t, from)
	const moved = "moved incoming"
	for _, c := range []struct{ step, here, there string }{
		{app.StepLeaving, "leaving", "none"},
		{midCopy, "leaving", "none"},
		{app.StepCopied, "leaving", "incoming"},
		{midCompare, "leaving", "incoming"},
		{app.StepCompared, "leaving", "incoming"},
		{app.StepMoved, "moved", "incoming"},
	} {
		killTransfer(t, c.step, from, to)
		here, there := standing(t, from), standing(t, to)
		if here != c.here || there != c.there {
			t.Fatalf("killed at %s: %s here, %s there", c.step, here, there)
		}
		if n := owners(here, there); n != 1 && here+" "+there != moved {
			t.Errorf("killed at %s: %d owners", c.step, n)
		}
		wantPlaced(t, map[bool]int{true: 1}[c.here == "moved"], a, b)
		abort := transferTo(b)
		abort.Abort = true
		gaveUp, err := a.TransferTenant(ctx, abort)
		if c.here == "moved" {
			if !errors.Is(err, registry.ErrState) || standing(t, from) != "moved" {
				t.Errorf("a tenant that has moved was called back: %v", err)
			}
		} else {
			if err != nil || gaveUp.Tenant.Status != registry.Active || standing(t, from) != "active" ||
				standing(t, to) != "none" {
				t.Fatalf("given up at %s: %v, %s here, %s there", c.step, err, standing(t, from), standing(t, to))
			}
			killTransfer(t, c.step, from, to)
		}
		done, err := a.TransferTenant(ctx, transferTo(b))
		if err != nil || standing(t, from) != "moved" || standing(t, to) != "active" || done.Rows < 300 {
			t.Fatalf("gone on from %s: %v, %s here, %s there, %d rows", c.step, err, standing(t, from), standing(t, to),
				done.Rows)
		}
		wantPlaced(t, 1, a, b)
		if got := digest(t, to); got != want {
			t.Errorf("gone on from %s:\n%s\nwant\n%s", c.step, got, want)
		}
		again, err := a.TransferTenant(ctx, transferTo(b))
		if err != nil || again.Tenant.Status != registry.Active || again.Rows != done.Rows {
			t.Errorf("again after %s: %+v, %v", c.step, again, err)
		}
		putBack(t, from, to)
	}
}

// wantPlaced checks that acme lives in one of two databases, as a router is told.
func wantPlaced(t *testing.T, in int, apps ...*app.App) {
	t.Helper()
	p, away, err := app.Placement(t.Context(), apps)
	if err != nil || len(away) != 0 || len(p.Databases) != 2 || len(p.Tenants) != 1 || p.Tenants[0].Database != in {
		t.Errorf("placed: %+v, away: %+v, %v", p.Tenants, away, err)
	}
}

// putBack makes the tenant one of the first registry again, by hand.
func putBack(t *testing.T, from, to *fleettest.Fleet) {
	t.Helper()
	from.Exec(t, "update public.tenants set status = 'active'", "delete from public.tenant_transfers")
	to.Exec(t, "delete from public.tenants", "drop schema tenant_acme cascade")
}

// TestTransferRefuses names what stands in the way of a transfer, and each leaves the tenant open here and
// nothing there.
func TestTransferRefuses(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	ctx := t.Context()
	refused := func(name string, b *app.App, target error, text string) {
		t.Helper()
		there := standing(t, to)
		_, err := a.TransferTenant(ctx, transferTo(b))
		if err == nil || target != nil && !errors.Is(err, target) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
		if standing(t, from) != "active" || standing(t, to) != there {
			t.Errorf("%s: %s here, %s there", name, standing(t, from), standing(t, to))
		}
	}
	same, _ := open(t, from, "")
	refused("the same database", same, nil, "the same database")

	empty, _ := open(t, &fleettest.Fleet{DSN: pgtest.Empty(t)}, "")
	refused("no registry", empty, registry.ErrNoRegistry, "")

	older, _ := open(t, to, files(t, map[string]string{"1_a.sql": "create table contacts (id int primary key);"}))
	refused("other migrations", older, backup.ErrMismatch, "at version 4, and the migrations there end at 1")

	if _, err := b.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme")}); err != nil {
		t.Fatal(err)
	}
	refused("a tenant of the name", b, registry.ErrExists, `tenant "acme" exists`)
	to.Exec(t, "delete from public.tenants")
	refused("a schema of the name", b, registry.ErrExists, "schema tenant_acme exists")
	to.Exec(t, "drop schema tenant_acme cascade")

	to.Exec(t, "create role poor login", "grant all on all tables in schema public to poor")
	poor, _ := open(t, &fleettest.Fleet{DSN: asRole(t, to, "poor")}, "")
	refused("no right to create", poor, nil, "may not create schemas: grant create on database")

	from.Exec(t, "create table tenant_acme.notes (id int, text text)", "insert into tenant_acme.notes values (1, 'x')")
	done, err := a.TransferTenant(ctx, transferTo(b))
	if err != nil || to.Int(t, "select count(*) from tenant_acme.notes") != 1 {
		t.Errorf("a table of the tenant's own: %+v, %v", done, err)
	}
}

// asRole returns the address of a database for another role.
func asRole(t *testing.T, f *fleettest.Fleet, role string) string {
	t.Helper()
	cfg := f.Connect(t).Config()
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s", cfg.Host, cfg.Port, cfg.Database, role)
}

// TestTransferNoticesWrites: what an application that does not look at the registry writes after the copy is
// found, and the tenant stays here. Its moves wait for nobody: what is on its way is left alone.
func TestTransferNoticesWrites(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	ctx := t.Context()
	first := true
	a.Notify = func(n app.Notice) {
		if s, is := n.(app.TransferStep); !is || s.Step != app.StepCopied || !first {
			return
		}
		first = false
		for name, move := range map[string]func(*app.App, context.Context, app.MoveOptions) (registry.Tenant, error){
			"activate": (*app.App).ActivateTenant, "suspend": (*app.App).SuspendTenant,
		} {
			if _, err := move(a, ctx, app.MoveOptions{Tenant: "acme"}); !errors.Is(err, registry.ErrState) {
				t.Errorf("%s of a tenant that leaves: %v", name, err)
			}
			if _, err := move(b, ctx, app.MoveOptions{Tenant: "acme"}); !errors.Is(err, registry.ErrState) {
				t.Errorf("%s of a copy: %v", name, err)
			}
		}
		if _, err := b.DeleteTenant(ctx, app.DeleteOptions{MoveOptions: app.MoveOptions{Tenant: "acme"}}); !errors.Is(err,
			registry.ErrState) {
			t.Errorf("delete of a copy: %v", err)
		}
		from.Exec(t, "update tenant_acme.contacts set name = 'late' where id = (select min(id::text)::uuid from "+
			"tenant_acme.contacts)")
	}
	_, err := a.TransferTenant(ctx, transferTo(b))
	if !errors.Is(err, backup.ErrDiffers) || !strings.Contains(err.Error(), `rows of table "contacts" differ`) {
		t.Errorf("a row was written meanwhile: %v", err)
	}
	if standing(t, from) != "active" || standing(t, to) != "none" {
		t.Errorf("%s here, %s there", standing(t, from), standing(t, to))
	}
	if done, err := a.TransferTenant(ctx, transferTo(b)); err != nil || done.Tenant.Status != registry.Active {
		t.Errorf("again: %+v, %v", done, err)
	}
}

// TestOvertakenTransfer: two runs are at a transfer; the newer one goes on, and the older one leaves
// everything to it.
func TestOvertakenTransfer(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	ctx := t.Context()
	second, _ := open(t, from, "")
	var done app.TransferResult
	a.Notify = func(n app.Notice) {
		if s, is := n.(app.TransferStep); is && s.Step == app.StepCopied {
			var err error
			if done, err = second.TransferTenant(ctx, transferTo(b)); err != nil {
				t.Errorf("the newer run: %v", err)
			}
		}
	}
	if _, err := a.TransferTenant(ctx, transferTo(b)); err == nil {
		t.Error("both runs have moved the tenant")
	}
	if done.Tenant.Slug != "acme" || standing(t, from) != "moved" || standing(t, to) != "active" {
		t.Errorf("%+v, %s here, %s there", done, standing(t, from), standing(t, to))
	}
}

// TestTransferBehindPoolers goes through a PgBouncer in transaction mode on either side.
func TestTransferBehindPoolers(t *testing.T) {
	t.Parallel()
	from, to, _, _ := twoServers(t)
	want := digest(t, from)
	a, _ := open(t, &fleettest.Fleet{DSN: pgtest.Pooler(t, from.DSN)}, "")
	b, _ := open(t, &fleettest.Fleet{DSN: pgtest.Pooler(t, to.DSN)}, "")
	done, err := a.TransferTenant(t.Context(), transferTo(b))
	if err != nil || done.Rows < 300 || standing(t, from) != "moved" || standing(t, to) != "active" {
		t.Fatalf("%+v, %v, %s here, %s there", done, err, standing(t, from), standing(t, to))
	}
	if got := digest(t, to); got != want {
		t.Errorf("there is\n%s\nwant\n%s", got, want)
	}
}

// TestTwoTransfersAtOnce: whatever two runs at the same moment do to each other, the tenant has one
// owner, and the same call brings it there.
func TestTwoTransfersAtOnce(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	want := digest(t, from)
	for range 3 {
		errs := make(chan error, 2)
		for range cap(errs) {
			go func() {
				_, err := a.TransferTenant(t.Context(), transferTo(b))
				errs <- err
			}()
		}
		one, other := <-errs, <-errs
		p, away, err := app.Placement(t.Context(), []*app.App{a, b})
		if err != nil || len(away) > 0 || len(p.Tenants) != 1 {
			t.Errorf("%v and %v: %+v, %v", one, other, p.Tenants, err)
		}
		if _, err := a.TransferTenant(t.Context(), transferTo(b)); err != nil || standing(t, from) != "moved" ||
			standing(t, to) != "active" {
			t.Fatalf("%v and %v, then %v: %s here, %s there", one, other, err, standing(t, from), standing(t, to))
		}
		if got := digest(t, to); got != want {
			t.Errorf("there is\n%s\nwant\n%s", got, want)
		}
		putBack(t, from, to)
	}
}

// TestTransferToAnotherOwner: what arrives belongs to the role that new tenants belong to there.
func TestTransferToAnotherOwner(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	want := digest(t, from)
	to.DropRoles(t, "crm_app")
	to.Exec(t, "create role crm_app")
	b.Config.TenantOwner = "crm_app"
	if _, err := a.TransferTenant(t.Context(), transferTo(b)); err != nil {
		t.Fatal(err)
	}
	if n := to.Int(t, `select count(*) from pg_class c where c.relnamespace = 'tenant_acme'::regnamespace
		and c.relkind in ('r', 'S') and pg_get_userbyid(c.relowner) <> 'crm_app'`); n != 0 {
		t.Errorf("%d tables belong to another role", n)
	}
	if got := digest(t, to); got != want {
		t.Errorf("there is\n%s\nwant\n%s", got, want)
	}
}

// TestTransferToATablespace: a server without the tenant's tablespace is refused before anything is
// done, unless another is chosen.
func TestTransferToATablespace(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	if _, err := relocate(t, a, pgtest.Tablespace(t, from.DSN), false); err != nil {
		t.Fatal(err)
	}
	slow := pgtest.Tablespace(t, to.DSN)
	var unknown *tablespace.UnknownError
	for _, dryRun := range []bool{true, false} {
		o := transferTo(b)
		o.DryRun = dryRun
		if _, err := a.TransferTenant(t.Context(), o); !errors.As(err, &unknown) || standing(t, from) != "active" ||
			standing(t, to) != "none" {
			t.Errorf("no such tablespace there: %v, %s here, %s there", err, standing(t, from), standing(t, to))
		}
	}
	o := transferTo(b)
	o.Tablespace = slow
	if _, err := a.TransferTenant(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantIn(t, to, "tenant_acme", slow)
}

// TestTransferWithRole takes a suspended tenant with a role: it arrives suspended, its role shut out in both
// places, and what is left of it here can be purged and never opened.
func TestTransferWithRole(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	ctx := t.Context()
	t.Cleanup(func() { from.DropRoles(t, "tenant_roled") })
	if _, err := a.CreateTenants(ctx, app.CreateOptions{Specs: []tenant.Spec{{Slug: "roled", DisplayName: "R",
		Role: true}}}); err != nil {
		t.Fatal(err)
	}
	of := app.MoveOptions{Tenant: "roled", LockTimeout: 10 * time.Second}
	if _, err := a.SuspendTenant(ctx, of); err != nil {
		t.Fatal(err)
	}
	done, err := a.TransferTenant(ctx, app.TransferOptions{MoveOptions: of, To: b})
	if err != nil || done.Tenant.Status != registry.Suspended || done.Tenant.Role != "tenant_roled" {
		t.Fatalf("%+v, %v", done, err)
	}
	const uses = "select has_schema_privilege('tenant_roled', 'tenant_roled', 'usage')::int"
	if from.Int(t, uses) != 0 || to.Int(t, uses) != 0 {
		t.Error("the role gets in")
	}
	if _, err := b.ActivateTenant(ctx, of); err != nil || to.Int(t, uses) != 1 || from.Int(t, uses) != 0 {
		t.Errorf("activate there: %v", err)
	}
	if _, err := a.ActivateTenant(ctx, of); !errors.Is(err, registry.ErrState) {
		t.Errorf("activate here: %v", err)
	}
	deleted, err := a.DeleteTenant(ctx, app.DeleteOptions{MoveOptions: of, Retention: time.Hour, Given: true})
	if err != nil || deleted.Tenant.Status != registry.Deleted {
		t.Fatalf("delete what is left: %v", err)
	}
	if back, _, err := a.UndeleteTenant(ctx, of); err != nil || back.Status != registry.Moved {
		t.Errorf("undelete: %+v, %v", back, err)
	}
}
