package crm

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// The states of a conversation.
const (
	StatusOpen    = "open"
	StatusPending = "pending" // it waits for the contact
	StatusClosed  = "closed"
)

// Statuses returns the states of a conversation.
func Statuses() []string { return []string{StatusOpen, StatusPending, StatusClosed} }

// Conversation is one with a contact, over one channel.
type Conversation struct {
	ID        string
	ContactID string
	Contact   string // the contact's address, else its name, "" where the table has neither
	Channel   string
	Status    string
	Subject   string

	CreatedAt time.Time
	UpdatedAt time.Time
}

func (r *Reader) conversations(columns ...string) (table, error) {
	return r.need("conversations", append(columns, "id", "contact_id", "status")...)
}

// conversationColumns are what scanConversation reads of v, and of the contact c.
func (r *Reader) conversationColumns(v table) string {
	contact := "''"
	c := r.t.tables["contacts"]
	if c.has("id") {
		contact = "coalesce((select coalesce(" + c.raw("c", "email", "pg_catalog.text") + ", " + c.text("c", "name") +
			") from " + c.name + " c where c.id operator(pg_catalog.=) v.contact_id), '')"
	}
	return conversationColumns(v, contact)
}

// conversationColumns returns the columns of scanConversation; contact is the expression that
// names the contact.
func conversationColumns(v table, contact string) string {
	return "v.id::pg_catalog.text, " + v.text("v", "contact_id") + ", " + contact + ", " + v.text("v", "channel") + ", " +
		v.text("v", "status") + ", " + v.text("v", "subject") + ", " + v.raw("v", "created_at", "pg_catalog.timestamptz") +
		", " + v.raw("v", "updated_at", "pg_catalog.timestamptz")
}

func scanConversation(row pgx.CollectableRow) (Conversation, error) {
	var v Conversation
	var created, updated *time.Time
	err := row.Scan(&v.ID, &v.ContactID, &v.Contact, &v.Channel, &v.Status, &v.Subject, &created, &updated)
	v.CreatedAt, v.UpdatedAt = orZero(created), orZero(updated)
	return v, err
}

// Conversation returns a conversation by its id, or the newest one with the contact of an
// address. The error is a *NotFoundError.
func (r *Reader) Conversation(ctx context.Context, ref string) (Conversation, error) {
	v, err := r.conversations()
	if err != nil {
		return Conversation{}, err
	}
	if strings.Contains(ref, "@") {
		rows, _, err := r.Conversations(ctx, ConversationQuery{Contact: ref, Page: Page{Limit: 1}})
		if err == nil && len(rows) == 0 {
			err = &NotFoundError{What: "conversation with", Ref: ref}
		}
		if err != nil {
			return Conversation{}, err
		}
		return rows[0], nil
	}
	if !v.fitsID(ref) {
		return Conversation{}, &NotFoundError{What: "conversation", Ref: ref}
	}
	found, err := collect(ctx, r.q, scanConversation, "select "+r.conversationColumns(v)+" from "+v.name+" v where "+
		v.is("v", "id", "=", "$1"), ref)
	if err == nil && len(found) == 0 {
		err = &NotFoundError{What: "conversation", Ref: ref}
	}
	if err != nil {
		return Conversation{}, err
	}
	return found[0], nil
}

// ConversationQuery says which conversations are listed.
type ConversationQuery struct {
	Page

	Contact string // id or address; "" for those of all contacts
	Status  string // "" for any
}

