package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Key says by what a row is known to be a contact that is there.
type Key string

const (
	// KeyEmail is the e-mail address. It is the default, and the fastest: it is unique.
	KeyEmail Key = "email"
	// KeyPhone is the phone number, as it is stored.
	KeyPhone Key = "phone"
	// KeyExternalID is the value of external_id in the metadata.
	KeyExternalID Key = "external_id"
	// KeyEmailPhone is the e-mail address, and the phone number where the row or the
	// contact has no address.
	KeyEmailPhone Key = "email,phone"
)

// externalID is the key in metadata of an identifier that another program gave.
const externalID = "external_id"

// ParseKey reads "email", "phone", "external_id" or "email,phone"; "" is KeyEmail.
func ParseKey(s string) (Key, error) {
	switch k := Key(s); k {
	case KeyEmail, KeyPhone, KeyExternalID, KeyEmailPhone:
		return k, nil
	case "":
		return KeyEmail, nil
	}
	return "", fmt.Errorf("key %q is none of email, phone, external_id, email,phone", s)
}

// checkKey refuses a file of which no column holds the key.
func (m *mapping) checkKey(key Key) error {
	has := true
	switch key {
	case KeyPhone:
		has = len(m.sources[FieldPhone]) > 0
	case KeyExternalID:
		has = slices.ContainsFunc(m.columns, func(c ColumnPlan) bool { return c.Key == externalID })
	case KeyEmailPhone:
		has = len(m.sources[FieldPhone])+len(m.sources[FieldEmail]) > 0
	case KeyEmail:
	}
	if !has {
		return &MappingError{Reason: fmt.Sprintf("no column is mapped to the key, %s: %s", key, quoteList(m.headers())),
			Headers: m.headers()}
	}
	return nil
}

// rest returns how many columns are no field and have no place of their own.
func (m *mapping) rest(placed map[int]bool) int {
	n := 0
	for i, c := range m.columns {
		if c.Field == FieldMetadata && !placed[i] {
			n++
		}
	}
	return n
}

// keyless rejects a row that has no key. In our own table a row without an address is
// known by everything that it has.
func (c *converter) keyless(key Key, own bool, row *contact) *rejection {
	switch key {
	case KeyEmail:
		if !own || len(row.email) > 0 {
			return nil
		}
	case KeyPhone:
		if len(row.phone) > 0 {
			return nil
		}
	case KeyEmailPhone:
		if len(row.email)+len(row.phone) > 0 {
			return nil
		}
	case KeyExternalID:
		for i, column := range c.columns {
			if column.Key == externalID && len(c.cells[i]) > 0 {
				return nil
			}
		}
	}
	return &rejection{code: RejectNoKey, message: "it has no " + strings.Replace(string(key), ",", " and no ", 1) +
		", which is the key"}
}

// stagedKey is the key of a staged row s; p is as in keysSQL.
var stagedKey = map[Key]string{
	KeyEmail: "s.email", KeyPhone: "s.phone", KeyExternalID: "s.metadata ->> 'external_id'",
	KeyEmailPhone: "coalesce(s.email, p.email, s.phone)",
}

// keysSQL makes a table of the staged rows' keys. A row without an address has that of
// the rows with its number, where the file has them.
const keysSQL = `
create temporary table crmctl_keys on commit drop as
select s.id, %s as k from pg_temp.crmctl_import s
left join (
    select e.phone, min(e.email) as email from pg_temp.crmctl_import e
    where e.email is not null and e.phone is not null group by e.phone
) p on s.email is null and p.phone = s.phone`

// keyedSQL are the staged rows and their keys.
const keyedSQL = "select s.*, y.k from pg_temp.crmctl_import s join pg_temp.crmctl_keys y using (id)"

