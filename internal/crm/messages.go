package crm

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// The directions of a message.
const (
	Inbound  = "inbound"  // from the contact
	Outbound = "outbound" // to the contact
)

// Directions returns the directions of a message.
func Directions() []string { return []string{Inbound, Outbound} }

// Message is one of a conversation.
type Message struct {
	ID             string
	ConversationID string
	Direction      string
	Sender         string
	Content        string // or its beginning, where that was asked for
	Size           int64  // of the whole content, in bytes
	CreatedAt      time.Time
}

func (r *Reader) messages(columns ...string) (table, error) {
	return r.need("messages", append(columns, "id", "conversation_id", "content")...)
}

// messageColumns are what scanMessage reads of m. cut is how many characters of the
// content are wanted, 0 for all.
func messageColumns(m table, cut int) string {
	content := m.text("m", "content")
	if cut > 0 {
		content = "pg_catalog.left(" + content + ", " + strconv.Itoa(cut) + ")"
	}
	return "m.id::pg_catalog.text, " + m.text("m", "conversation_id") + ", " + m.text("m", "direction") + ", " +
		m.text("m", "sender") + ", " + content + ", pg_catalog.octet_length(" + m.text("m", "content") + "), " +
		m.raw("m", "created_at", "pg_catalog.timestamptz")
}

// messageFields are what scanMessage scans into.
func messageFields(m *Message, created **time.Time) []any {
	return []any{&m.ID, &m.ConversationID, &m.Direction, &m.Sender, &m.Content, &m.Size, created}
}

func scanMessage(row pgx.CollectableRow) (Message, error) {
	var m Message
	var created *time.Time
	err := row.Scan(messageFields(&m, &created)...)
	m.CreatedAt = orZero(created)
	return m, err
}

// MessageQuery says which messages are listed.
type MessageQuery struct {
	Page

	Conversation string // its id, or a contact's address: the newest one with that
	Cut          int    // so many characters of each content, 0 for all
}

// Messages gives the messages of a conversation, the newest first, one after another: a
// page of large ones is never in memory as a whole. end is set behind the last of them, to
// "" where nothing comes after it.
func (r *Reader) Messages(ctx context.Context, o MessageQuery, end *string) (iter.Seq2[Message, error], error) {
	m, err := r.messages("created_at")
	if err != nil {
		return nil, err
	}
	v, err := r.Conversation(ctx, o.Conversation)
	if err != nil {
		return nil, err
	}
	key, err := o.key(2)
	if err != nil || len(key) > 0 && !m.fitsID(key[1]) {
		return nil, orInvalid(err, o.Page)
	}
	where, args := m.is("m", "conversation_id", "=", "$1"), []any{v.ID}
	at, order := "m.created_at::pg_catalog.text", "m.created_at desc, m.id desc"
	dated := m.columns["created_at"].NotNull
	if !dated { // the table of another program: by the ids, as far as they tell
		at, order = "''", "m.id desc"
	}
	switch {
	case key == nil:
	case dated:
		where += " and " + before(m, "m", len(args))
		args = append(args, key[0], key[1])
	default:
		where += " and " + m.is("m", "id", "<", "$2")
		args = append(args, key[1])
	}
	sql := "select " + messageColumns(m, o.Cut) + ", " + at + " from " + m.name + " m where " + where +
		" order by " + order + " limit " + strconv.Itoa(o.limit()+1)
	return func(yield func(Message, error) bool) {
		err := r.eachMessage(ctx, sql, args, o.limit(), end, func(m Message) bool { return yield(m, nil) })
		if err != nil {
			yield(Message{}, badKey(err, o.Page))
		}
	}, nil
}

// eachMessage yields up to n messages of a query that finds one more where there is more.
func (r *Reader) eachMessage(ctx context.Context, sql string, args []any, n int, end *string,
	yield func(Message) bool) error {
	rows, err := r.q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	at, last := "", ""
	for count := 1; rows.Next(); count++ {
		if count > n {
			*end = last
			break
		}
		var times []string
		one, err := scanMessage(timed{rows, &at, &times})
		if err != nil {
			return err
		}
		if last = endOf(at, one.ID); !yield(one) {
			return nil
		}
	}
	rows.Close()
	return rows.Err()
}

// NewMessage is a message that was sent or received.
type NewMessage struct {
	Conversation string // as in MessageQuery
	Direction    string // Inbound or Outbound
	Sender       string
	Content      string
	// Reopen opens the conversation where it is closed.
	Reopen bool
}

// AppendMessage adds a message to a conversation. The error is a *StateError where the
// conversation is closed.
func (w *Writer) AppendMessage(ctx context.Context, o NewMessage) (Message, error) {
	m, err := w.messages("direction", "sender")
	if err != nil {
		return Message{}, err
	}
	switch {
	case o.Content == "":
		return Message{}, &InvalidError{Field: "message", Reason: "it is empty"}
	case !storable(o.Content):
		return Message{}, &InvalidError{Field: "message", Reason: "not text in UTF-8"}
	case !storable(o.Sender):
		return Message{}, &InvalidError{Field: "sender", Reason: "not text in UTF-8"}
	case o.Direction != Inbound && o.Direction != Outbound:
		return Message{}, &InvalidError{Field: "direction", Value: o.Direction, Reason: "neither inbound nor outbound"}
	}
	v, err := w.conversations()
	if err != nil {
		return Message{}, err
	}
	now, err := w.lock(ctx, v, o.Conversation)
	switch {
	case err != nil:
		return Message{}, err
	case now.Status == StatusClosed && !o.Reopen:
		return Message{}, &StateError{ID: now.ID, Status: now.Status}
	case now.Status == StatusClosed:
		if _, err := w.set(ctx, v, now.ID, "reopen", "status = $2::pg_catalog.text", StatusOpen); err != nil {
			return Message{}, err
		}
	case v.has("updated_at"):
		if _, err := w.q.Exec(ctx, "update "+v.name+" v set updated_at = pg_catalog.now() where "+
			v.is("v", "id", "=", "$1"), now.ID); err != nil {
			return Message{}, err
		}
	}
	made, err := collect(ctx, w.q, scanMessage, "insert into "+m.name+" as m (conversation_id, direction, sender, "+
		"content) select v.id, $2::pg_catalog.text, $3::pg_catalog.text, $4::pg_catalog.text from "+v.name+" v where "+
		v.is("v", "id", "=", "$1")+" returning "+messageColumns(m, previewCut), now.ID, o.Direction, orNull(o.Sender),
		o.Content)
	const tooManyWords = "54000"
	if db.SQLState(err) == tooManyWords {
		return Message{}, &InvalidError{Field: "message", Reason: "it has more different words than the search can hold"}
	}
	if err == nil && len(made) == 0 {
		err = &NotFoundError{What: "conversation", Ref: o.Conversation}
	}
	if err != nil {
		return Message{}, err
	}
	made[0].Content = o.Content
	w.did("messages", "add", made[0].ID)
	return made[0], nil
}

// previewCut is how much of a message is read back that was just written.
const previewCut = 1
