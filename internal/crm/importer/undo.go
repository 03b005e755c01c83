package importer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
)

// UndoOptions say which import is taken back.
type UndoOptions struct {
	Schema db.Schema // of the tenant; required
	Path   db.Path   // behind it, for what the tables call
	Tenant db.Row    // as in Options

	Import string // what Options.Keep was
	Parts  []Part // what the import has written
	DryRun bool

	LockTimeout      time.Duration
	StatementTimeout time.Duration
	Trusted          []string // as in Options
	OwnRole          bool     // as in Options
	// AfterUndo, if not nil, runs in the transaction before it commits. Its error rolls
	// everything back. A dry run does not call it.
	AfterUndo func(ctx context.Context, q db.Querier, r UndoResult) error
}

// KeptReason says why something of an import was not taken back.
type KeptReason string

// The reasons, in the order of a summary.
const (
	KeptChanged    KeptReason = "changed"     // the contact was changed since
	KeptReferenced KeptReason = "referenced"  // another table refers to the contact
	KeptGone       KeptReason = "gone"        // the contact that was changed is not there any more
	KeptEmailTaken KeptReason = "email_taken" // another contact has the address that it had
)

// KeptContact is a contact that was not taken back.
type KeptContact struct {
	ID     string
	Email  string // as it is now, "" for none
	Reason KeptReason
}

// UndoResult says what became of the contacts of an import.
type UndoResult struct {
	Removed int64 // contacts that the import had made
	PutBack int64 // contacts that it had changed, as they were before
	Left    int64 // contacts that stay as they are, for the reasons in LeftBy
	LeftBy  map[KeptReason]int64
	Kept    []KeptContact // the first of them
	DryRun  bool
	Role    string // as which it was done, where that is not the session's
}

// maxKept is how many contacts UndoResult.Kept names.
const maxKept = 1000

// ErrNothingKept says that an import cannot be taken back: what it replaced is not kept.
var ErrNothingKept = errors.New("what the import replaced is not kept")

// Undo takes an import back where nothing has changed since, in one transaction on conn:
// contacts that it has made go, unless they were changed since or other tables refer to
// them, and those that it has changed are put back as they were, unless they were changed
// since. A contact that a later import has changed, and that was taken back, counts as it
// was. The contacts can be read meanwhile; who writes there waits.
func Undo(ctx context.Context, conn *pgx.Conn, o UndoOptions) (UndoResult, error) {
	u := &undoing{o: o, contacts: contactsOf(o.Schema), table: undoTableOf(o.Schema)}
	u.result.DryRun, u.result.LeftBy = o.DryRun, map[KeptReason]int64{}
	if o.LockTimeout <= 0 {
		o.LockTimeout = defaultLockTimeout
	}
	locals := db.Locals{
		Schema: o.Schema, Path: o.Path, EveryRow: true, Tenant: o.Tenant, Wait: true,
		LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Follow: !o.DryRun,
	}
	if !o.OwnRole {
		locals.Enter = owner.Entering(o.Schema, &u.result.Role)
	}
	err := db.InTx(ctx, conn, locals, u.run)
	if errors.Is(err, errDryRun) {
		err = nil
	}
	if err != nil {
		return u.result, fmt.Errorf("take back an import: %w", err)
	}
	return u.result, nil
}

// undoing is an import that is being taken back.
type undoing struct {
	o        UndoOptions
	contacts string
	table    string // of what is kept
	kept     bool   // it is there
	hashed   bool   // it can hold how the import has left a contact
	refers   string // the condition that another table refers to c
	result   UndoResult
}

func (u *undoing) run(ctx context.Context, q db.Querier) error {
	if err := u.begin(ctx, q); err != nil {
		return err
	}
	if err := u.look(ctx, q); err != nil {
		return err
	}
	// Of a dry run everything is done and rolled back: so it foretells what it would be.
	if err := u.remove(ctx, q); err != nil {
		return fmt.Errorf("remove contacts: %w", err)
	}
	if err := u.putBack(ctx, q); err != nil {
		return fmt.Errorf("put contacts back: %w", err)
	}
	if err := u.left(ctx, q); err != nil {
		return fmt.Errorf("look at what is left: %w", err)
	}
	switch {
	case u.o.DryRun:
		return errDryRun
	case u.o.AfterUndo != nil:
		if err := u.goBack(ctx, q); err != nil {
			return err
		}
		return u.o.AfterUndo(ctx, q, u.result)
	}
	return nil
}

// goBack ends that things are done as the owner, whose the registry need not be.
func (u *undoing) goBack(ctx context.Context, q db.Querier) error {
	if u.result.Role == "" {
		return nil
	}
	var p db.Pipeline
	p.Return()
	return p.Run(ctx, q)
}

