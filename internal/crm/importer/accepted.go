package importer

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/tabular"
)

// outcome is what became of a row that was not rejected. The words are those of the counts,
// and in a file of accepted rows there are as many of each as were counted.
type outcome string

const (
	outcomeInserted  outcome = "inserted"
	outcomeUpdated   outcome = "updated"
	outcomeUnchanged outcome = "unchanged"
	outcomeRepeated  outcome = "repeated"
)

// accepted writes the rows that were not rejected to a file, with _line, _id of the contact
// and _result. Rows that go straight to the contacts are written as they are read, those that
// wait when it is known what became of them.
type accepted struct {
	rowFile

	text []byte
}

func newAccepted(file *tabular.File, o Options) *accepted {
	return &accepted{rowFile: newRowFile("file of accepted rows", o.AcceptPath, o.AcceptTo, acceptColumns(), file)}
}

// made writes a row of which a contact was made at once.
func (a *accepted) made(rec *tabular.Record, id []byte) error {
	a.text = a.rowFile.text(a.text[:0], rec)
	return a.add(a.text, int64(rec.Line), uuidText(id), outcomeInserted)
}

func (a *accepted) add(text []byte, line int64, id string, what outcome) error {
	return a.row(text, strconv.AppendInt(nil, line, 10), []byte(id), []byte(what))
}

// Of the staged rows that were not rejected the line, the text, the contact's id and what
// became of the row. The places of mine say whether a contact c was written by this
// transaction.
const (
	// %[1]s is the id of the row that stands for those with its address, %[2]s what joins
	// that, %[3]s the contacts, %[4]s says that a row which made none repeats another, %[5]s
	// that one whose address a contact had was rejected.
	acceptedByEmailSQL = `
select s.line, s.raw, coalesce(c.id::pg_catalog.text, ''), case
    when %[5]s and (c.id operator(pg_catalog.=) %[1]s) is not true then 'conflict'
    when s.nth operator(pg_catalog.>) 1 then 'repeated' when c.id operator(pg_catalog.=) %[1]s then 'inserted'
    when %[4]s then 'repeated' when MINE then 'updated'
    else 'unchanged' end as result, s.id
from (select s.*, pg_catalog.row_number() over (partition by s.email order by s.id) as nth
    from pg_temp.crmctl_import s where s.email is not null) s
%[2]s left join %[3]s c on c.email operator(pg_catalog.=) s.email`
	// %[1]s are the contacts, %[2]s as %[4]s above.
	acceptedAlikeSQL = `
select s.line, s.raw, coalesce(c.id::pg_catalog.text, ''), case when c.id operator(pg_catalog.=) s.id then 'inserted'
    when %[2]s or s.nth operator(pg_catalog.>) 1 then 'repeated' else 'unchanged' end as result, s.id
from (select s.*,
        pg_catalog.row_number() over (partition by s.phone, s.name, s.company, s.metadata order by s.id) as nth
    from pg_temp.crmctl_import s where s.email is null) s
left join (select coalesce(c.phone, '') as phone, coalesce(c.name, '') as name, coalesce(c.company, '') as company,
        c.metadata, (pg_catalog.array_agg(c.id order by c.id))[1] as id
    from %[1]s c where c.email is null group by 1, 2, 3, 4) c
    on c.phone operator(pg_catalog.=) coalesce(s.phone, '') and c.name operator(pg_catalog.=) coalesce(s.name, '')
    and c.company operator(pg_catalog.=) coalesce(s.company, '') and c.metadata operator(pg_catalog.=) s.metadata`
	// %[1]s finds the contact c, %[2]s is its key, %[3]s says that it was changed.
	acceptedKeyedSQL = `
select s.line, s.raw, coalesce(%[2]s::pg_catalog.text, ''), case
    when s.id operator(pg_catalog.<>) v.first then 'repeated'
    when v.contact is null then 'inserted' when %[3]s then 'updated' else 'unchanged' end as result, s.id
from pg_temp.crmctl_import s join pg_temp.crmctl_keys y using (id)
join pg_temp.crmctl_verdict v on v.k operator(pg_catalog.=) y.k and v.verdict is null
%[1]s`
)

// mine is the condition that a contact c was written by this transaction. Where the contacts
// are spread over servers, xmin is not to be had.
func (m *merge) mine() string {
	if m.undo == undoSpread {
		return "c.updated_at operator(pg_catalog.=) pg_catalog.now()"
	}
	return "c.xmin operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.xid"
}

// accept writes down what became of the staged rows that were not rejected.
func (m *merge) accept(ctx context.Context) error {
	if m.accepted == nil || m.counts.staged == 0 {
		return nil
	}
	var p db.Pipeline
	p.OwnPath()
	queue := func(sql string, repeats bool) {
		p.Query(m.acceptRows, "select r.line, r.raw, r.contact, r.result from ("+strings.ReplaceAll(sql, "MINE", m.mine())+`
) r (line, raw, contact, result, id) where r.result operator(pg_catalog.<>) 'conflict'
and ($1 or r.result operator(pg_catalog.<>) 'repeated') order by r.id`, repeats)
	}
	repeats := m.inFile != RepeatError
	switch {
	case m.own != nil:
		find := "left join (select c.k, (pg_catalog.array_agg(c.key))[1] as key from (" + m.ownContacts() +
			") c group by c.k) c on c.k operator(pg_catalog.=) v.k"
		queue(fmt.Sprintf(acceptedKeyedSQL, find, "coalesce(v.contact, c.key)", "v.changed"), repeats)
	case m.key != KeyEmail:
		find := "left join " + m.contacts + " c on c.id operator(pg_catalog.=) coalesce(v.contact, v.id)"
		queue(fmt.Sprintf(acceptedKeyedSQL, find, "c.id", "MINE"), repeats)
	default:
		stands, join := "s.id", ""
		if m.counts.repeats > 0 {
			stands, join = "coalesce(f.id, s.id)", "left join pg_temp.crmctl_fold f on f.email operator(pg_catalog.=) s.email"
		}
		conflict := fmt.Sprint(m.policy == ConflictError && !m.direct)
		queue(fmt.Sprintf(acceptedByEmailSQL, stands, join, m.contacts, fmt.Sprint(m.direct), conflict), repeats)
		queue(fmt.Sprintf(acceptedAlikeSQL, m.contacts, fmt.Sprint(m.direct)), true)
	}
	p.StandIn(m.schema, m.path)
	if err := p.Run(ctx, m.q); err != nil {
		return fmt.Errorf("list accepted rows: %w", err)
	}
	return nil
}

func (m *merge) acceptRows(rows pgx.Rows) error {
	var (
		line    int64
		raw     []byte
		contact string
		what    outcome
	)
	_, err := pgx.ForEachRow(rows, []any{&line, &raw, &contact, &what}, func() error {
		return m.accepted.add(raw, line, contact, what)
	})
	return err
}
