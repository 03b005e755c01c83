package crm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

func open(t testing.TB, conn *pgx.Conn, schema db.Schema) *Tenant {
	t.Helper()
	tenant, err := Open(t.Context(), conn, Options{Schema: schema, Region: "DE"})
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

// write runs fn in a transaction, and fails the test with its error.
func write(t testing.TB, tenant *Tenant, conn *pgx.Conn, fn func(ctx context.Context, w *Writer) error) {
	t.Helper()
	if err := tenant.Write(t.Context(), conn, fn); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, tenant *Tenant, conn *pgx.Conn, fn func(ctx context.Context, r *Reader) error) {
	t.Helper()
	if err := tenant.Read(t.Context(), conn, fn); err != nil {
		t.Fatal(err)
	}
}

// A contact is made, found by its id and its address, changed and removed, with values in
// their normal forms.
func TestContactLife(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	tenant := open(t, conn, schema)
	var ann, bob Contact
	write(t, tenant, conn, func(ctx context.Context, w *Writer) (err error) {
		ann, err = w.AddContact(ctx, ContactChange{Email: new(" Ann@Example.COM "), Phone: new("030 1234567"),
			Name: new(" Ann "), Metadata: json.RawMessage(`{"city": "Berlin", "vip": true}`)})
		if err != nil {
			return err
		}
		bob, err = w.AddContact(ctx, ContactChange{Phone: new("ask  Ann"), Company: new("Acme")})
		return err
	})
	if ann.Email != "ann@example.com" || ann.Phone != "+49301234567" || ann.Name != "Ann" || ann.CreatedAt.IsZero() {
		t.Errorf("made %+v", ann)
	}
	if bob.Email != "" || bob.Phone != "ask Ann" || string(bob.Metadata) != "{}" {
		t.Errorf("made %+v", bob)
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		got, err := w.EditContact(ctx, "ANN@example.com", ContactChange{Name: new(""), Company: new("Acme"),
			Metadata: json.RawMessage(`{"seats": 2}`), Forget: []string{"city"}})
		if got.Name != "" || got.Company != "Acme" || string(got.Metadata) != `{"vip": true, "seats": 2}` {
			t.Errorf("changed to %+v (%s)", got, got.Metadata)
		}
		return err
	})
	read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
		for _, ref := range []string{ann.ID, "ann@example.com", strings.ToUpper(ann.ID)} {
			if got, err := r.Contact(ctx, ref); err != nil || got.ID != ann.ID {
				t.Errorf("%s: %+v, %v", ref, got, err)
			}
		}
		for _, ref := range []string{"nobody@example.com", "0", "'; drop table contacts; --", bob.ID[:35] + "\x00"} {
			if got, err := r.Contact(ctx, ref); !errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %+v, %v", ref, got, err)
			}
		}
		return nil
	})
	var gone Removed
	write(t, tenant, conn, func(ctx context.Context, w *Writer) (err error) {
		v, err := w.OpenConversation(ctx, NewConversation{Contact: ann.ID, Channel: "email"})
		if err != nil {
			return err
		}
		if _, err := w.AppendMessage(ctx, NewMessage{Conversation: v.ID, Direction: Inbound, Content: "hello"}); err != nil {
			return err
		}
		gone, err = w.RemoveContact(ctx, ann.Email)
		return err
	})
	if gone.ID != ann.ID || gone.Conversations != 1 || gone.Messages != 1 {
		t.Errorf("removed %+v", gone)
	}
	crmtest.SameLines(t, "what is left", crmtest.List(t, conn, schema, `select 'contact', coalesce(email, phone)
		from contacts union all select 'message', content from messages`), []string{"contact|ask Ann"})
}

// The table of another program may have an address as it was typed, or more than once: then
// nobody is taken for the one who is meant.
func TestContactOfAnotherProgram(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop index idx_contacts_email",
		"alter table contacts drop constraint contacts_email_normalised", `insert into contacts (name, email) values
		('Ann', 'Ann@Example.com'), ('Bob', 'bob@example.com'), ('Bo', 'bob@example.com'), ('Cid', 'cid@example.com')`)
	tenant := open(t, conn, schema)
	read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
		for ref, name := range map[string]string{"Ann@Example.com": "Ann", "CID@example.com": "Cid"} {
			if got, err := r.Contact(ctx, ref); err != nil || got.Name != name {
				t.Errorf("%s: %+v, %v", ref, got, err)
			}
		}
		return nil
	})
	err := tenant.Write(t.Context(), conn, func(ctx context.Context, w *Writer) error {
		_, err := w.RemoveContact(ctx, "bob@example.com")
		return err
	})
	ambiguous, ok := errors.AsType[*AmbiguousError](err)
	if !ok || len(ambiguous.IDs) != 2 || ambiguous.IDs[0] == ambiguous.IDs[1] {
		t.Fatalf("removing one of two: %v", err)
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		_, err := w.RemoveContact(ctx, ambiguous.IDs[0])
		return err
	})
	if got := crmtest.List(t, conn, schema, "select count(*) from contacts"); got[0] != "3" {
		t.Errorf("%s contacts are left", got[0])
	}
}

