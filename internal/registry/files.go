package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// File is a tenant migration as it was when it was first applied.
type File struct {
	Version  int64
	File     string
	Checksum string
}

// AppliedFiles returns the tenant migrations that were ever applied to a tenant of
// this registry, by version.
func (r Registry) AppliedFiles(ctx context.Context, q db.Querier) (map[int64]File, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByName[File], r.selectFiles())
	if err != nil {
		return nil, r.ExplainTable(ctx, q, "read which files were applied", err)
	}
	return byVersion(found), nil
}

// QueueAppliedFiles adds the reading of AppliedFiles, into out.
func (r Registry) QueueAppliedFiles(p *db.Pipeline, out *map[int64]File) {
	p.Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[File])
		*out = byVersion(found)
		return err
	}, r.selectFiles())
}

func (r Registry) selectFiles() string { return `select version, file, checksum from ` + r.Files() }

func byVersion(list []File) map[int64]File {
	out := make(map[int64]File, len(list))
	for _, f := range list {
		out[f.Version] = f
	}
	return out
}

// QueueFiles adds what remembers files as applied. Those already known are left as they
// are, unless replace is set.
func (r Registry) QueueFiles(p *db.Pipeline, list []File, replace bool) {
	if len(list) == 0 {
		return
	}
	versions, names, checksums := make([]int64, len(list)), make([]string, len(list)), make([]string, len(list))
	for i, f := range list {
		versions[i], names[i], checksums[i] = f.Version, f.File, f.Checksum
	}
	conflict := "do nothing"
	if replace {
		conflict = "do update set file = excluded.file, checksum = excluded.checksum"
	}
	p.Exec(`insert into `+r.Files()+` (version, file, checksum)
		select * from rows from (pg_catalog.unnest($1::pg_catalog.int8[]), pg_catalog.unnest($2::pg_catalog.text[]),
			pg_catalog.unnest($3::pg_catalog.text[]))
		on conflict (version) `+conflict, versions, names, checksums)
}

// QueueForgetFiles adds what forgets the files that no tenant has any more: nobody holds them
// to what they were. Where a file was left half way, all stay.
func (r Registry) QueueForgetFiles(p *db.Pipeline) {
	p.Exec(`delete from ` + r.Files() + ` f
		where f.version operator(pg_catalog.>)
				coalesce((select pg_catalog.max(t.schema_version) from ` + r.Tenants() + ` t), 0)
			and not exists (select from ` + r.Dirty() + `)`)
}

// RecordFiles returns a statement without parameters that remembers files as applied
// which are not known yet, none where there are no files.
func (r Registry) RecordFiles(list []File) []db.Statement {
	if len(list) == 0 {
		return nil
	}
	rows := make([]string, len(list))
	for i, f := range list {
		rows[i] = fmt.Sprintf("(%d, %s, %s)", f.Version, db.Literal(f.File), db.Literal(f.Checksum))
	}
	return []db.Statement{{SQL: `insert into ` + r.Files() + ` (version, file, checksum) values ` +
		strings.Join(rows, ", ") + ` on conflict (version) do nothing`}}
}
