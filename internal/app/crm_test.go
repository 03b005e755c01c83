package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// crmLife does all that there is to do with contacts, conversations and messages, and leaves
// the tenant as it was. The name is as somebody types it.
func crmLife(t *testing.T, a *app.App, name string) {
	t.Helper()
	write := func(do func(ctx context.Context, w *crm.Writer) error) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			if err := a.WriteCRM(t.Context(), app.CRMWrite{Tenant: name, DryRun: dry, Do: do}); err != nil {
				t.Fatalf("dry %t: %v", dry, err)
			}
		}
	}
	var ann, other crm.Contact
	var talk crm.Conversation
	write(func(ctx context.Context, w *crm.Writer) (err error) {
		if ann, err = w.AddContact(ctx, crm.ContactChange{Email: new("ann@example.com")}); err != nil {
			return err
		}
		other, err = w.AddContact(ctx, crm.ContactChange{Email: new("ann+x@example.com"), Name: new("Ann")})
		return err
	})
	write(func(ctx context.Context, w *crm.Writer) (err error) {
		if _, err = w.EditContact(ctx, "ann@example.com", crm.ContactChange{Phone: new("+49301234567")}); err != nil {
			return err
		}
		if talk, err = w.OpenConversation(ctx, crm.NewConversation{Contact: ann.ID, Channel: "email"}); err != nil {
			return err
		}
		if _, err = w.AppendMessage(ctx, crm.NewMessage{Conversation: talk.ID, Direction: crm.Inbound,
			Content: "the needle"}); err != nil {
			return err
		}
		if _, err = w.CloseConversation(ctx, talk.ID); err != nil {
			return err
		}
		if _, err = w.ReopenConversation(ctx, talk.ID); err != nil {
			return err
		}
		_, err = w.AssignConversation(ctx, talk.ID, other.ID)
		return err
	})
	err := a.ReadCRM(t.Context(), name, func(ctx context.Context, r *crm.Reader) error {
		hits, err := r.SearchMessages(ctx, "needles", 1)
		if err != nil || len(hits.Rows) != 1 {
			t.Errorf("%+v, %v", hits, err)
		}
		found, _, err := r.FindContacts(ctx, crm.ContactQuery{EmailPrefix: "ANN+", Metadata: []byte("{}")})
		if err != nil || len(found) != 1 {
			t.Errorf("%+v, %v", found, err)
		}
		talks, _, err := r.Conversations(ctx, crm.ConversationQuery{Status: crm.StatusOpen})
		if err != nil || len(talks) != 1 {
			t.Errorf("%+v, %v", talks, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := a.Dedupe(t.Context(), app.DedupeOptions{Tenant: name})
	if err != nil || merged.Groups != 1 || merged.Removed != 1 || merged.ID == 0 {
		t.Fatalf("%+v, %v", merged, err)
	}
	back, err := a.UndoDedupe(t.Context(), app.DedupeUndoOptions{Tenant: name, ID: merged.ID})
	if err != nil || back.Groups != 1 || back.Restored != 1 {
		t.Fatalf("%+v, %v", back, err)
	}
	write(func(ctx context.Context, w *crm.Writer) error {
		for _, id := range []string{ann.ID, other.ID} {
			if _, err := w.RemoveContact(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func crmAsOwner(t *testing.T, f *fleettest.Fleet, a *app.App, role string) {
	t.Helper()
	before := f.Int(t, "select count(*) from tenant_acme.contacts")
	crmLife(t, a, "acme")
	if after := f.Int(t, "select count(*) from tenant_acme.contacts"); after != before {
		t.Errorf("%d contacts, before %d", after, before)
	}
	for _, action := range []string{registry.ActionEdit, registry.ActionDedupe, registry.ActionDedupeUndo} {
		if n := f.Int(t, "select count(*) from public.tenant_events where action = $1 and detail ->> 'role' is "+
			"distinct from $2",
			action, role); n != 0 {
			t.Errorf("%d rows of the audit %s do not name role %s", n, action, role)
		}
	}
	var out bytes.Buffer
	for _, table := range []exporter.Table{exporter.Contacts, exporter.Conversations, exporter.Messages} {
		got, err := a.Export(t.Context(), app.ExportOptions{Selection: all(t), Path: "-", Out: &out,
			Write: exporter.Options{Table: table, Format: exporter.CSV}})
		if err != nil || !got.Written {
			t.Errorf("export %s: %+v, %v", table, got, err)
		}
	}
}

// Behind a pooler in transaction mode everything is as without, and with a registry that
// stands elsewhere; the name of the tenant is taken in any spelling.
func TestCRMBehindAPooler(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	made, err := a.CreateTenants(t.Context(), app.CreateOptions{Specs: specs("acme-corp"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	a.Connect = pooled.Dial
	a.Direct, a.Unchecked = a.Connect, a.Connect
	for _, name := range []string{"acme-corp", "ACME-Corp", "acme-CORP"} {
		crmLife(t, a, name)
	}
	schema, err := db.RegisteredSchema("crmctl")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := registry.In(schema)
	if _, err := a.MoveRegistry(t.Context(), app.RegistryMoveOptions{To: elsewhere, LockTimeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	a.Registry = elsewhere
	crmLife(t, a, "acme-corp")
	if n := f.Int(t, "select count(*) from crmctl.tenant_events where action = 'dedupe_undo'"); n != 4 {
		t.Errorf("%d rows of the audit there", n)
	}
}

// Of a tenant that is suspended everything is read and nothing written; of one that is
// deleted nothing is read.
func TestCRMOfStates(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	tenants := f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	a, _ := open(t, f, "")
	lookUp := func() error {
		return a.ReadCRM(t.Context(), "acme", func(ctx context.Context, r *crm.Reader) error {
			_, _, err := r.Contacts(ctx, crm.Page{})
			return err
		})
	}
	written := map[string]func() error{
		"write": func() error {
			return a.WriteCRM(t.Context(), app.CRMWrite{Tenant: "acme", Do: func(ctx context.Context, w *crm.Writer) error {
				_, err := w.AddContact(ctx, crm.ContactChange{Name: new("X")})
				return err
			}})
		},
		"merge": func() error { _, err := a.Dedupe(t.Context(), app.DedupeOptions{Tenant: "acme"}); return err },
		"undo": func() error {
			_, err := a.UndoDedupe(t.Context(), app.DedupeUndoOptions{Tenant: "acme", ID: 1})
			return err
		},
	}
	become := func(state string) {
		f.Exec(t, `update public.tenants set status = s, deleted_at = case s when 'deleted' then now() end,
			purge_after = case s when 'deleted' then now() end from (select '`+state+"'::text as s) x")
	}
	for _, state := range []string{"suspended", "deleted"} {
		become(state)
		for name, do := range written {
			if _, ok := errors.AsType[*registry.StateError](do()); !ok {
				t.Errorf("%s of one that is %s: %v", name, state, do())
			}
		}
		err := lookUp()
		if _, ok := errors.AsType[*registry.StateError](err); ok != (state == "deleted") || !ok && err != nil {
			t.Errorf("reading one that is %s: %v", state, err)
		}
	}
	// It is deleted while a change is under way: the change comes first, or is refused.
	become("active")
	err := a.WriteCRM(t.Context(), app.CRMWrite{Tenant: "acme", Confirm: func() error {
		become("deleted")
		return nil
	}, Do: func(ctx context.Context, w *crm.Writer) error {
		_, err := w.AddContact(ctx, crm.ContactChange{Name: new("X")})
		return err
	}})
	if n := f.Int(t, "select count(*) from "+tenants[0].Schema.Quoted()+".contacts"); err == nil || n != 0 {
		t.Errorf("%v, %d contacts of a deleted tenant", err, n)
	}
}

// exportFile exports contacts of tenants to a file and returns its path.
func exportFile(t *testing.T, a *app.App, name string, s *app.Selection, o exporter.Options) (string,
	*app.ExportResult) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	o.Table = exporter.Contacts
	got, err := a.Export(t.Context(), app.ExportOptions{Selection: s, Path: path, Write: o})
	if err != nil {
		t.Fatal(err)
	}
	return path, got
}

// A file has its name once it is whole, only its owner reads it, and a tenant that is
// dropped in the middle, or may not be read, is told and leaves no half of its rows.
func TestExportOfAFleet(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "b", "c", "d")
	for _, s := range []string{"a", "b", "c", "d"} {
		f.Exec(t, "insert into tenant_"+s+".contacts (email) select '"+s+"' || g || '@example.com' from "+
			"generate_series(1, 3) g")
	}
	a, _ := open(t, f, "")
	path, _ := exportFile(t, a, "all.csv.zst", all(t), exporter.Options{Format: exporter.CSV})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// The second tenant goes, after its table was looked at and before it is read.
	a.Watch = func(string, []string) (fleet.Observer, func()) {
		f.Exec(t, "drop schema tenant_b cascade")
		return nil, func() {}
	}
	path, got := exportFile(t, a, "rest.csv", all(t), exporter.Options{Format: exporter.CSV})
	text, err := os.ReadFile(path)
	if err != nil || got.Total() != 9 || strings.Count(string(text), "\n") != 10 || strings.Contains(string(text), "b1@") {
		t.Errorf("%+v, %v\n%s", got, err, text)
	}
	for i, r := range got.Results {
		if (r.State == fleet.Done) == (i == 1) || i == 1 && !errors.Is(r.Err, exporter.ErrNoTable) {
			t.Errorf("tenant %d: %+v", i, r)
		}
	}
	// A role that may not read.
	role := "exp_" + strings.TrimPrefix(f.Connect(t).Config().Database, "crmctl_test_")
	t.Cleanup(func() { f.DropRoles(t, role) })
	f.Exec(t, "create role "+role+" login", "grant usage on schema public, tenant_a to "+role, "grant select on "+
		"all tables in schema public, "+
		"tenant_a to "+role)
	a, _ = open(t, f, "")
	connectAs(a, f, role)
	_, got = exportFile(t, a, "mine.csv", all(t), exporter.Options{Format: exporter.CSV})
	for i, r := range got.Results {
		if (r.State == fleet.Done) != (i == 0) {
			t.Errorf("tenant %d: %v, %v", i, r.State, r.Err)
		}
	}
	gone := filepath.Join(t.TempDir(), "none.csv")
	f.Exec(t, "revoke all on schema tenant_a from "+role)
	if got, err := a.Export(t.Context(), app.ExportOptions{Selection: all(t), Path: gone, Out: io.Discard,
		Write: exporter.Options{Table: exporter.Contacts}}); err != nil || got.Written {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("a file of nothing")
	}
}

// Exports find the tenants where the registry stands, and the rest is the same.
func TestExportRegistryElsewhere(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "a", "b")
	f.Exec(t, "insert into tenant_a.contacts (email) values ('a@example.com')",
		"insert into tenant_b.contacts (email) values ('b@example.com')")
	a, _ := open(t, f, "")
	a.Registry = elsewhere(t, f)
	// An application's own table of that name is none of ours.
	f.Exec(t, "create table public.tenants (slug text)", "insert into public.tenants values ('c')")
	for _, format := range exporter.Formats(exporter.Contacts) {
		path, got := exportFile(t, a, "all."+string(format), all(t), exporter.Options{Format: format})
		if info, err := os.Stat(path); err != nil || info.Size() == 0 || got.Total() != 2 || len(got.Tenants) != 2 {
			t.Errorf("%s: %+v, %v", format, got, err)
		}
	}
}

// elsewhere moves the registry of a fleet to another schema.
func elsewhere(t *testing.T, f *fleettest.Fleet) registry.Registry {
	t.Helper()
	place, err := db.RegisteredSchema("somewhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Default().Move(t.Context(), f.Connect(t), registry.In(place), nil, 0, false); err != nil {
		t.Fatal(err)
	}
	return registry.In(place)
}