// Messages of which some have no time are listed by their ids, page by page, each once.
func TestMessagesWithoutTime(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "alter table messages alter created_at drop not null",
		"insert into contacts (email) values ('ann@example.com')",
		"insert into conversations (contact_id, channel) select id, 'email' from contacts",
		`insert into messages (conversation_id, direction, content, created_at)
			select v.id, 'inbound', 'm' || i, case when i % 2 = 0 then now() end from conversations v, generate_series(1, 5) i`)
	seen := map[string]bool{}
	read(t, open(t, conn, schema), conn, func(ctx context.Context, r *Reader) error {
		q := MessageQuery{Conversation: "ann@example.com", Page: Page{Limit: 2}}
		for range 3 {
			end := ""
			rows, err := r.Messages(ctx, q, &end)
			if err != nil {
				return err
			}
			for m, err := range rows {
				if err != nil {
					return err
				}
				seen[m.Content] = true
			}
			if q.After = end; end == "" {
				break
			}
		}
		return nil
	})
	if len(seen) != 5 {
		t.Errorf("seen %v", seen)
	}
}

// What cannot be stored is refused, by an error that says why and of its own type.
func TestContactErrors(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	tenant := open(t, conn, schema)
	var ann, bob Contact
	write(t, tenant, conn, func(ctx context.Context, w *Writer) (err error) {
		if ann, err = w.AddContact(ctx, ContactChange{Email: new("ann@example.com"), Name: new("Ann")}); err != nil {
			return err
		}
		bob, err = w.AddContact(ctx, ContactChange{Name: new("Bob")})
		return err
	})
	for name, change := range map[string]ContactChange{
		"address": {Email: new("nonsense")}, "NUL": {Name: new("a\x00b")}, "bytes": {Company: new("\xff")},
		"list": {Name: new("x"), Metadata: json.RawMessage(`[1]`)}, "nothing": {Name: new("  ")},
	} {
		for what, do := range map[string]func(ctx context.Context, w *Writer) error{
			"add": func(ctx context.Context, w *Writer) error { _, err := w.AddContact(ctx, change); return err },
			"edit": func(ctx context.Context, w *Writer) error {
				_, err := w.EditContact(ctx, bob.ID, change)
				return err
			},
		} {
			if name == "nothing" && what == "edit" {
				continue
			}
			if _, ok := errors.AsType[*InvalidError](tenant.Write(t.Context(), conn, do)); !ok {
				t.Errorf("%s %s is not refused", what, name)
			}
		}
	}
	for what, do := range map[string]func(ctx context.Context, w *Writer) error{
		"add": func(ctx context.Context, w *Writer) error {
			_, err := w.AddContact(ctx, ContactChange{Email: new("ANN@example.com")})
			return err
		},
		"edit": func(ctx context.Context, w *Writer) error {
			_, err := w.EditContact(ctx, bob.ID, ContactChange{Email: new("ANN@example.com")})
			return err
		},
	} {
		taken, ok := errors.AsType[*TakenError](tenant.Write(t.Context(), conn, do))
		if !ok || taken.ID != ann.ID || taken.Name != "Ann" {
			t.Errorf("%s: %+v", what, taken)
		}
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error { // its own address is not taken
		_, err := w.EditContact(ctx, ann.ID, ContactChange{Email: new("Ann@example.com")})
		return err
	})
	// Another table refers to it.
	crmtest.Exec(t, conn, schema, "create table notes (contact_id uuid references contacts)",
		"insert into notes select id from contacts where name = 'Bob'")
	err := tenant.Write(t.Context(), conn, func(ctx context.Context, w *Writer) error {
		_, err := w.RemoveContact(ctx, bob.ID)
		return err
	})
	if _, ok := errors.AsType[*ReferredError](err); !ok || !strings.Contains(err.Error(), "notes") {
		t.Errorf("got %v", err)
	}
}

