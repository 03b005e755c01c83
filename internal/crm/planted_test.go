package crm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/planted"
)

// Nothing that another role has put where something is read, written or merged runs, and
// the refusal names it.
func TestNothingPlantedRuns(t *testing.T) {
	t.Parallel()
	const raises = ` language plpgsql as 'begin raise exception ''planted code runs as %'', current_user; end'`
	row := "create function tenant_acme.t() returns trigger" + raises
	ann, err := ParseAddress("ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		owner bool // the role owns the tables
		plant []string
		want  string // "" where nothing is refused, and nothing runs
	}{
		"contacts": {plant: []string{row, "create trigger log before insert or update or delete on tenant_acme.contacts " +
			"for each row execute function tenant_acme.t()"}, want: "trigger log of contacts"},
		"conversations": {plant: []string{row, "create trigger log before insert or update or delete on " +
			"tenant_acme.conversations for each row execute function tenant_acme.t()"}, want: "trigger log of conversations"},
		"messages": {plant: []string{row, "create constraint trigger log after insert on tenant_acme.messages deferrable " +
			"initially deferred for each row execute function tenant_acme.t()"}, want: "trigger log of messages"},
		"default": {owner: true, plant: []string{"create function tenant_acme.f() returns text" + raises,
			"alter table tenant_acme.messages alter sender set default tenant_acme.f()"}, want: "default sender of messages"},
		"operator": {plant: []string{"create function tenant_acme.f(text, text) returns bool" + raises,
			"create operator tenant_acme.= (leftarg = text, rightarg = text, function = tenant_acme.f)",
			"create operator tenant_acme.~~ (leftarg = text, rightarg = text, function = tenant_acme.f)"},
			want: "operator tenant_acme.=(text,text)"},
		"view": {owner: true, plant: []string{"create function tenant_acme.f() returns uuid immutable" + raises,
			"alter table tenant_acme.contacts rename to real", "create view tenant_acme.contacts as select tenant_acme.f() " +
				"as id, null::text as email, null::text as phone, null::text as name, null::text as company, '{}'::jsonb as " +
				"metadata, now() as created_at, now() as updated_at"}, want: "view contacts calls tenant_acme.f()"},
		"policy": {owner: true, plant: []string{"create function tenant_acme.f() returns bool" + raises,
			"alter table tenant_acme.contacts enable row level security", "alter table tenant_acme.contacts force row level " +
				"security", "create policy p on tenant_acme.contacts using (tenant_acme.f())"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, `insert into contacts (id, name, email) values
				('00000000-0000-4000-8000-000000000001', 'Ann', 'ann@example.com'),
				('00000000-0000-4000-8000-000000000002', null, 'ann+x@example.com')`,
				`insert into conversations (id, contact_id, channel) select id, id, 'email' from contacts`)
			role := crmtest.Plant(t, conn, c.owner, c.plant...)
			written := map[string]func(ctx context.Context, w *Writer) error{
				"add": func(ctx context.Context, w *Writer) error {
					_, err := w.AddContact(ctx, ContactChange{Name: new("X")})
					return err
				},
				"edit": func(ctx context.Context, w *Writer) error {
					_, err := w.EditContact(ctx, key(1), ContactChange{Name: new("X")})
					return err
				},
				"open": func(ctx context.Context, w *Writer) error {
					_, err := w.OpenConversation(ctx, NewConversation{Contact: key(1), Channel: "x"})
					return err
				},
				"close": func(ctx context.Context, w *Writer) error { _, err := w.CloseConversation(ctx, key(1)); return err },
				"append": func(ctx context.Context, w *Writer) error {
					_, err := w.AppendMessage(ctx, NewMessage{Conversation: key(1), Direction: Inbound, Content: "x"})
					return err
				},
				"merge": func(ctx context.Context, w *Writer) error {
					_, err := w.MergeDoubles(ctx, Merging{Keep: key(9)})
					return err
				},
				"erase": func(ctx context.Context, w *Writer) error { _, err := w.ErasePerson(ctx, ann); return err },
			}
			tenant, opened := Open(t.Context(), conn, Options{Schema: schema, Private: true})
			check := func(what string, err error, refused bool) {
				t.Helper()
				if err != nil && strings.Contains(err.Error(), "planted code runs") {
					t.Errorf("%s: %v", what, err)
				}
				found, ok := errors.AsType[*planted.Error](err)
				if refused && (!ok || !strings.Contains(found.Error(), c.want) || !strings.Contains(found.Error(), role)) {
					t.Errorf("%s: %v, want %s", what, err, c.want)
				}
			}
			if opened != nil {
				check("open", opened, c.want != "")
				return
			}
			for what, do := range written {
				check(what, tenant.Write(t.Context(), conn, do), c.want != "")
			}
			check("person", tenant.Read(t.Context(), conn, func(ctx context.Context, r *Reader) error {
				_, err := r.PersonRows(ctx, ann)
				return err
			}), slices.Contains([]string{"operator", "view"}, name))
			for what, do := range reads {
				check(what, tenant.Read(t.Context(), conn, func(ctx context.Context, r *Reader) error {
					return do(ctx, r, Page{Limit: 20})
				}), slices.Contains([]string{"operator", "view"}, name))
			}
		})
	}
}
