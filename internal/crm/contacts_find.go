package crm

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/crm/importer"
)

// ContactQuery says which contacts are searched for: those that all of it is true of.
type ContactQuery struct {
	Page

	EmailPrefix string          // how the address begins
	Phone       string          // as somebody types it
	Metadata    json.RawMessage // an object that the metadata contains
}

// FindContacts returns a page of the contacts that a query is true of, and its end: by
// their addresses where the query has the beginning of one, else by their ids.
func (r *Reader) FindContacts(ctx context.Context, o ContactQuery) ([]Contact, string, error) {
	t, err := r.contacts()
	if err != nil {
		return nil, "", err
	}
	var where []string
	var args []any
	parameter := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	if o.EmailPrefix != "" {
		if t, err = r.contacts("email"); err != nil {
			return nil, "", err
		}
		where = append(where, t.emailBegins(o.EmailPrefix, parameter))
	}
	if o.Phone != "" {
		if t, err = r.contacts("phone"); err != nil {
			return nil, "", err
		}
		where = append(where, "c.phone operator(pg_catalog.=) any ("+parameter(r.t.phoneForms(o.Phone))+
			"::pg_catalog.text[])")
	}
	if len(o.Metadata) > 0 {
		if t, err = r.contacts("metadata"); err != nil {
			return nil, "", err
		}
		if !isObject(o.Metadata) {
			return nil, "", &InvalidError{Field: "metadata", Value: string(o.Metadata), Reason: "not a JSON object"}
		}
		where = append(where, "c.metadata operator(pg_catalog.@>) "+parameter(string(o.Metadata))+"::pg_catalog.jsonb")
	}
	if len(where) == 0 {
		return nil, "", &InvalidError{Field: "query", Reason: "nothing to search for"}
	}
	return r.page(ctx, t, where, args, o)
}

// emailBegins is the condition that an address begins with a text. Addresses are stored in
// lower case, but for those of other programs.
func (t table) emailBegins(prefix string, parameter func(any) string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(prefix)
	begins := func(text string) string {
		return "c.email operator(pg_catalog.~~) " + parameter(text+"%") + "::pg_catalog.text"
	}
	lower := strings.ToLower(escaped)
	if lower == escaped || t.has("metadata") && t.has("company") {
		return begins(lower)
	}
	return "(" + begins(lower) + " or " + begins(escaped) + ")"
}

// page reads a page of the contacts for which the conditions are true. Where the metadata
// are asked for, these may be few, which the server guesses mostly wrong.
func (r *Reader) page(ctx context.Context, t table, where []string, args []any,
	o ContactQuery) ([]Contact, string, error) {
	if len(o.Metadata) > 0 {
		var err error
		if where, args, err = r.ifFew(ctx, t, "c", where, args); err != nil {
			return nil, "", err
		}
	}
	return r.ordered(ctx, t, where, args, o)
}

// ordered pages by the index for beginnings of addresses, in its order, where the query has
// one, else by the ids.
func (r *Reader) ordered(ctx context.Context, t table, where []string, args []any,
	o ContactQuery) ([]Contact, string, error) {
	if o.EmailPrefix == "" {
		return r.contactsWhere(ctx, t, where, args, o.Page)
	}
	key, err := o.key(1)
	if err != nil {
		return nil, "", err
	}
	if key != nil {
		args = append(args, key[0])
		where = append(where, "c.email operator(pg_catalog.~>~) $"+strconv.Itoa(len(args))+"::pg_catalog.text")
	}
	order := "c.email using operator(pg_catalog.~<~)"
	return r.contactRows(ctx, t, where, args, o.Page, order, func(c Contact) string { return c.Email })
}

// contactsWhere pages by the ids.
func (r *Reader) contactsWhere(ctx context.Context, t table, where []string, args []any,
	page Page) ([]Contact, string, error) {
	key, err := page.key(1)
	if err != nil || len(key) > 0 && !t.fitsID(key[0]) {
		return nil, "", orInvalid(err, page)
	}
	if key != nil {
		args = append(args, key[0])
		where = append(where, t.is("c", "id", ">", "$"+strconv.Itoa(len(args))))
	}
	if len(where) == 0 {
		where = []string{"true"}
	}
	return r.contactRows(ctx, t, where, args, page, "c.id", func(c Contact) string { return c.ID })
}

// contactRows reads a page whose key is one value.
func (r *Reader) contactRows(ctx context.Context, t table, where []string, args []any, page Page, order string,
	key func(Contact) string) ([]Contact, string, error) {
	n := page.limit()
	rows, err := collect(ctx, r.q, scanContact, "select "+contactColumns(t)+" from "+t.name+" c where "+
		strings.Join(where, " and ")+" order by "+order+" limit "+strconv.Itoa(n+1), args...)
	if err != nil || len(rows) <= n {
		return rows, "", err
	}
	return rows[:n], endOf(key(rows[n-1])), nil
}

// phoneForms returns how a number may be stored: in E.164, and as it was typed.
func (t *Tenant) phoneForms(text string) []string {
	typed, _ := importer.TidyPhone(text)
	if number, ok := t.phones.e164(text); ok && number != typed {
		return []string{number, typed}
	}
	return []string{typed}
}