// The contacts that a folded row f may be, as k and id; p says which count first.
var meetSQL = map[Key]string{
	KeyPhone: `select f.k, c.id, 1 as p from pg_temp.crmctl_keyed f join CONTACTS c on c.phone = f.k`,
	KeyExternalID: `select f.k, c.id, 1 as p from pg_temp.crmctl_keyed f
		join CONTACTS c on c.metadata ->> 'external_id' = f.k`,
	KeyEmailPhone: `select f.k, c.id, 1 as p from pg_temp.crmctl_keyed f join CONTACTS c on c.email = f.email
    union all select f.k, c.id, 2 from pg_temp.crmctl_keyed f join CONTACTS c on c.phone = f.phone and (c.email is null
    	or f.email is null)`,
}

// verdictSQL makes the table of what becomes of each folded row: the contact it is, null
// for a new one, and why it is rejected, null for not at all. %[1]s are the contacts it
// may be, %[2]s the table, %[3]s whether a contact that is there is a conflict, %[4]s
// whether the row's address is written.
const verdictSQL = `
create temporary table crmctl_verdict on commit drop as
with met as (%[1]s), one as (
    select m.k, (array_agg(m.id order by m.p))[1] as contact, case when min(m.p) = 1
    	and max(m.p) = 2 then 1 else count(*) end as n
    from met m group by m.k
)
select f.*, o.contact, case
    when o.n > 1 then 'ambiguous_key'
    when o.contact is not null and %[3]s then 'exists'
    when o.contact is not null and row_number() over (partition by o.contact order by f.first) > 1 then 'ambiguous_key'
    when f.email is null or o.contact is not null and not %[4]s then null
    when exists (select from %[2]s c where c.email = f.email and c.id is distinct from o.contact) then 'email_exists'
    when row_number() over (partition by f.email order by f.first) > 1 then 'duplicate_email'
    end as verdict
from pg_temp.crmctl_keyed f left join one o using (k)`

// keyed merges all staged rows by a key that is not the address alone.
func (m *merge) keyed(ctx context.Context) error {
	writes := fmt.Sprint(m.policy == ConflictUpdate)
	if m.policy == ConflictMerge {
		writes = "exists (select from " + m.contacts + " c where c.id = o.contact and c.email is null)"
	}
	meet := strings.ReplaceAll(meetSQL[m.key], "CONTACTS", m.contacts)
	if err := m.judge(ctx, "", fmt.Sprintf(verdictSQL, meet, m.contacts, fmt.Sprint(m.policy == ConflictError),
		writes)); err != nil {
		return err
	}
	return m.carryOut(ctx, m.insertKeyed, m.updateKeyed)
}

