package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// The imports of a tenant go with it, and what they have replaced, so that they can be
// taken back where it is restored or copied. Where they are told apart by transactions in
// the tenant itself, which mean nothing elsewhere, the data has a hash of each contact as
// an import has left it. That is worked out as the data is read, from the transactions: an
// import pays nothing for it.

// maxImportBytes is how much of the manifest imports may take; older ones are left out.
const maxImportBytes = 4 << 20

// undoColumnTypes are the types of db.UndoColumns.
//
//nolint:dupword // two columns of one type
const undoColumnTypes = "uuid, uuid, xid, text, text, text, text, jsonb, timestamp with time zone, xid, uuid"

// undoTable returns the entry of db.UndoTable in a manifest.
func undoTable() Table {
	t := Table{Name: db.UndoTable}
	types := strings.Split(undoColumnTypes, ", ")
	for i, name := range strings.Split(db.UndoColumns, ", ") {
		t.Columns = append(t.Columns, Column{Name: name, Type: types[i]})
	}
	return t
}

// undoInfo is what a schema has of a db.UndoTable.
type undoInfo struct {
	There bool
	Left  bool   // with the column left_as
	Role  string // as which it is read
}

// queueUndoInfo adds the query for it.
func (s *snapshot) queueUndoInfo(p *db.Pipeline, into *[]undoInfo) {
	p.Query(collect(into), `select true, exists (select from pg_catalog.pg_attribute a
			where a.attrelid operator(pg_catalog.=) c.oid and a.attname operator(pg_catalog.=) 'left_as'), `+
		owner.Reader("c.oid", "c.relowner", "c.relnamespace")+`
		from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
		where n.nspname operator(pg_catalog.=) $1 and c.relname operator(pg_catalog.=) $2
			and c.relkind operator(pg_catalog.=) 'r' and (select pg_catalog.count(*) from pg_catalog.pg_attribute a
				where a.attrelid operator(pg_catalog.=) c.oid and not a.attisdropped
				and a.attname operator(pg_catalog.=) any (pg_catalog.string_to_array($3, ', ')))
				operator(pg_catalog.>=) 10`, s.schema.String(), db.UndoTable, db.UndoColumns)
}

// keepImports puts the imports into the manifest, and what they have replaced among the
// tables.
func (s *snapshot) keepImports(ctx context.Context, list []registry.SavedImport, there []undoInfo) error {
	size := 0
	for i := range list {
		if !isImport(list[i]) {
			notUndoable(&list[i])
		}
		text, err := json.Marshal(list[i])
		if err != nil {
			return err
		}
		if size += len(text); size > maxImportBytes {
			s.leaveOut(fmt.Sprintf("%d older imports in the list of imports", len(list)-i))
			list = list[:i]
			break
		}
	}
	s.manifest.Imports = list
	var undoable []registry.SavedImport
	for _, i := range list {
		if len(i.XIDs) > 0 {
			undoable = append(undoable, i)
		}
	}
	if len(undoable) == 0 {
		return nil
	}
	var kept undoInfo
	if len(there) > 0 {
		kept = there[0]
	}
	why := s.mayReadUndo(ctx, kept)
	if why == nil {
		s.undo = &undo{undoable, kept}
		s.manifest.Tables = append(s.manifest.Tables, undoTable())
		return nil
	}
	if !errors.Is(why, errNotOurs) && !errors.Is(why, planted.ErrNotPlain) &&
		db.SQLState(why) != db.CodeInsufficientPrivilege {
		return fmt.Errorf("look at the imports of schema %s: %w", s.schema, db.Plain(why))
	}
	for i := range list {
		notUndoable(&list[i])
	}
	s.leaveOut("what imports have replaced: " + db.Plain(why).Error())
	return nil
}

// isImport reports whether an entry of the list is an import. A merge of contacts can be
// taken back only where it was made: the contacts that it has removed are not in the file.
func isImport(i registry.SavedImport) bool {
	var options struct {
		Kind string `json:"kind"`
	}
	return json.Unmarshal(i.Options, &options) == nil && options.Kind == ""
}

func notUndoable(i *registry.SavedImport) {
	i.UndoUntil, i.FirstIDs, i.LastIDs, i.LoadedAt, i.XIDs = nil, nil, nil, nil, nil
}

// errNotOurs says that a table is not as imports leave it.
var errNotOurs = errors.New("the table contacts is not as the migrations of this program make it")