// begin locks the contacts against everybody who writes, and makes sure that their
// tables run nobody else's code.
func (u *undoing) begin(ctx context.Context, q db.Querier) error {
	var p db.Pipeline
	var objects []planted.Object
	p.Become(u.result.Role)
	p.Apart("lock table " + u.contacts + " in exclusive mode")
	if u.result.Role != "" {
		p.Return()
	}
	planted.Queue(&p, u.o.Schema, u.o.Trusted, &objects)
	p.Become(u.result.Role)
	err := p.Run(ctx, q)
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable:
		return &TableError{Schema: u.o.Schema.String(), Table: "contacts", Problems: []string{"is not there"}}
	case err != nil:
		return err
	}
	return planted.Refuse(u.o.Schema, objects)
}

// look finds out who refers to contacts and whether anything is kept.
func (u *undoing) look(ctx context.Context, q db.Querier) error {
	var p db.Pipeline
	var info tableInfo
	p.OwnPath()
	QueueReferred(&p, u.contacts, "", &u.refers)
	p.Query(func(rows pgx.Rows) (err error) {
		info, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[tableInfo])
		return err
	}, tableInfoSQL, u.o.Schema.String())
	p.StandIn(u.o.Schema, u.o.Path)
	if err := p.Run(ctx, q); err != nil {
		return fmt.Errorf("look at contacts: %w", err)
	}
	if info.isOwn() || info.Undo == undoOther || info.Undo == undoSpread {
		return ErrNothingKept
	}
	u.kept = info.Undo == undoOurs
	if u.hashed = u.kept && info.UndoLeft; u.hashed {
		if _, err := q.Exec(ctx, "select "+db.UndoDialect); err != nil {
			return fmt.Errorf("look at contacts: %w", err)
		}
	}
	return nil
}

// QueueReferred adds a query for the condition that a foreign key of another table refers to a
// row c of the table; those of the table but, "" for none, are left out. It wants the path to be
// PostgreSQL's own. The condition does not.
func QueueReferred(p *db.Pipeline, table, but string, into *string) {
	p.Query(func(rows pgx.Rows) error {
		type reference struct {
			Name              string // of the table, quoted
			Columns, RefersTo []string
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[reference])
		*into = "false"
		for _, r := range list {
			var same []string
			for i := range r.Columns {
				same = append(same, "r."+db.Quoted(r.Columns[i])+" operator(pg_catalog.=) c."+db.Quoted(r.RefersTo[i]))
			}
			*into += " or exists (select 1 from " + r.Name + " r where " + strings.Join(same, " and ") + ")"
		}
		return err
	}, `
select format('%I.%I', n.nspname, c.relname) as name,
    array(select a.attname::text from unnest(k.conkey) with ordinality x(at, i)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.at order by x.i) as columns,
    array(select a.attname::text from unnest(k.confkey) with ordinality x(at, i)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.at order by x.i) as refers_to
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where k.confrelid = $1::text::regclass and k.contype = 'f' and k.conparentid = 0
    and k.conrelid is distinct from nullif($2, '')::regclass
order by 1`, table, but)
}

// partsSQL are the transactions of the import, as p.
const partsSQL = `rows from (pg_catalog.unnest($1::pg_catalog.text[]::pg_catalog.uuid[]),
	pg_catalog.unnest($2::pg_catalog.text[]::pg_catalog.uuid[])) as p (first, last)`

// madeSQL is the condition that a contact c was made by the import. $1 and $2 are the ids
// between which those of each of its transactions lie; a row of its own has its xmin too,
// or was changed since.
const madeSQL = `exists (select 1 from ` + partsSQL + `
	where c.id operator(pg_catalog.>=) p.first and c.id operator(pg_catalog.<=) p.last)`

// unchanged is the condition that a contact c is as the import has left it: as one of its
// transactions ($3) has written it, or as a later import that was taken back has put it
// back; in a tenant that was restored or copied, by what was kept of it ($4).
func (u *undoing) unchanged() string {
	sql := "(c.xmin operator(pg_catalog.=) any ($3::pg_catalog.text[]::pg_catalog.xid[])"
	if u.kept {
		sql += " or exists (select 1 from " + u.table + ` b where b.contact_id operator(pg_catalog.=) c.id
			and b.put_back_xid operator(pg_catalog.=) c.xmin
			and b.xid operator(pg_catalog.=) any ($3::pg_catalog.text[]::pg_catalog.xid[]))`
	}
	if u.hashed {
		sql += " or exists (select 1 from " + u.table + ` h where h.import_id operator(pg_catalog.=) $4::pg_catalog.uuid
			and h.contact_id operator(pg_catalog.=) c.id and h.left_as operator(pg_catalog.=) ` + db.UndoLeft("c", "c") + ")"
	}
	return sql + ")"
}

