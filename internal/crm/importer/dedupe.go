package importer

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// What merging contacts replaces is kept where imports keep what they replace, so that it
// goes with that when its time is over, and an import before it can still be taken back.

// UndoTableOf returns the name of a tenant's UndoTable, in full.
func UndoTableOf(schema db.Schema) string { return undoTableOf(schema) }

// QueueUndoTable makes the UndoTable where it is not there, with the columns for contacts
// that are merged into another: the whole row, into which, and the conversations that were
// moved.
func QueueUndoTable(p *db.Pipeline, schema db.Schema) {
	table := undoTableOf(schema)
	p.Exec(strings.Replace(fmt.Sprintf(db.UndoTableSQL, table), "create table ", "create table if not exists ", 1))
	p.Exec("alter table " + table + ` add column if not exists before pg_catalog.jsonb,
		add column if not exists into_id pg_catalog.uuid, add column if not exists moved pg_catalog.uuid[]`)
}

// QueueUndoState asks whose UndoTable a schema has: "none", "ours", "other", or "spread" where
// nothing is kept. It wants the path to be PostgreSQL's own.
func QueueUndoState(p *db.Pipeline, schema db.Schema, state *string) {
	p.Query(func(rows pgx.Rows) error {
		info, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[tableInfo])
		*state = info.Undo
		return err
	}, tableInfoSQL, schema.String())
}

// United returns the metadata of two contacts together, as merging an import does: that of
// the contact wins, what the row has more comes in, and lists are united. Both are
// expressions of relations with a column metadata.
func United(row, contact string) string {
	return strings.NewReplacer("ROW", row, "CONTACT", contact).Replace("(ROW.metadata operator(pg_catalog.||) " +
		"CONTACT.metadata operator(pg_catalog.||) " + unitedListsSQL + ")")
}
