package registry

import (
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Version is a tenant in its schema, and the version that it is to have.
type Version struct {
	ID      string
	Schema  db.Schema
	Version int64
}

// arrays returns the ids, schemas and versions apart, as statements take them.
func arrays(list []Version) (ids, schemas []string, versions []int64) {
	for _, v := range list {
		ids, schemas, versions = append(ids, v.ID), append(schemas, v.Schema.String()), append(versions, v.Version)
	}
	return ids, schemas, versions
}

// QueueLocks adds the locks of several tenants, as db.Pipeline.LockTenant takes one
// without waiting. The error is db.ErrBusy where not all can be had at once, because
// another has one, or one is not in its schema any more. Which one it is stays open.
func (r Registry) QueueLocks(p *db.Pipeline, list []Version) {
	ids, schemas, _ := arrays(list)
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		switch db.SQLState(rows.Err()) {
		case db.CodeDivisionByZero, db.CodeLockNotAvailable:
			return &db.BusyError{Err: rows.Err()}
		}
		return rows.Err()
	}, `select 1 operator(pg_catalog./) (pg_catalog.count(*) operator(pg_catalog.=) $3::pg_catalog.int8)::pg_catalog.int4
		from (select from `+r.Tenants()+` t where t.id operator(pg_catalog.=) any ($1::pg_catalog.uuid[])
			and t.schema_name operator(pg_catalog.=)
				($2::pg_catalog.text[])[pg_catalog.array_position($1::pg_catalog.uuid[], t.id)]
			for no key update of t skip locked) l`, ids, schemas, len(list))
}

// QueueVersions adds the versions of several tenants, whose locks the transaction holds.
// A tenant that may not be migrated ends the transaction with an error.
func (r Registry) QueueVersions(p *db.Pipeline, list []Version) {
	ids, _, versions := arrays(list)
	p.Exec(`update `+r.Tenants()+` t
		set schema_version =
				($2::pg_catalog.int8[])[pg_catalog.array_position($1::pg_catalog.uuid[], t.id)]
				operator(pg_catalog./) (`+MayMigrate("t.status")+`)::pg_catalog.int4,
			updated_at = pg_catalog.now()
		where t.id operator(pg_catalog.=) any ($1::pg_catalog.uuid[])`, ids, versions)
}

// QueueKeys adds the advisory locks of several things that are no tenants, for the length
// of the transaction. The error is db.ErrBusy where not all can be had at once.
func (r Registry) QueueKeys(p *db.Pipeline, names []string) {
	keys := make([]int64, len(names))
	for i, name := range names {
		keys[i] = r.Key(name)
	}
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if db.SQLState(rows.Err()) == db.CodeDivisionByZero {
			return &db.BusyError{Err: rows.Err()}
		}
		return rows.Err()
	}, `select 1 operator(pg_catalog./) (pg_catalog.pg_try_advisory_xact_lock(k))::pg_catalog.int4
		from pg_catalog.unnest($1::pg_catalog.int8[]) k`, keys)
}

// QueueRows adds what the registry has of several tenants, in their order, without those
// that are not there or not valid.
func (r Registry) QueueRows(p *db.Pipeline, list []Version, found *[]Tenant) {
	ids, _, _ := arrays(list)
	p.Query(func(from pgx.Rows) error {
		rows, err := pgx.CollectRows(from, r.scan)
		*found, _ = split(rows)
		return err
	}, `select `+columns+` from `+r.Tenants()+` where id = any ($1::uuid[]) order by array_position($1::uuid[], id)`, ids)
}

// QueueDeletes adds the end of the rows of several tenants.
func (r Registry) QueueDeletes(p *db.Pipeline, ids []string) {
	p.Exec("delete from "+r.Tenants()+" where id = any ($1::pg_catalog.uuid[])", ids)
}
