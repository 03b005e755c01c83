package crm

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// ContactChange is what becomes of a contact. A field that is nil stays as it is, and one
// that is "" is taken away.
type ContactChange struct {
	Email, Phone, Name, Company *string

	Metadata json.RawMessage // an object whose values take the place of those that are there
	Forget   []string        // names that are taken out of the metadata
}

// value is a column and what goes into it.
type value struct {
	column, sql string
	arg         any
}

// values checks a change, and returns the values in their normal forms.
func (t *Tenant) values(c ContactChange) ([]value, error) {
	var out []value
	add := func(column string, text *string, normal func(string) (string, error)) error {
		if text == nil {
			return nil
		}
		if !storable(*text) {
			return &InvalidError{Field: column, Reason: "not text in UTF-8"}
		}
		v, err := normal(*text)
		if err != nil {
			return err
		}
		out = append(out, value{column, "::pg_catalog.text", orNull(v)})
		return nil
	}
	trimmed := func(text string) (string, error) { return strings.TrimSpace(text), nil }
	if err := add("email", c.Email, normalEmail); err != nil {
		return nil, err
	}
	if err := add("phone", c.Phone, t.normalPhone); err != nil {
		return nil, err
	}
	if err := add("name", c.Name, trimmed); err != nil {
		return nil, err
	}
	if err := add("company", c.Company, trimmed); err != nil {
		return nil, err
	}
	if len(c.Metadata) > 0 && !isObject(c.Metadata) {
		return nil, &InvalidError{Field: "metadata", Value: string(c.Metadata), Reason: "not a JSON object"}
	}
	return out, nil
}

func normalEmail(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	email, ok := importer.NormalEmail(text)
	if !ok {
		return "", &InvalidError{Field: "email", Value: text, Reason: "not an e-mail address"}
	}
	return email, nil
}

// normalPhone returns a number in E.164 where it is known to be one, else tidied.
func (t *Tenant) normalPhone(text string) (string, error) {
	if number, ok := t.phones.e164(text); ok {
		return number, nil
	}
	tidy, ok := importer.TidyPhone(text)
	if !ok {
		return "", &InvalidError{Field: "phone", Value: text, Reason: "too long for a telephone number"}
	}
	return tidy, nil
}

// AddContact makes a contact. The error is a *TakenError where another has the address.
func (w *Writer) AddContact(ctx context.Context, c ContactChange) (Contact, error) {
	values, err := w.t.values(c)
	if err != nil {
		return Contact{}, err
	}
	some := false
	columns, parameters, args := []string{}, []string{}, []any{}
	set := func(column, cast string, arg any) {
		args = append(args, arg)
		columns = append(columns, column)
		parameters = append(parameters, "$"+strconv.Itoa(len(args))+cast)
	}
	for _, v := range values {
		some = some || v.arg != nil
		set(v.column, v.sql, v.arg)
	}
	if !some {
		return Contact{}, &InvalidError{Field: "contact", Reason: "it has neither address, number, name nor company"}
	}
	if len(c.Metadata) > 0 {
		set("metadata", "::pg_catalog.jsonb", string(c.Metadata))
	}
	t, err := w.contacts(columns...)
	if err != nil {
		return Contact{}, err
	}
	made, err := collect(ctx, w.q, scanContact, "insert into "+t.name+" as c ("+strings.Join(columns, ", ")+") values ("+
		strings.Join(parameters, ", ")+") on conflict do nothing returning "+contactColumns(t), args...)
	switch {
	case err != nil:
		return Contact{}, err
	case len(made) == 0:
		return Contact{}, w.taken(ctx, t, values, "")
	}
	w.did("contacts", "add", made[0].ID)
	return made[0], nil
}

// taken returns a *TakenError with the contact other than id that has the address, nil
// where there is none.
func (w *Writer) taken(ctx context.Context, t table, values []value, id string) error {
	for _, v := range values {
		email, ok := v.arg.(string)
		if v.column != "email" || !ok {
			continue
		}
		where, arg, err := t.byRef("c", email)
		if err != nil {
			return err
		}
		found, err := collect(ctx, w.q, scanContact, "select "+contactColumns(t)+" from "+t.name+" c where "+where+
			" and c.id::pg_catalog.text operator(pg_catalog.<>) $2::pg_catalog.text limit 1", arg, id)
		switch {
		case err != nil:
			return err
		case len(found) > 0:
			return &TakenError{Email: email, ID: found[0].ID, Name: found[0].Name}
		case id == "":
			return &TakenError{Email: email}
		}
	}
	if id == "" {
		return &InvalidError{Field: "contact", Reason: "one with a key of the same value is there"}
	}
	return nil
}

