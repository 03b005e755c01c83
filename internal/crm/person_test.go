package crm

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// personRows are rows of two persons, of whom ann is everywhere.
func personRows() []string {
	return []string{`insert into contacts (id, email, name, metadata) values
			('00000000-0000-0000-0000-000000000001', 'ann@xn--bcher-kva.example', 'Ann', '{}'),
			('00000000-0000-0000-0000-000000000002', 'work@example.com', 'Ann at work',
				'{"emails": [{"type": "home", "value": "Ann@B\u00dcCHER.example"}]}'),
			('00000000-0000-0000-0000-000000000003', 'bob@example.com', 'Bob', '{"spouse": "ask joann@bücher.example"}'),
			('00000000-0000-0000-0000-000000000004', 'cid@example.com', 'Cid', '{"E-mail 2": " ANN@bücher.example "}'),
			('00000000-0000-0000-0000-000000000005', 'joann@xn--bcher-kva.example', 'Joann', '{}'),
			('00000000-0000-0000-0000-000000000006', 'dan@example.com', 'Dan', '{"owner": {"id": "ann@bücher.example"}}')`,
		`insert into conversations (id, contact_id, channel) values
			('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'email'),
			('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-000000000003', 'email')`,
		`insert into messages (id, conversation_id, direction, sender, content) values
			('00000000-0000-0000-0000-0000000000a1', '00000000-0000-0000-0000-00000000000a', 'inbound', null, 'hello'),
			('00000000-0000-0000-0000-0000000000b1', '00000000-0000-0000-0000-00000000000b', 'inbound',
				'Ann <ann@bücher.example>', 'I am Ann'),
			('00000000-0000-0000-0000-0000000000b2', '00000000-0000-0000-0000-00000000000b', 'inbound', 'bob@example.com',
				'write to ann@xn--bcher-kva.example please'),
			('00000000-0000-0000-0000-0000000000b3', '00000000-0000-0000-0000-00000000000b', 'inbound', 'bob@example.com',
				'nobody')`,
		`create table subscribers (id int, mail varchar(99))`,
		`insert into subscribers values (1, 'ANN@xn--bcher-kva.example'), (2, 'bob@example.com')`,
	}
}

// A person is found in every spelling, among the addresses of the metadata too, with the
// conversations and messages; whoever only resembles or mentions the person stays.
func TestPerson(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, personRows()...)
	tenant := open(t, conn, schema)
	ann, err := ParseAddress(" ANN@Bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	want := Held{Contacts: 3, Conversations: 1, Messages: 2, Mentions: 1, Others: 2}
	read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
		held, err := r.Person(ctx, ann)
		if held != want {
			t.Errorf("held %+v, want %+v", held, want)
		}
		if err != nil {
			return err
		}
		rows, err := r.PersonRows(ctx, ann)
		var kinds []string
		for _, row := range rows {
			kinds = append(kinds, row.Kind)
		}
		crmtest.SameLines(t, "rows", kinds, []string{"contact", "contact", "contact", "conversation", "message", "message",
			"mention", "other", "other"})
		return err
	})
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		held, err := w.ErasePerson(ctx, ann)
		if held != want {
			t.Errorf("erased %+v, want %+v", held, want)
		}
		return err
	})
	crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, "select name from contacts order by 1"),
		[]string{"Bob", "Dan", "Joann"})
	crmtest.SameLines(t, "messages", crmtest.List(t, conn, schema, "select right(id::text, 2) from messages order by 1"),
		[]string{"b2", "b3"})
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		held, err := w.ErasePerson(ctx, ann)
		if held.Erasable() != 0 || held.Others != 2 {
			t.Errorf("erased again %+v", held)
		}
		return err
	})
}

// What a merge of doubles has kept of a person goes too, and only that.
func TestErasedKept(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (email, name) values ('ann@example.com', 'Ann'),
		('ann+x@example.com', 'Ann X'), ('bob@example.com', 'Bob'), ('bob+y@example.com', 'Bob Y')`)
	tenant := open(t, conn, schema)
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		_, err := w.MergeDoubles(ctx, Merging{Keep: "00000000-0000-0000-0000-0000000000ff"})
		return err
	})
	ann, err := ParseAddress("ann+x@example.com") // merged away: it is in the metadata and in what is kept
	if err != nil {
		t.Fatal(err)
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		held, err := w.ErasePerson(ctx, ann)
		if want := (Held{Contacts: 1, Kept: 2}); held != want {
			t.Errorf("erased %+v, want %+v", held, want)
		}
		return err
	})
	left := crmtest.List(t, conn, schema, "select to_jsonb(u)::text from crmctl_import_undo u order by u.email")
	if len(left) != 2 || strings.Contains(fmt.Sprint(left), "ann") {
		t.Errorf("kept: %s", left)
	}
}

// The same is erased by what an address is, without the address.
func TestErasePersons(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, personRows()...)
	tenant := open(t, conn, schema)
	ann, err := ParseAddress("ann@bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		held, err := w.ErasePersons(ctx, ann.Is)
		if want := (Held{Contacts: 3, Conversations: 1, Messages: 2}); held != want {
			t.Errorf("erased %+v, want %+v", held, want)
		}
		return err
	})
}

// Addresses that would break a statement, a pattern or JSON are only texts.
func TestHostileAddresses(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	tenant := open(t, conn, schema)
	for _, address := range []string{`o'brien@example.com`, `a%b_c@example.com`, `{}$1@example.com`,
		`a&b@example.com`, `ü@example.com`} {
		a, err := ParseAddress(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
			if _, err := w.q.Exec(ctx, "insert into "+w.t.tables["contacts"].name+
				" (name, metadata) values ('x', pg_catalog.jsonb_build_object('Mail', $1::pg_catalog.text))", address); err != nil {
				return err
			}
			held, err := w.ErasePerson(ctx, a)
			if held.Contacts != 1 {
				t.Errorf("%s: %+v", address, held)
			}
			return err
		})
	}
	for _, address := range []string{"", "ann", "ann@", "a b@example.com", "ann@example.com, bob@example.com",
		"a\x00@example.com"} {
		if _, err := ParseAddress(address); err == nil || address != "" && strings.Contains(err.Error(), address) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
