package db

import "fmt"

// UndoTable is the name of the table in a tenant's schema in which imports keep what they
// replace. It is this program's, and no part of what the migrations make.
const UndoTable = "crmctl_import_undo"

// UndoColumns are the columns of an UndoTable, in their order.
const UndoColumns = "import_id, contact_id, xid, email, phone, name, company, metadata, updated_at, " +
	"put_back_xid, left_as"

// UndoTableSQL makes an UndoTable under a name in full, %s. xid is that of the contact as it
// was, null where it is not known what it was; put_back_xid that of the transaction that put
// it back. Both mean nothing in another database. left_as, which only
// a backup or a copy fills, is the contact as the import has left it, by UndoLeft; of a
// contact that the import has made a row has nothing else.
const UndoTableSQL = `create table %s (
    import_id pg_catalog.uuid not null, contact_id pg_catalog.uuid not null, xid pg_catalog.xid,
    email pg_catalog.text, phone pg_catalog.text, name pg_catalog.text, company pg_catalog.text,
        metadata pg_catalog.jsonb,
    updated_at timestamp with time zone, put_back_xid pg_catalog.xid, left_as pg_catalog.uuid,
    constraint ` + UndoTable + `_pkey primary key (import_id, contact_id)
)`

// QueueUndoTable adds what makes an UndoTable under a name in full.
func QueueUndoTable(p *Pipeline, table string) {
	p.Apart(fmt.Sprintf(UndoTableSQL, table))
	p.Apart("comment on table " + table +
		" is 'What imports of contacts have replaced. crmctl keeps it to take an import back.'")
}

// NoXID is the number of no transaction: that of what was done in another database.
const NoXID = "0"

// UndoLeft is an expression: the values that an import may change, of a row v, with all
// else that the contact c has, as a hash. It is the same in every database where the
// transaction has the settings of this program and UndoDialect.
func UndoLeft(v, c string) string {
	return `pg_catalog.md5(row(` + v + `.email, ` + v + `.phone, ` + v + `.name, ` + v + `.company, ` + v + `.metadata,
		extract(epoch from ` + v + `.updated_at), pg_catalog.jsonb_strip_nulls(pg_catalog.to_jsonb(` + c + `)
		operator(pg_catalog.-) '{email,phone,name,company,metadata,updated_at}'::pg_catalog.text[]))::pg_catalog.text
		)::pg_catalog.uuid`
}

// UndoDialect is an expression that sets what UndoLeft depends on besides.
const UndoDialect = "pg_catalog.set_config('timezone', 'UTC', true)"
