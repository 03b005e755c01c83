package app_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// annIn puts Ann, with a conversation, and Bob into schemas.
func annIn(t *testing.T, f *fleettest.Fleet, schemas ...string) {
	t.Helper()
	for _, s := range schemas {
		f.Exec(t, "insert into "+s+".contacts (email, name) values ('ann@example.com', 'Ann'), ('bob@example.com', 'Bob')",
			"insert into "+s+".conversations (contact_id, channel) select id, 'email' from "+s+".contacts where name = 'Ann'",
			"insert into "+s+".messages (conversation_id, direction, content) select id, 'inbound', 'hello' from "+s+
				".conversations")
	}
}

// anns counts the contacts of a schema that are Ann's.
func anns(t *testing.T, f *fleettest.Fleet, schema string) int64 {
	t.Helper()
	return f.Int(t, "select count(*) from "+schema+".contacts where to_jsonb(contacts)::text ilike '%ann@example.com%'")
}

// people is a fleet with Ann in every tenant, and an application with a place for its key.
func people(t *testing.T, slugs ...string) (*fleettest.Fleet, *app.App) {
	t.Helper()
	f := fleettest.New(t)
	for _, tenant := range f.Create(t, fleettest.TenantPlan(t, 0), slugs...) {
		annIn(t, f, tenant.Schema.Quoted())
	}
	a, _ := open(t, f, "")
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	return f, a
}