// mayReadUndo returns why a query of contacts and of what is kept cannot be run: to plan it
// runs what others may have put there. The transaction goes on.
func (s *snapshot) mayReadUndo(ctx context.Context, kept undoInfo) error {
	contacts, ok := s.there.table("contacts")
	if !ok || kept.There && kept.Role != contacts.Role {
		return errNotOurs
	}
	for _, want := range undoTable().Columns[3:9] {
		at := slices.Index(contacts.Columns, want.Name)
		if at < 0 || contacts.Types[at] != want.Type && !strings.HasPrefix(contacts.Types[at], "character varying") {
			return errNotOurs
		}
	}
	if at := slices.Index(contacts.Columns, "id"); at < 0 || contacts.Types[at] != "uuid" {
		return errNotOurs
	}
	tables := []planted.Table{{Schema: s.schema.String(), Name: contacts.Name}}
	if kept.There {
		tables = append(tables, planted.Table{Schema: s.schema.String(), Name: db.UndoTable})
	}
	var p db.Pipeline
	p.Exec("savepoint crmctl_undo")
	planted.QueueReadAs(&p, tables, contacts.Role)
	p.Exec("release savepoint crmctl_undo")
	why := p.Run(ctx, s.conn)
	if why == nil {
		return nil
	}
	var back db.Pipeline
	back.Exec("rollback to savepoint crmctl_undo")
	back.Exec("release savepoint crmctl_undo")
	return errors.Join(why, back.Run(ctx, s.conn))
}

// undoDataSQLFormat is the query of db.UndoColumns as another database can use them. %[1]s
// are the transactions of the imports, %[2]s the contacts, %[3]s what is kept. was is the
// number of the transaction that has written what a row keeps, also where that was put back
// meanwhile.
//
// How an import has left a contact is told by the contact, where the import was the last to
// write it, or what came later was taken back, or else by what the next import keeps of it.
const undoDataSQLFormat = `
with part (import_id, xid, n) as materialized (%[1]s), kept as materialized (
    select k.*, coalesce(b.xid, k.xid) as was from %[3]s k left join %[3]s b
        on b.contact_id operator(pg_catalog.=) k.contact_id and b.put_back_xid operator(pg_catalog.=) k.xid
), found (import_id, contact_id, left_as, rank, n) as (
    select q.import_id, c.id, %[4]s, 1, q.n from %[2]s c join part q on q.xid operator(pg_catalog.=) c.xmin
    union all
    select q.import_id, c.id, %[4]s, 2, q.n from kept b join part q on q.xid operator(pg_catalog.=) b.was
        join %[2]s c on c.id operator(pg_catalog.=) b.contact_id and c.xmin operator(pg_catalog.=) b.put_back_xid
    union all
    select q.import_id, c.id, %[5]s, 3, q.n from kept n join part q on q.xid operator(pg_catalog.=) n.was
        join %[2]s c on c.id operator(pg_catalog.=) n.contact_id where n.put_back_xid is null
            and n.import_id operator(pg_catalog.<>) q.import_id
), lefts as (
    select distinct on (f.import_id, f.contact_id) f.import_id, f.contact_id, f.left_as from found f
    order by f.import_id, f.contact_id, f.rank, f.n desc
)
select coalesce(k.import_id, l.import_id), coalesce(k.contact_id, l.contact_id),
    case when k.xid is not null then '` + db.NoXID + `'::pg_catalog.xid end, k.email, k.phone, k.name, k.company,
    k.metadata, k.updated_at, case when k.put_back_xid is not null then '` + db.NoXID + `'::pg_catalog.xid end,
    coalesce(l.left_as, k.left_as)
from (select distinct on (n.import_id, n.contact_id) n.* from kept n
        where exists (select from part q where q.import_id operator(pg_catalog.=) n.import_id)) k
    full join lefts l on l.import_id operator(pg_catalog.=) k.import_id
        and l.contact_id operator(pg_catalog.=) k.contact_id`

// undo is what is read of imports: those that can be taken back, and what there is of them.
type undo struct {
	imports []registry.SavedImport
	undoInfo
}

// setParts keeps the transactions of the imports for the query: COPY takes no parameters, and
// its text is to be the same for all tenants.
const setParts = `select pg_catalog.set_config('crmctl.undo_imports', $1::pg_catalog.text[]::pg_catalog.text, true),
	pg_catalog.set_config('crmctl.undo_xids', $2::pg_catalog.text[]::pg_catalog.text, true),
	pg_catalog.set_config('crmctl.undo_parts', $3::pg_catalog.int8[]::pg_catalog.text, true)`

// parts are the transactions of the imports as setParts has kept them.
const parts = `select * from rows from (
	pg_catalog.unnest(pg_catalog.current_setting('crmctl.undo_imports')::pg_catalog.uuid[]),
	pg_catalog.unnest(pg_catalog.current_setting('crmctl.undo_xids')::pg_catalog.xid[]),
	pg_catalog.unnest(pg_catalog.current_setting('crmctl.undo_parts')::pg_catalog.int8[])) u`

