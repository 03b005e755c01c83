package crm

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// Contact is somebody whom the tenant knows. What it lacks is "".
type Contact struct {
	ID       string
	Email    string
	Phone    string // in E.164 where it is known to be a number
	Name     string
	Company  string
	Metadata json.RawMessage // an object

	CreatedAt time.Time // zero where the table does not tell
	UpdatedAt time.Time
}

// contacts returns the table, which has the columns and those of a list.
func (r *Reader) contacts(columns ...string) (table, error) {
	return r.need("contacts", append(columns, "id")...)
}

// contactColumns are what scanContact reads. c is the alias.
func contactColumns(t table) string {
	return "c.id::pg_catalog.text, " + t.text("c", "email") + ", " + t.text("c", "phone") + ", " + t.text("c", "name") +
		", " + t.text("c", "company") + ", coalesce(" + t.raw("c", "metadata", "pg_catalog.text") + ", '{}'), " +
		t.raw("c", "created_at", "pg_catalog.timestamptz") + ", " + t.raw("c", "updated_at", "pg_catalog.timestamptz")
}

func scanContact(row pgx.CollectableRow) (Contact, error) {
	var c Contact
	var metadata string
	var created, updated *time.Time
	err := row.Scan(&c.ID, &c.Email, &c.Phone, &c.Name, &c.Company, &metadata, &created, &updated)
	c.Metadata = json.RawMessage(metadata)
	c.CreatedAt, c.UpdatedAt = orZero(created), orZero(updated)
	return c, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Contact returns a contact by its id or its address. The error is a *NotFoundError, or an
// *AmbiguousError: the table of another program may have an address more than once.
func (r *Reader) Contact(ctx context.Context, ref string) (Contact, error) {
	t, err := r.contacts()
	if err != nil {
		return Contact{}, err
	}
	where, arg, err := t.byRef("c", ref)
	if err != nil {
		return Contact{}, err
	}
	found, err := collect(ctx, r.q, scanContact, "select "+contactColumns(t)+" from "+t.name+" c where "+where+
		" order by 1 limit 2", arg)
	switch {
	case err != nil:
		return Contact{}, err
	case len(found) == 0:
		return Contact{}, &NotFoundError{What: "contact", Ref: ref}
	case len(found) > 1:
		return Contact{}, &AmbiguousError{Ref: ref, IDs: []string{found[0].ID, found[1].ID}}
	}
	return found[0], nil
}

// byRef returns the condition that a contact has an id or an address, with $1. An address is
// stored in its normal form, but for those of other programs.
func (t table) byRef(alias, ref string) (where string, arg any, err error) {
	if !strings.Contains(ref, "@") {
		if !t.fitsID(ref) {
			return "", nil, &NotFoundError{What: "contact", Ref: ref}
		}
		return t.is(alias, "id", "=", "$1"), ref, nil
	}
	if !t.has("email") {
		return "", nil, &importer.TableError{Schema: t.schema, Table: t.bare, Missing: []string{"email"}}
	}
	forms := []string{ref}
	if email, ok := importer.NormalEmail(ref); ok && email != ref {
		forms = append(forms, email)
	}
	return t.isAny(alias, "email", "$1"), forms, nil
}

// fitsID reports whether a text can be a value of the column id, whose type may have a form.
func (t table) fitsID(text string) bool {
	switch t.columns["id"].Type {
	case "pg_catalog.uuid":
		return isUUID(text)
	case "pg_catalog.int4", "pg_catalog.int2":
		_, err := strconv.ParseInt(text, 10, 32)
		return err == nil
	case "pg_catalog.int8":
		_, err := strconv.ParseInt(text, 10, 64)
		return err == nil
	}
	return !strings.ContainsRune(text, 0)
}

func isUUID(text string) bool {
	matched, err := regexp.MatchString(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`, text)
	return err == nil && matched
}

// Contacts returns a page of all contacts, the newest first, and its end, "" for the last
// page. A table that does not tell when each was made is listed by its ids.
//
// Contacts of one import share a time, and those may be most of the table: sorting them
// for each page would cost more the more they are. So of each time that does not fit the
// page whole, the ids are asked for in their order, which the server may read from either
// index, whichever is shorter.
func (r *Reader) Contacts(ctx context.Context, page Page) ([]Contact, string, error) {
	t, err := r.contacts()
	if err != nil {
		return nil, "", err
	}
	if !t.columns["created_at"].NotNull {
		return r.contactsWhere(ctx, t, nil, nil, page)
	}
	key, err := page.key(2)
	if err != nil || len(key) > 0 && !t.fitsID(key[1]) {
		return nil, "", orInvalid(err, page)
	}
	n := page.limit()
	l := contactList{t: t, n: n + 1, at: t.columns["created_at"].Type}
	if err := l.run(ctx, r.q, key); err != nil {
		return nil, "", badKey(err, page)
	}
	rows, times := l.rows, l.times
	if len(rows) <= n {
		return rows, "", nil
	}
	return rows[:n], endOf(times[n-1], rows[n-1].ID), nil
}

// contactList is a page of contacts on its way: at most n, with the exact times of each.
type contactList struct {
	t     table
	n     int
	at    string // type of created_at
	rows  []Contact
	times []string
}

// add adds a query of contacts to a pipeline; where and rest follow it.
func (l *contactList) add(p *db.Pipeline, where, rest string, args ...any) {
	p.Query(func(rows pgx.Rows) error {
		var at string
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Contact, error) {
			return scanContact(timed{row, &at, &l.times})
		})
		l.rows = append(l.rows, found...)
		return err
	}, "select "+contactColumns(l.t)+", c.created_at::pg_catalog.text from "+l.t.name+" c where "+where+rest, args...)
}

// timed scans one column more than is asked for, and keeps it.
type timed struct {
	pgx.CollectableRow

	at   *string
	kept *[]string
}

func (r timed) Scan(dest ...any) error {
	err := r.CollectableRow.Scan(append(dest, r.at)...)
	*r.kept = append(*r.kept, *r.at)
	return err
}

// run reads the page behind key: first what shares its time, then whole times, then as much
// of the next time as there is room for.
func (l *contactList) run(ctx context.Context, q db.Querier, key []string) error {
	at := func(op, parameter string) string { return l.t.is("c", "created_at", op, parameter) }
	var bound *string
	before, args := "true", []any{}
	var p db.Pipeline
	if key != nil {
		l.add(&p, at("=", "$1")+" and "+l.t.is("c", "id", "<", "$2"), " order by c.id desc limit $3", key[0], key[1], l.n)
		before, args = at("<", "$1"), append(args, key[0])
	}
	limit := "$" + strconv.Itoa(len(args)+1)
	p.QueryRow([]any{&bound}, `select pg_catalog.min(x.created_at)::pg_catalog.text from (select c.created_at from `+
		l.t.name+` c where `+before+` order by c.created_at desc limit `+limit+`) x`, append(args, l.n)...)
	if err := p.Run(ctx, q); err != nil {
		return db.Plain(err)
	}
	if len(l.rows) >= l.n || bound == nil {
		return nil
	}
	var rest db.Pipeline
	whole, upTo := at(">", "$1"), []any{*bound}
	if key != nil {
		whole, upTo = whole+" and "+at("<", "$2"), append(upTo, key[0])
	}
	l.add(&rest, whole, " order by c.created_at desc, c.id desc", upTo...)
	l.add(&rest, at("=", "$1"), " order by c.id desc limit $2", *bound, l.n)
	if err := rest.Run(ctx, q); err != nil {
		return db.Plain(err)
	}
	l.rows = l.rows[:min(len(l.rows), l.n)]
	return nil
}

func isObject(text json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(text, &object) == nil && object != nil
}

// collect runs a query of ours, which names everything in full, and reads its rows.
func collect[T any](ctx context.Context, q db.Querier, to pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, to)
}

func orInvalid(err error, page Page) error {
	if err != nil {
		return err
	}
	return &InvalidError{Field: "after", Value: page.After, Reason: "not the end of a page of this list"}
}

// badKey explains the error of a page whose key the server cannot read.
func badKey(err error, page Page) error {
	const invalidText, invalidTime = "22P02", "22007"
	if state := db.SQLState(err); page.After != "" && (state == invalidText || state == invalidTime) {
		return orInvalid(nil, page)
	}
	return err
}
