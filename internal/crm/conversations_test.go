package crm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// twoContacts makes ann and bob, and a conversation with ann.
func twoContacts(t testing.TB) (conn *pgx.Conn, schema db.Schema, tenant *Tenant, v Conversation) {
	t.Helper()
	conn, schema = crmtest.Tenant(t)
	tenant = open(t, conn, schema)
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		for _, name := range []string{"ann", "bob"} {
			if _, err := w.AddContact(ctx, ContactChange{Email: new(name + "@example.com")}); err != nil {
				return err
			}
		}
		var err error
		v, err = w.OpenConversation(ctx, NewConversation{Contact: "ann@example.com", Channel: "email", Subject: "Hello"})
		return err
	})
	return conn, schema, tenant, v
}

// A conversation is opened, closed, opened again and given to another contact; from the
// wrong state there is no way.
func TestConversationLife(t *testing.T) {
	t.Parallel()
	conn, schema, tenant, v := twoContacts(t)
	if v.Status != StatusOpen || v.Contact != "ann@example.com" || v.Subject != "Hello" {
		t.Errorf("opened %+v", v)
	}
	moves := map[string]func(ctx context.Context, w *Writer) (Conversation, error){
		"close":  func(ctx context.Context, w *Writer) (Conversation, error) { return w.CloseConversation(ctx, v.ID) },
		"reopen": func(ctx context.Context, w *Writer) (Conversation, error) { return w.ReopenConversation(ctx, v.ID) },
		"bob": func(ctx context.Context, w *Writer) (Conversation, error) {
			return w.AssignConversation(ctx, v.ID, "bob@example.com")
		},
		"nobody": func(ctx context.Context, w *Writer) (Conversation, error) {
			return w.AssignConversation(ctx, v.ID, "nobody@example.com")
		},
	}
	for _, step := range []struct{ move, want string }{
		{"reopen", "is open"}, {"close", "closed ann@example.com"}, {"close", "is closed"},
		{"reopen", "open ann@example.com"}, {"bob", "open bob@example.com"}, {"bob", "open bob@example.com"},
		{"nobody", "no contact"},
	} {
		var got Conversation
		err := tenant.Write(t.Context(), conn, func(ctx context.Context, w *Writer) (err error) {
			got, err = moves[step.move](ctx, w)
			return err
		})
		answer := got.Status + " " + got.Contact
		if err != nil {
			answer = err.Error()
		}
		if !strings.Contains(answer, step.want) {
			t.Errorf("%s: %s, want %s", step.move, answer, step.want)
		}
	}
	crmtest.Exec(t, conn, schema, `insert into conversations (contact_id, channel, status)
		select id, 'chat', 'closed' from contacts, generate_series(1, 5) where email = 'ann@example.com'`)
	for query, want := range map[ConversationQuery]int{
		{}: 6, {Contact: "ann@example.com"}: 5, {Status: StatusOpen}: 1, {Contact: "ann@example.com", Status: StatusOpen}: 0,
		{Contact: "bob@example.com", Status: StatusOpen}: 1,
	} {
		ids := map[string]bool{}
		query.Limit = 2
		for {
			var rows []Conversation
			read(t, tenant, conn, func(ctx context.Context, r *Reader) (err error) {
				rows, query.After, err = r.Conversations(ctx, query)
				return err
			})
			for _, one := range rows {
				ids[one.ID] = true
			}
			if query.After == "" {
				break
			}
		}
		if len(ids) != want {
			t.Errorf("%+v: %d conversations, want %d", query, len(ids), want)
		}
	}
}