// args are $1 to $3 of the conditions, and $4 where they have it.
func (u *undoing) args() []any {
	first, last, xids := []string{}, []string{}, []string{}
	for _, p := range u.o.Parts {
		first, last = append(first, p.FirstID), append(last, p.LastID)
		if p.XID != db.NoXID {
			xids = append(xids, p.XID)
		}
	}
	if u.hashed {
		return []any{first, last, xids, u.o.Import}
	}
	return []any{first, last, xids}
}

// remove removes the contacts that the import has made.
func (u *undoing) remove(ctx context.Context, q db.Querier) error {
	tag, err := q.Exec(ctx, `
delete from `+u.contacts+` c
using `+partsSQL+`
where c.id operator(pg_catalog.>=) p.first and c.id operator(pg_catalog.<=) p.last and `+u.unchanged()+` and not (`+
		u.refers+`)`, u.args()...)
	u.result.Removed = tag.RowsAffected()
	return err
}

// putBack puts back the contacts that the import has changed. Where what was there had
// been put back itself, its xmin is resolved to the one before.
func (u *undoing) putBack(ctx context.Context, q db.Querier) error {
	if !u.kept {
		return nil
	}
	return q.QueryRow(ctx, `
with put as (
    update `+u.contacts+` c set email = k.email, phone = k.phone, name = k.name, company = k.company,
        metadata = k.metadata, updated_at = k.updated_at
    from `+u.table+` k
    where k.import_id operator(pg_catalog.=) $4::pg_catalog.uuid and k.xid is not null and k.put_back_xid is null
      and c.id operator(pg_catalog.=) k.contact_id and not `+madeSQL+` and `+u.unchanged()+` and not `+u.taken()+`
    returning c.id, k.xid
), noted as (
    update `+u.table+` k set put_back_xid = pg_catalog.pg_current_xact_id()::pg_catalog.xid,
        xid = coalesce(b.xid, k.xid)
    from put left join `+u.table+` b on b.contact_id operator(pg_catalog.=) put.id
        and b.put_back_xid operator(pg_catalog.=) put.xid
    where k.import_id operator(pg_catalog.=) $4::pg_catalog.uuid and k.contact_id operator(pg_catalog.=) put.id
    returning 1
)
select pg_catalog.count(*) from noted`, append(u.args()[:3], u.o.Import)...).Scan(&u.result.PutBack)
}

// taken is the condition that another contact has the address that goes back to c.
func (u *undoing) taken() string {
	return "exists (select 1 from " + u.contacts + ` o where o.email operator(pg_catalog.=) k.email
		and o.id operator(pg_catalog.<>) c.id)`
}

// left counts what stays, and why.
func (u *undoing) left(ctx context.Context, q db.Querier) error {
	args := u.args()
	sql := `select c.id, c.email, case when ` + u.unchanged() + ` then 'referenced' else 'changed' end as reason
from ` + u.contacts + ` c where ` + madeSQL
	if u.kept {
		args = append(args[:3], u.o.Import)
		sql += `
union all
select k.contact_id, c.email, case when c.id is null then 'gone' when k.xid is not null and ` + u.unchanged() + `
    then 'email_taken' else 'changed' end
from ` + u.table + ` k left join ` + u.contacts + ` c on c.id operator(pg_catalog.=) k.contact_id
where k.import_id operator(pg_catalog.=) $4::pg_catalog.uuid and k.put_back_xid is null
  and not exists (select 1 from ` + partsSQL + `
	where k.contact_id operator(pg_catalog.>=) p.first and k.contact_id operator(pg_catalog.<=) p.last)`
	}
	rows, err := q.Query(ctx, "with l as materialized ("+sql+`), counts as (
    select l.reason, pg_catalog.count(*) as n from l group by l.reason
)
select l.id::pg_catalog.text, coalesce(l.email, ''), l.reason, n.n from (
    select l.*, pg_catalog.row_number() over (partition by l.reason order by l.id) as i from l
) l join counts n on n.reason operator(pg_catalog.=) l.reason where l.i operator(pg_catalog.<=) `+fmt.Sprint(maxKept)+`
order by l.reason, l.i`, args...)
	if err != nil {
		return err
	}
	var k KeptContact
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&k.ID, &k.Email, &k.Reason, &n}, func() error {
		u.result.LeftBy[k.Reason] = n
		u.result.Kept = append(u.result.Kept, k)
		return nil
	})
	for _, n := range u.result.LeftBy {
		u.result.Left += n
	}
	return err
}