// carryOut does what the verdicts say, counts it, and rejects the rest.
func (m *merge) carryOut(ctx context.Context, insert, update func(context.Context) (int64, error)) error {
	var repeats int64
	err := m.q.QueryRow(ctx, `select pg_catalog.count(*), coalesce(pg_catalog.sum(v.rows operator(pg_catalog.-) 1),
		0)::bigint
from pg_temp.crmctl_verdict v`).Scan(&m.groups, &repeats)
	if err != nil {
		return err
	}
	inserted, err := insert(ctx)
	var updated int64
	if err == nil {
		updated, err = update(ctx)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	m.inserted, m.updated, m.repeated = inserted, updated, repeats
	m.unchanged = m.groups - inserted - updated
	return m.rejectKeyed(ctx)
}

// judge finds out which contact each key is, by the statement verdict. lock is a
// statement that comes first, "" for none.
func (m *merge) judge(ctx context.Context, lock, verdict string) error {
	var p db.Pipeline
	p.OwnPath()
	if lock != "" {
		p.Exec(lock)
	}
	p.Exec(fmt.Sprintf(keysSQL, stagedKey[m.key]))
	p.Exec("analyze pg_temp.crmctl_keys")
	p.Exec("create temporary table crmctl_keyed on commit drop as " + m.foldSQL(keyedSQL))
	p.Exec("analyze pg_temp.crmctl_keyed")
	p.Exec(verdict)
	p.Exec("analyze pg_temp.crmctl_verdict")
	p.StandIn(m.schema, m.path)
	return p.Run(ctx, m.q)
}

func (m *merge) insertKeyed(ctx context.Context) (int64, error) {
	return m.insert(ctx, "from pg_temp.crmctl_verdict s where s.contact is null and s.verdict is null order by s.id", "")
}

// updateKeyed changes the contacts that rows were found to be.
func (m *merge) updateKeyed(ctx context.Context) (n int64, err error) {
	how, email := updateRule(), "f.email is not null and (f.email operator(pg_catalog.=) c.email) is not true"
	set := "email = coalesce(f.email, c.email), "
	switch m.policy {
	case ConflictUpdate:
	case ConflictMerge:
		how = fillRule()
		if m.unites() {
			how = how.unite()
		}
		email, set = "f.email is not null and c.email is null", "email = coalesce(c.email, f.email), "
	case ConflictSkip, ConflictError:
		return 0, nil
	}
	if m.keeps() {
		on := "e.id operator(pg_catalog.=) s.contact and s.verdict is null and (" + email + " or " +
			how.changes("f", "c") + ")"
		on = strings.ReplaceAll(strings.ReplaceAll(on, "f.", "s."), "c.", "e.")
		return m.updateKept(ctx, "select * from pg_temp.crmctl_verdict", on, strings.ReplaceAll(set, "f.", "m."), how)
	}
	set += strings.NewReplacer("excluded.name", how.name("f", "c"), "excluded.", "f.").Replace(how.set)
	where := "c.id operator(pg_catalog.=) f.contact and f.verdict is null and (" + email + " or " +
		how.changes("f", "c") + ")"
	if m.dryRun {
		err = m.q.QueryRow(ctx, "select pg_catalog.count(*) from pg_temp.crmctl_verdict f, "+m.contacts+" c where "+
			where).Scan(&n)
		return n, err
	}
	tag, err := m.q.Exec(ctx, "update "+m.contacts+" c set "+set+
		", updated_at = pg_catalog.now() from pg_temp.crmctl_verdict f where "+where)
	return tag.RowsAffected(), err
}

// rejectKeyed rejects the rows whose key is in doubt or whose address is another's, and,
// where a repeat is an error, those.
func (m *merge) rejectKeyed(ctx context.Context) error {
	var p db.Pipeline
	p.OwnPath()
	p.Query(func(rows pgx.Rows) error {
		var (
			line    int64
			k, raw  string
			later   bool
			verdict string
			email   string
		)
		_, err := pgx.ForEachRow(rows, []any{&line, &k, &raw, &later, &verdict, &email}, func() error {
			if later {
				m.repeated--
			} else {
				m.unchanged--
			}
			return m.rejects.addText([]byte(raw), line, m.keyRejection(verdict, k, email))
		})
		return err
	}, `
select s.line, y.k, s.raw, s.id <> v.first, coalesce(v.verdict, 'repeated'), coalesce(v.email, '')
from pg_temp.crmctl_import s join pg_temp.crmctl_keys y using (id) join pg_temp.crmctl_verdict v on v.k = y.k
where v.verdict is not null or $1 and s.id <> v.first order by s.line, s.id`, m.inFile == RepeatError)
	p.StandIn(m.schema, m.path)
	return p.Run(ctx, m.q)
}

func (m *merge) keyRejection(verdict, k, email string) *rejection {
	if column, ok := strings.CutPrefix(verdict, missingPrefix); ok {
		return &rejection{code: RejectMissing, message: "the column " + column +
			" of the table needs a value, and the row has none"}
	}
	switch verdict {
	case "refused":
		return m.refused[k]
	case "exists":
		return &rejection{code: RejectKeyExists, message: fmt.Sprintf("a contact has the %s %q", m.key, k)}
	case "repeated":
		return &rejection{code: RejectDuplicateKey, message: fmt.Sprintf("an earlier row has the %s %q", m.key, k)}
	case string(RejectExists):
		return &rejection{code: RejectExists, column: m.column, message: "another contact has the e-mail address " + email}
	case string(RejectDuplicate):
		return &rejection{code: RejectDuplicate, column: m.column,
			message: "an earlier row, of another key, has the e-mail address " + email}
	}
	return &rejection{code: RejectAmbiguous, message: fmt.Sprintf("the %s %q can mean several contacts", m.key, k)}
}