// Conversations returns a page of conversations, and its end: those of a contact the newest
// first, those of all by their ids.
func (r *Reader) Conversations(ctx context.Context, o ConversationQuery) ([]Conversation, string, error) {
	v, err := r.conversations()
	if err != nil {
		return nil, "", err
	}
	where, args := []string{"true"}, []any{}
	parameter := func(text string) string {
		args = append(args, text)
		return "$" + strconv.Itoa(len(args))
	}
	if o.Status != "" {
		where = append(where, v.is("v", "status", "=", parameter(o.Status)))
	}
	if o.Contact == "" {
		if o.Status != "" {
			if where, args, err = r.ifFew(ctx, v, "v", where, args); err != nil {
				return nil, "", err
			}
		}
		return r.conversationsWhere(ctx, v, where, args, o.Page)
	}
	c, err := r.Contact(ctx, o.Contact)
	if err != nil {
		return nil, "", err
	}
	where = append(where, v.is("v", "contact_id", "=", parameter(c.ID)))
	if !v.columns["created_at"].NotNull {
		return r.conversationsWhere(ctx, v, where, args, o.Page)
	}
	return r.conversationsOf(ctx, v, where, args, o.Page)
}

// conversationsWhere pages by the ids.
func (r *Reader) conversationsWhere(ctx context.Context, v table, where []string, args []any,
	page Page) ([]Conversation, string, error) {
	key, err := page.key(1)
	if err != nil || len(key) > 0 && !v.fitsID(key[0]) {
		return nil, "", orInvalid(err, page)
	}
	if key != nil {
		args = append(args, key[0])
		where = append(where, v.is("v", "id", ">", "$"+strconv.Itoa(len(args))))
	}
	n := page.limit()
	rows, err := collect(ctx, r.q, scanConversation, "select "+r.conversationColumns(v)+" from "+v.name+" v where "+
		strings.Join(where, " and ")+" order by v.id limit "+strconv.Itoa(n+1), args...)
	if err != nil || len(rows) <= n {
		return rows, "", err
	}
	return rows[:n], endOf(rows[n-1].ID), nil
}

// conversationsOf pages by time: those of one contact are few.
func (r *Reader) conversationsOf(ctx context.Context, v table, where []string, args []any,
	page Page) ([]Conversation, string, error) {
	key, err := page.key(2)
	if err != nil || len(key) > 0 && !v.fitsID(key[1]) {
		return nil, "", orInvalid(err, page)
	}
	if key != nil {
		where = append(where, before(v, "v", len(args)))
		args = append(args, key[0], key[1])
	}
	n, at := page.limit(), ""
	var times []string
	rows, err := collect(ctx, r.q, func(row pgx.CollectableRow) (Conversation, error) {
		return scanConversation(timed{row, &at, &times})
	}, "select "+r.conversationColumns(v)+", v.created_at::pg_catalog.text from "+v.name+" v where "+
		strings.Join(where, " and ")+" order by v.created_at desc, v.id desc limit "+strconv.Itoa(n+1), args...)
	if err != nil || len(rows) <= n {
		return rows, "", badKey(err, page)
	}
	return rows[:n], endOf(times[n-1], rows[n-1].ID), nil
}

// before is the condition that a row is older than the time and the id in the two
// parameters behind n.
func before(t table, alias string, n int) string {
	at, id := "$"+strconv.Itoa(n+1), "$"+strconv.Itoa(n+2)
	return t.is(alias, "created_at", "<=", at) + " and (" + t.is(alias, "created_at", "<", at) + " or " +
		t.is(alias, "id", "<", id) + ")"
}

// NewConversation is a conversation that begins.
type NewConversation struct {
	Contact string // id or address
	Channel string // "email"; required
	Subject string
}

