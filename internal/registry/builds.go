package registry

import (
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// QueueBuild adds the row of a schema under construction, which must be there.
func (r Registry) QueueBuild(p *db.Pipeline, id string, schema db.Schema, slug, actor string) {
	p.Exec(`insert into `+r.Builds()+` (schema_name, id, schema_oid, slug, actor)
		select nspname::text, $2::uuid, oid, $3, $4 from pg_namespace where nspname = $1::text::name`, schema.String(),
		id, slug, actor)
}

// QueueLockBuild locks the row of a schema under construction until the transaction
// ends, with a locking clause. The error is gone where there is no such row.
func (r Registry) QueueLockBuild(p *db.Pipeline, id, lock string, gone error) {
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if db.SQLState(rows.Err()) == db.CodeDivisionByZero {
			return gone
		}
		return rows.Err()
	}, `select 1 operator(pg_catalog./) s.n from (select (select pg_catalog.count(*) from (
			select from `+r.Builds()+` where id operator(pg_catalog.=) $1::pg_catalog.uuid `+lock+`) l) as n offset 0) s`, id)
}

// QueueEndBuild adds the end of a row. The error is gone where there is no such row.
func (r Registry) QueueEndBuild(p *db.Pipeline, id string, gone error) {
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if rows.Err() == nil && rows.CommandTag().RowsAffected() != 1 {
			return gone
		}
		return rows.Err()
	}, `delete from `+r.Builds()+` where id operator(pg_catalog.=) $1::pg_catalog.uuid`, id)
}