// Pages cover every contact once, the newest first, also where many share a time, and while
// others are added.
func TestContactPages(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, created_at) select g::text, case when g <= 40 then
			'2026-01-02 03:04:05.678901Z'::timestamptz when g <= 45 then '2026-01-02 03:04:05.678902Z'
			else '2026-02-01Z'::timestamptz - g % 7 * interval '1 day' end from generate_series(1, 80) g`)
	tenant := open(t, conn, schema)
	want := crmtest.List(t, conn, schema, "select id::text from contacts order by created_at desc, id desc")
	for _, limit := range []int{1, 3, 7, 40, 79, 80, 81, 500} {
		var got []string
		page := Page{Limit: limit}
		for {
			var rows []Contact
			read(t, tenant, conn, func(ctx context.Context, r *Reader) (err error) {
				rows, page.After, err = r.Contacts(ctx, page)
				return err
			})
			for _, c := range rows {
				got = append(got, c.ID)
			}
			if len(rows) > limit {
				t.Fatalf("a page of %d has %d", limit, len(rows))
			}
			if page.After == "" {
				break
			}
			if len(got) == limit {
				crmtest.Exec(t, conn, schema, "insert into contacts (name) values ('late')")
			}
		}
		crmtest.SameLines(t, fmt.Sprint("pages of ", limit), got, want)
		crmtest.Exec(t, conn, schema, "delete from contacts where name = 'late'")
	}
	for _, after := range []string{"x", endOf("a"), endOf("some day", want[0]), endOf("2026-01-01", "0")} {
		err := tenant.Read(t.Context(), conn, func(ctx context.Context, r *Reader) error {
			_, _, err := r.Contacts(ctx, Page{After: after})
			return err
		})
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%s: %v", after, err)
		}
	}
}

// Contacts are found by the beginning of an address, a number as it is typed, and what the
// metadata contains.
func TestFindContacts(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (email, phone, metadata) values
		('a_b@example.com', '+49301234567', '{"tags": ["x", "y"], "city": "Bonn"}'),
		('axb@example.com', '+49301234567', '{"city": "Bonn"}'), ('b%c@example.com', 'x 1', '{}'), (null, 'x 1', '{}')`)
	tenant := open(t, conn, schema)
	for _, c := range []struct {
		query ContactQuery
		want  string
	}{
		{ContactQuery{EmailPrefix: "A_"}, "a_b@example.com"},
		{ContactQuery{EmailPrefix: "a"}, "a_b@example.com axb@example.com"},
		{ContactQuery{EmailPrefix: "b%"}, "b%c@example.com"},
		{ContactQuery{EmailPrefix: `\`}, ""},
		{ContactQuery{Phone: "(030) 123 45 67"}, "a_b@example.com axb@example.com"},
		{ContactQuery{Phone: "x  1"}, " b%c@example.com"},
		{ContactQuery{Metadata: json.RawMessage(`{"tags": ["y"]}`)}, "a_b@example.com"},
		{ContactQuery{Metadata: json.RawMessage(`{"city": "Bonn"}`), EmailPrefix: "ax"}, "axb@example.com"},
	} {
		seen := map[string]bool{}
		c.query.Limit = 1
		for {
			var rows []Contact
			read(t, tenant, conn, func(ctx context.Context, r *Reader) (err error) {
				rows, c.query.After, err = r.FindContacts(ctx, c.query)
				return err
			})
			for _, one := range rows {
				seen[one.Email] = true
			}
			if c.query.After == "" {
				break
			}
		}
		got := strings.Join(sorted(seen), " ")
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", c.query, got, c.want)
		}
	}
	for _, q := range []ContactQuery{{}, {Metadata: json.RawMessage(`["x"]`)}} {
		err := tenant.Read(t.Context(), conn, func(ctx context.Context, r *Reader) error {
			_, _, err := r.FindContacts(ctx, q)
			return err
		})
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// The tables of another program are read as far as they have what is needed.
func TestOtherTables(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop table messages", "drop table conversations", "drop table contacts",
		"create table contacts (id bigint generated always as identity primary key, email varchar(99) unique, created_at "+
			"timestamp not null default now())", "create table conversations (id serial primary key, contact_id bigint)",
		"insert into contacts (email) values ('Ann@Example.com'), ('bob@example.com')")
	tenant := open(t, conn, schema)
	read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
		page := Page{Limit: 1}
		rows, after, err := r.Contacts(ctx, page)
		if err != nil || len(rows) != 1 || rows[0].ID != "2" || rows[0].CreatedAt.IsZero() {
			t.Errorf("%+v, %v", rows, err)
		}
		page.After = after
		if rows, after, err = r.Contacts(ctx, page); err != nil || len(rows) != 1 || rows[0].ID != "1" || after != "" {
			t.Errorf("%+v, %v", rows, err)
		}
		if rows, _, err = r.FindContacts(ctx, ContactQuery{EmailPrefix: "Ann"}); err != nil || len(rows) != 1 {
			t.Errorf("%+v, %v", rows, err)
		}
		for table, do := range map[string]func() error{
			"contacts": func() error { _, _, err := r.FindContacts(ctx, ContactQuery{Phone: "1"}); return err },
			"conversations": func() error {
				_, _, err := r.Conversations(ctx, ConversationQuery{})
				return err
			},
			"messages": func() error { _, err := r.SearchMessages(ctx, "x", 1); return err },
		} {
			missing, ok := errors.AsType[*importer.TableError](do())
			if !ok || missing.Table != table {
				t.Errorf("%s: %v", table, missing)
			}
		}
		return nil
	})
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		_, err := w.AddContact(ctx, ContactChange{Email: new("cid@example.com")})
		return err
	})
}