// Messages are added to open conversations, and come the newest first.
func TestMessages(t *testing.T) {
	t.Parallel()
	conn, schema, tenant, v := twoContacts(t)
	add := func(o NewMessage) (m Message, err error) {
		o.Conversation = v.ID
		err = tenant.Write(t.Context(), conn, func(ctx context.Context, w *Writer) (err error) {
			m, err = w.AppendMessage(ctx, o)
			return err
		})
		return m, err
	}
	for i := range 5 {
		if _, err := add(NewMessage{Direction: Inbound, Sender: "Ann", Content: fmt.Sprint("message ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	query := MessageQuery{Conversation: v.ID, Page: Page{Limit: 2}, Cut: 9}
	for {
		var end string
		read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
			messages, err := r.Messages(ctx, query, &end)
			if err != nil {
				return err
			}
			for m, err := range messages {
				if err != nil {
					return err
				}
				got = append(got, m.Content, fmt.Sprint(m.Size))
			}
			return nil
		})
		if query.After = end; end == "" {
			break
		}
	}
	if want := "message 4 9 message 3 9 message 2 9 message 1 9 message 0 9"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	crmtest.Exec(t, conn, schema, "update conversations set status = 'closed'")
	if _, err := add(NewMessage{Direction: Outbound, Content: "x"}); !isState(err) {
		t.Errorf("to a closed conversation: %v", err)
	}
	m, err := add(NewMessage{Direction: Outbound, Content: strings.Repeat("long ", 2<<20), Reopen: true})
	if err != nil || m.Size != 10<<20 || len(m.Content) != 10<<20 {
		t.Errorf("%d bytes: %v", m.Size, err)
	}
	crmtest.SameLines(t, "status", crmtest.List(t, conn, schema, "select status from conversations"), []string{"open"})
	for _, bad := range []NewMessage{{Direction: Inbound}, {Direction: "sideways", Content: "x"},
		{Direction: Inbound, Content: "a\x00"}, {Direction: Inbound, Content: manyWords()}} {
		if _, err := add(bad); err == nil {
			t.Errorf("%.40v is taken", bad)
		} else if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%.40v: %v", bad, err)
		}
	}
}

// manyWords is a text with more different words than a full-text index takes.
func manyWords() string {
	var b strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&b, "w%d ", i)
	}
	return b.String()
}

func isState(err error) bool {
	_, ok := errors.AsType[*StateError](err)
	return ok
}

// A search gives the best first, with the words marked; what the content itself has of the
// marks is no mark.
func TestSearchMessages(t *testing.T) {
	t.Parallel()
	conn, _, tenant, v := twoContacts(t)
	contents := []string{
		"The invoice of May is paid.", "An invoice, and another invoice: invoices only.",
		"Nothing of the kind \uE000here\uE001.", "\x1b[31mred\x1b[0m invoicing \u202Eevil", strings.Repeat("filler ", 9000) +
			"needle",
	}
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		for _, c := range contents {
			if _, err := w.AppendMessage(ctx, NewMessage{Conversation: v.ID, Direction: Inbound, Content: c}); err != nil {
				return err
			}
		}
		return nil
	})
	search := func(words string) (out Hits, err error) {
		err = tenant.Read(t.Context(), conn, func(ctx context.Context, r *Reader) (err error) {
			out, err = r.SearchMessages(ctx, words, 10)
			return err
		})
		return out, err
	}
	for words, want := range map[string]int{
		"invoice": 3, "invoice paid": 1, `"of may"`: 1, "invoice -paid": 2, "kind": 1, "needle": 1, "absent": 0,
		"invoice or kind": 4, "'; drop": 0,
	} {
		hits, err := search(words)
		if err != nil || len(hits.Rows) != want || hits.Partial {
			t.Errorf("%s: %d, want %d: %v", words, len(hits.Rows), want, err)
		}
	}
	hits, err := search("invoice")
	if err != nil || len(hits.Rows) != 3 {
		t.Fatal(err)
	}
	if s := hits.Rows[0].Snippet; len(s) != 6 || !s[0].Hit || s[2] != (Segment{"invoice", true}) ||
		s[5].Text != " only" {
		t.Errorf("the best is %+v", s)
	}
	hits, err = search("kind")
	if err != nil || len(hits.Rows) != 1 || len(hits.Rows[0].Snippet) != 3 ||
		hits.Rows[0].Snippet[2].Text != " here" {
		t.Errorf("got %+v, %v", hits.Rows, err)
	}
	if _, err := search("the of"); err == nil {
		t.Error("words that mean nothing are searched for")
	}
}