// OpenConversation begins a conversation with a contact.
func (w *Writer) OpenConversation(ctx context.Context, o NewConversation) (Conversation, error) {
	v, err := w.conversations("channel", "subject")
	if err != nil {
		return Conversation{}, err
	}
	channel, subject := strings.TrimSpace(o.Channel), strings.TrimSpace(o.Subject)
	switch {
	case channel == "":
		return Conversation{}, &InvalidError{Field: "channel", Reason: "a conversation needs one, such as email"}
	case !storable(channel):
		return Conversation{}, &InvalidError{Field: "channel", Reason: "not text in UTF-8"}
	case !storable(subject):
		return Conversation{}, &InvalidError{Field: "subject", Reason: "not text in UTF-8"}
	}
	c, err := w.Contact(ctx, o.Contact)
	if err != nil {
		return Conversation{}, err
	}
	// What an INSERT returns reads no other table: a cluster has no way to do that.
	made, err := collect(ctx, w.q, scanConversation, "insert into "+v.name+" as v (contact_id, channel, status, subject)"+
		" select c.id, $2::pg_catalog.text, 'open', $3::pg_catalog.text from "+w.t.tables["contacts"].name+
		" c where "+w.t.tables["contacts"].is("c", "id", "=", "$1")+" returning "+
		conversationColumns(v, "''"), c.ID, channel, orNull(subject))
	if err == nil && len(made) == 0 {
		err = &NotFoundError{What: "contact", Ref: o.Contact}
	}
	if err != nil {
		return Conversation{}, err
	}
	made[0].Contact = cmp.Or(c.Email, c.Name)
	w.did("conversations", "open", made[0].ID)
	return made[0], nil
}

// orNull returns null for "".
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// storable reports whether PostgreSQL stores a text.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// CloseConversation closes a conversation. The error is a *StateError where it is closed.
func (w *Writer) CloseConversation(ctx context.Context, id string) (Conversation, error) {
	return w.move(ctx, id, "close", StatusClosed)
}

// ReopenConversation opens a conversation that waits or is closed. The error is a
// *StateError where it is open.
func (w *Writer) ReopenConversation(ctx context.Context, id string) (Conversation, error) {
	return w.move(ctx, id, "reopen", StatusOpen)
}

// move brings a conversation to a status that it does not have.
func (w *Writer) move(ctx context.Context, id, how, status string) (Conversation, error) {
	v, err := w.conversations()
	if err != nil {
		return Conversation{}, err
	}
	now, err := w.lock(ctx, v, id)
	if err != nil {
		return now, err
	}
	if now.Status == status {
		return now, &StateError{ID: now.ID, Status: now.Status}
	}
	return w.set(ctx, v, now.ID, how, "status = $2::pg_catalog.text", status)
}

// lock returns a conversation that nobody else changes until the transaction ends.
func (w *Writer) lock(ctx context.Context, v table, ref string) (Conversation, error) {
	found, err := w.Conversation(ctx, ref)
	if err != nil {
		return found, err
	}
	if _, err := w.q.Exec(ctx, "select 1 from "+v.name+" v where "+v.is("v", "id", "=", "$1")+" for no key update",
		found.ID); err != nil {
		return found, err
	}
	return w.Conversation(ctx, found.ID)
}

// set changes a column of a conversation to $2.
func (w *Writer) set(ctx context.Context, v table, id, how, set, arg string) (Conversation, error) {
	if v.has("updated_at") {
		set += ", updated_at = pg_catalog.now()"
	}
	after, err := collect(ctx, w.q, scanConversation, "update "+v.name+" v set "+set+" where "+
		v.is("v", "id", "=", "$1")+" returning "+w.conversationColumns(v), id, arg)
	if err == nil && len(after) == 0 {
		err = &NotFoundError{What: "conversation", Ref: id}
	}
	if err != nil {
		return Conversation{}, err
	}
	w.did("conversations", how, id)
	return after[0], nil
}

// AssignConversation makes a conversation that of another contact, by its id or address.
func (w *Writer) AssignConversation(ctx context.Context, id, contact string) (Conversation, error) {
	v, err := w.conversations()
	if err != nil {
		return Conversation{}, err
	}
	now, err := w.lock(ctx, v, id)
	if err != nil {
		return now, err
	}
	c, err := w.Contact(ctx, contact)
	if err != nil || c.ID == now.ContactID {
		return now, err
	}
	own := w.t.tables["contacts"]
	return w.set(ctx, v, now.ID, "assign", "contact_id = (select c.id from "+own.name+" c where "+
		own.is("c", "id", "=", "$2")+")", c.ID)
}