// queue adds what the query needs.
func (u *undo) queue(p *db.Pipeline) {
	imports, xids, ns := []string{}, []*string{}, []int64{}
	for _, i := range u.imports {
		for n, xid := range i.XIDs {
			known := &xid
			if xid == db.NoXID {
				known = nil
			}
			imports, xids, ns = append(imports, i.Key), append(xids, known), append(ns, int64(n))
		}
	}
	p.Exec(setParts, imports, xids, ns)
}

// literalParts are parts for a cluster, whose other nodes do not know the settings.
func (u *undo) literalParts() string {
	var list []string
	for _, i := range u.imports {
		for n, xid := range i.XIDs {
			xid = strings.TrimSpace(db.Literal(xid))
			if xid == "'"+db.NoXID+"'" {
				xid = "null"
			}
			list = append(list, "("+strings.TrimSpace(db.Literal(i.Key))+"::pg_catalog.uuid, "+
				xid+"::pg_catalog.xid, "+fmt.Sprint(n)+")")
		}
	}
	return "values " + strings.Join(list, ", ")
}

// sql returns the query. named returns the name of a table.
func (u *undo) sql(named func(table string) string, distributed bool) string {
	part := parts
	if distributed {
		part = u.literalParts()
	}
	columns := "import_id, contact_id, xid, email, phone, name, company, metadata, updated_at, put_back_xid, "
	from := "(select " + columns
	switch {
	case u.Left:
		from += "left_as from " + named(db.UndoTable) + ")"
	case u.There:
		from += "null::pg_catalog.uuid as left_as from " + named(db.UndoTable) + ")"
	default:
		from = "(select "
		for i, c := range strings.Split(db.UndoColumns, ", ") {
			if i > 0 {
				from += ", "
			}
			from += "null::" + strings.Split(undoColumnTypes, ", ")[i] + " as " + c
		}
		from += " where false)"
	}
	return fmt.Sprintf(undoDataSQLFormat, part, named("contacts"), from,
		db.UndoLeft("c", "c"), db.UndoLeft("n", "c"))
}

// openUndo makes the table of what imports have replaced, where the file has it.
func (t *target) openUndo(p *db.Pipeline, m *Manifest) {
	if slices.ContainsFunc(m.Tables, isUndo) {
		db.QueueUndoTable(p, qualified(t.schema, db.UndoTable))
	}
}

func isUndo(t Table) bool { return t.Name == db.UndoTable }

// keepImports gives the tenant the imports of the one that its data is of. Where it is
// another one, an import that had stopped does not go on here too.
func (t *target) keepImports(ctx context.Context, m *Manifest, o NewTenant) error {
	if len(m.Imports) == 0 {
		return nil
	}
	listed, err := o.Registry.HasImports(ctx, t.conn)
	if err != nil || !listed {
		return err
	}
	list := slices.Clone(m.Imports)
	for i := range list {
		if t.row.ID != m.Tenant.ID && list[i].State == registry.ImportUnfinished {
			list[i].State = registry.ImportAbandoned
		}
	}
	var p db.Pipeline
	if err := o.Registry.QueueImportsAgain(&p, t.row.ID, list); err != nil {
		return err
	}
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("keep the list of imports of %s: %w", t.row.Slug, db.Plain(err))
	}
	return nil
}

// checkImports refuses what the registry cannot have.
func (m *Manifest) checkImports() error {
	for _, i := range m.Imports {
		ids := append(append([]string{i.Key}, i.FirstIDs...), i.LastIDs...)
		bad := func(id string) bool { return uuid.Validate(id) != nil }
		switch {
		case slices.ContainsFunc(ids, bad), len(i.FirstIDs) != len(i.LastIDs), len(i.FirstIDs) != len(i.LoadedAt):
			return corrupt("the parts of an import are none: %s", i.Key)
		case !i.State.Known():
			return corrupt("%q is no state of an import", i.State)
		case !isObject(i.Options), !isObject(i.Counts):
			return corrupt("the options or the counts of an import are no object")
		case strings.ContainsRune(i.File+i.Actor, 0):
			return corrupt("the file of an import is no text: %q", i.File)
		}
	}
	at := slices.IndexFunc(m.Tables, isUndo)
	if at >= 0 && m.Kind == KindTenant && !slices.Equal(m.Tables[at].Columns, undoTable().Columns) {
		return corrupt("the table %s has other columns", db.UndoTable)
	}
	return nil
}

func isObject(text json.RawMessage) bool {
	var o map[string]any
	return json.Unmarshal(text, &o) == nil && o != nil
}