func ann(t *testing.T, s *app.Selection) app.PersonOptions {
	t.Helper()
	address, err := crm.ParseAddress("ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	return app.PersonOptions{Selection: s, Address: address, Concurrency: 2, LockTimeout: 5 * time.Second}
}

// eraseAnn erases Ann everywhere, which must succeed.
func eraseAnn(t *testing.T, a *app.App) app.PersonResult {
	t.Helper()
	out, err := a.ErasePerson(t.Context(), ann(t, all(t)))
	if err != nil {
		t.Fatal(err)
	}
	done(t, out.Results)
	return out
}

// wantAudited checks that a number of tenants has one row about an erasure each, which does
// not say whose.
func wantAudited(t *testing.T, f *fleettest.Fleet, tenants int64) {
	t.Helper()
	var rows, of, named int64
	f.Scan(t, []any{&rows, &of, &named}, `select count(*), count(distinct tenant_id),
		count(*) filter (where to_jsonb(e)::text ~* 'ann|example\.com') from public.tenant_events e where action = 'erase'`)
	if rows != tenants || of != tenants || named != 0 {
		t.Errorf("%d rows of the audit about %d tenants, %d with the name; want one for each of %d", rows, of, named, tenants)
	}
	if n := f.Int(t, "select count(*) from public.tenant_erasures e where to_jsonb(e)::text ~* 'ann|example'"); n != 0 {
		t.Errorf("%d rows of the erasures name the person", n)
	}
}

// Whoever is erased goes from tenants of every state. One on its way to another database
// is a failure: it cannot be said what it has.
func TestErasedInEveryState(t *testing.T) {
	t.Parallel()
	states := []string{"active", "suspended", "deleted", "gone", "moved", "leaving", "incoming"}
	f, a := people(t, states...)
	for _, s := range states {
		f.Exec(t, `update public.tenants set status = slug, deleted_at = case slug when 'deleted' then now() end,
			purge_after = case slug when 'deleted' then now() + interval '9 days' end where slug = '`+s+"'")
	}
	out, err := a.ErasePerson(t.Context(), ann(t, all(t)))
	if err != nil {
		t.Fatal(err)
	}
	for i, of := range out.Tenants {
		slug := of.Tenant.Slug
		_, refused := errors.AsType[*registry.StateError](out.Results[i].Err)
		travels := slug == "leaving" || slug == "incoming"
		if left := anns(t, f, "tenant_"+slug); refused != travels || (left == 1) != travels || of.Erased == travels {
			t.Errorf("%s: %d contacts, erased %t, %v", slug, left, of.Erased, out.Results[i].Err)
		}
	}
	wantAudited(t, f, 5)
	if _, _, err := a.UndeleteTenant(t.Context(), app.MoveOptions{Tenant: "deleted", LockTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select count(*) from tenant_deleted.contacts"); n != 1 {
		t.Errorf("%d contacts after undelete, want Bob", n)
	}
}

// A tenant that is locked is a failure, the others are done, and the same call does the rest.
func TestEraseBesideALock(t *testing.T) {
	t.Parallel()
	for step, lock := range map[string]string{"search": "access exclusive", "erasure": "exclusive"} {
		f, a := people(t, "a", "b", "c")
		holder := f.Connect(t)
		if _, err := holder.Exec(t.Context(), "begin; lock table tenant_b.contacts in "+lock+" mode"); err != nil {
			t.Fatal(err)
		}
		o := ann(t, all(t))
		o.LockTimeout = 50 * time.Millisecond
		out, err := a.ErasePerson(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range out.Results {
			if (r.State == fleet.Failed) != (i == 1) || i == 1 && db.SQLState(r.Err) != db.CodeLockNotAvailable {
				t.Errorf("%s, tenant %d: %+v", step, i, r)
			}
		}
		wantAudited(t, f, 2)
		if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
			t.Fatal(err)
		}
		eraseAnn(t, a)
		wantAudited(t, f, 3)
		if n := anns(t, f, "tenant_b"); n != 0 {
			t.Errorf("%s: %d contacts stay", step, n)
		}
	}
}

// Two erasures of one person at once, behind a pooler too, end well, and each tenant is
// recorded once.
func TestErasedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	slugs := fleettest.Names(8)
	f, a := people(t, slugs...)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	b, _ := open(t, pooled, "")
	b.Config.ErasureKeyFile = a.Config.ErasureKeyFile
	// They start erasing together: both have found her everywhere.
	both, results := make(chan struct{}, 2), make(chan error, 2)
	for _, one := range []*app.App{a, b} {
		go func() {
			o := ann(t, all(t))
			o.Confirm = func(app.PersonResult) error {
				both <- struct{}{}
				for end := time.Now().Add(20 * time.Second); len(both) < 2 && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				return nil
			}
			out, err := one.ErasePerson(t.Context(), o)
			if s := out.Summary(); err == nil && !s.Whole() {
				err = s.First()
			}
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	wantAudited(t, f, int64(len(slugs)))
	if n := f.Int(t, "select count(*) from public.tenant_erasures"); n != 1 {
		t.Errorf("%d erasures, want one of all tenants", n)
	}
}

// A search of a fleet leaves few entries in pg_stat_statements, and neither they nor the
// server's log have the address.
func TestPersonLeavesFewTraces(t *testing.T) {
	t.Parallel()
	if n := fleettest.New(t).Int(t, "select count(*) from pg_available_extensions where name = "+
		"'pg_stat_statements'"); n == 0 {
		t.Skip("the server has no pg_stat_statements")
	}
	server, _ := pgtest.Instance(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "fsync": "off",
		"log_statement": "all"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Exec(t, "create extension pg_stat_statements")
	tenants := f.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(60)...)
	for _, tenant := range tenants {
		f.Exec(t, "create table "+tenant.Schema.Quoted()+".subscribers (mail text)")
	}
	annIn(t, f, tenants[7].Schema.Quoted())
	a, _ := open(t, f, "")
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	log := func() string {
		text, err := os.ReadFile(server.LogFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := len(log())
	f.Exec(t, "select pg_stat_statements_reset()")
	o := ann(t, all(t))
	o.Rows = true
	out, err := a.FindPerson(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	done(t, out.Results)
	eraseAnn(t, a)
	text := log()[before:]
	n := f.Int(t, "select count(*) from pg_stat_statements")
	t.Logf("%d entries", n)
	if n > 60 {
		t.Errorf("%d entries after a search of 60 tenants:\n%s", n, strings.Join(texts(t, f, `select left(query, 100)
			from pg_stat_statements order by 1`), "\n"))
	}
	if n := f.Int(t, "select count(*) from pg_stat_statements where query ~* 'ann@|example.com'"); n != 0 {
		t.Errorf("%d entries have the address", n)
	}
	if strings.Contains(strings.ToLower(text), "ann@") || !strings.Contains(text, "crmctl_answer") {
		at := max(strings.Index(strings.ToLower(text), "ann@"), 0)
		t.Errorf("the log has the address, or nothing:\n%s", text[max(at-600, 0):min(at+100, len(text))])
	}
}

func texts(t *testing.T, f *fleettest.Fleet, sql string) []string {
	t.Helper()
	var out []string
	f.Scan(t, []any{&out}, "select array(select x::text from ("+sql+") q(x))")
	return out
}

// Tables of an application, in which there is more, less or something else than in ours.
func TestPersonInOtherTables(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.Plan(t, fleettest.Files(map[string]string{"1_x.sql": "-- +goose Up\nselect 1;"})), "bigint",
		"none", "mails", "refers", "keeps", "hides")
	f.Exec(t, `create table tenant_bigint.contacts (id bigserial primary key, email varchar(99), vip bool)`,
		`create table tenant_bigint.orders (id int, customer_email text, contact bigint references tenant_bigint.contacts
			on delete cascade)`,
		`insert into tenant_bigint.contacts (email) values ('ANN@example.com'), ('bob@example.com')`,
		`insert into tenant_bigint.orders values (1, 'bob@example.com', 1), (2, 'Ann@Example.com', 2)`,
		`create table tenant_mails.contacts (id int, work_email text)`,
		`insert into tenant_mails.contacts values (1, 'ann@example.com')`,
		`create table tenant_refers.contacts (id int primary key, email text)`,
		`create table tenant_refers.orders (contact int references tenant_refers.contacts)`,
		`insert into tenant_refers.contacts values (1, 'ann@example.com')`,
		`insert into tenant_refers.orders values (1)`,
		`create table tenant_keeps.contacts (id int, email text)`,
		`create rule never as on delete to tenant_keeps.contacts do instead nothing`,
		`insert into tenant_keeps.contacts values (1, 'ann@example.com')`,
		`create table tenant_hides.contacts (id int, email text)`,
		`create function tenant_hides.no() returns trigger language plpgsql as 'begin return null; end'`,
		`create trigger no before delete on tenant_hides.contacts for each row execute function tenant_hides.no()`,
		`insert into tenant_hides.contacts values (1, 'ann@example.com')`)
	a, _ := open(t, f, "")
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	out, err := a.ErasePerson(t.Context(), ann(t, all(t)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, of := range out.Tenants {
		h, failed := of.Held, ""
		switch err := out.Results[i].Err; {
		case errors.Is(err, crm.ErrStays):
			failed = " stays"
		case err != nil:
			failed = " " + db.SQLState(err)
		}
		got = append(got, fmt.Sprintf("%s %d %d %t%s", of.Tenant.Slug, h.Contacts, h.Others, of.Erased, failed))
	}
	want := "bigint 1 1 true, hides 1 0 false stays, keeps 1 0 false stays, mails 0 1 false, none 0 0 false, " +
		"refers 1 0 false 23503"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	wantAudited(t, f, 1)
	if n := f.Int(t, "select count(*) from tenant_bigint.orders"); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// personAsOwner finds and erases a person as a role that is a member of the tenants' owner.
func personAsOwner(t *testing.T, f *fleettest.Fleet, a *app.App, role string) {
	t.Helper()
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	var schemas []string
	for _, s := range texts(t, f, "select schema_name from public.tenants") {
		schemas = append(schemas, db.Quoted(s))
	}
	annIn(t, f, schemas...)
	found, err := a.FindPerson(t.Context(), ann(t, all(t)))
	if held, n := found.Total(); err != nil || n != len(schemas) || held.Messages != int64(n) {
		t.Errorf("%+v of %d tenants, %v", held, n, err)
	}
	eraseAnn(t, a)
	wantAudited(t, f, int64(len(schemas)))
	if n := f.Int(t, "select count(*) from public.tenant_events where action = 'erase' and detail ->> 'role' = $1 and "+
		"slug = 'acme'", role); n != 1 {
		t.Errorf("%d rows of the audit name role %s", n, role)
	}
}