// EditContact changes a contact, by its id or address.
func (w *Writer) EditContact(ctx context.Context, ref string, c ContactChange) (Contact, error) {
	values, err := w.t.values(c)
	if err != nil {
		return Contact{}, err
	}
	before, err := w.Contact(ctx, ref)
	if err != nil {
		return Contact{}, err
	}
	t, err := w.contacts(columnsOf(values)...)
	if err != nil {
		return Contact{}, err
	}
	if err := w.taken(ctx, t, values, before.ID); err != nil {
		return Contact{}, err
	}
	sets, args := []string{}, []any{before.ID}
	for _, v := range values {
		args = append(args, v.arg)
		sets = append(sets, v.column+" = $"+strconv.Itoa(len(args))+v.sql)
	}
	if len(c.Metadata) > 0 || len(c.Forget) > 0 {
		if t, err = w.contacts("metadata"); err != nil {
			return Contact{}, err
		}
		patch := c.Metadata
		if len(patch) == 0 {
			patch = json.RawMessage("{}")
		}
		args = append(args, append([]string{}, c.Forget...), string(patch))
		sets = append(sets, "metadata = (c.metadata operator(pg_catalog.-) $"+strconv.Itoa(len(args)-1)+
			"::pg_catalog.text[]) operator(pg_catalog.||) $"+strconv.Itoa(len(args))+"::pg_catalog.jsonb")
	}
	if len(sets) == 0 {
		return Contact{}, &InvalidError{Field: "contact", Reason: "nothing to change"}
	}
	if t.has("updated_at") {
		sets = append(sets, "updated_at = pg_catalog.now()")
	}
	after, err := collect(ctx, w.q, scanContact, "update "+t.name+" c set "+strings.Join(sets, ", ")+" where "+
		t.is("c", "id", "=", "$1")+" returning "+contactColumns(t), args...)
	switch {
	case db.SQLState(err) == db.CodeUniqueViolation && c.Email != nil:
		return Contact{}, &TakenError{Email: *c.Email}
	case err != nil:
		return Contact{}, err
	case len(after) == 0:
		return Contact{}, &NotFoundError{What: "contact", Ref: ref}
	}
	w.did("contacts", "edit", before.ID)
	return after[0], nil
}

func columnsOf(values []value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.column
	}
	return out
}

// Removed is a contact that is no more, with what went with it.
type Removed struct {
	Contact

	Conversations, Messages int64
}

// RemoveContact removes a contact with its conversations and their messages.
func (w *Writer) RemoveContact(ctx context.Context, ref string) (Removed, error) {
	c, err := w.Contact(ctx, ref)
	if err != nil {
		return Removed{}, err
	}
	out := Removed{Contact: c}
	t := w.t.tables["contacts"]
	if v, err := w.need("conversations", "id", "contact_id"); err == nil {
		count := "select pg_catalog.count(*) from " + v.name + " v where " + v.is("v", "contact_id", "=", "$1")
		if err := w.q.QueryRow(ctx, count, c.ID).Scan(&out.Conversations); err != nil {
			return out, err
		}
		if m, err := w.need("messages", "conversation_id"); err == nil {
			if err := w.q.QueryRow(ctx, "select pg_catalog.count(*) from "+v.name+" v join "+m.name+
				" m on m.conversation_id operator(pg_catalog.=) v.id where "+v.is("v", "contact_id", "=", "$1"),
				c.ID).Scan(&out.Messages); err != nil {
				return out, err
			}
		}
	}
	tag, err := w.q.Exec(ctx, "delete from "+t.name+" c where "+t.is("c", "id", "=", "$1"), c.ID)
	const foreignKey = "23503"
	switch {
	case db.SQLState(err) == foreignKey:
		return out, &ReferredError{What: "contact", ID: c.ID, Err: err}
	case err == nil && tag.RowsAffected() == 0:
		return out, &NotFoundError{What: "contact", Ref: ref}
	case err == nil:
		w.did("contacts", "remove", c.ID)
	}
	return out, err
}
