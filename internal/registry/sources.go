package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Source is another program that migrated tenants before they were adopted, and may go on.
type Source struct {
	Program string
	Table   string // of each tenant, in which the program keeps what it did
	// Files are the versions that a migration of the program stands for, by its name.
	Files map[string][]int64
	// Exact tells that the program's numbers are no versions unless Files says so.
	Exact bool
}

// ListSources returns the programs that migrated tenants of the registry before. A registry
// of before there was such a list has none.
func (r Registry) ListSources(ctx context.Context, q db.Querier) ([]Source, error) {
	type row struct {
		Program, Table, Files string
		Exact                 bool
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `select program, versions_table as table, files::text, exact
		from `+r.Sources()+` order by program collate "C", versions_table collate "C"`)
	switch {
	case r.missing(err, sources):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read which programs migrated the tenants: %w", err)
	}
	out := make([]Source, len(rows))
	for i, found := range rows {
		out[i] = Source{Program: found.Program, Table: found.Table, Exact: found.Exact}
		if err := json.Unmarshal([]byte(found.Files), &out[i].Files); err != nil {
			return nil, fmt.Errorf("read what the migrations of %s stand for: %w", found.Program, err)
		}
	}
	return out, nil
}

// PutSource keeps a program, beside what was known of it: what s says of a migration counts.
func (r Registry) PutSource(ctx context.Context, q db.Querier, s Source) error {
	files := s.Files
	if files == nil {
		files = map[string][]int64{}
	}
	text, err := json.Marshal(files)
	if err == nil {
		var p db.Pipeline
		p.Exec(`insert into `+r.Sources()+` as s (program, versions_table, files, exact)
			values ($1, $2, $3::pg_catalog.jsonb, $4) on conflict (program, versions_table) do update set
			files = s.files operator(pg_catalog.||) excluded.files, exact = s.exact or excluded.exact`,
			s.Program, s.Table, string(text), s.Exact)
		err = p.Run(ctx, q)
	}
	if err != nil && !r.missing(err, sources) { // a registry of before goes on without
		return fmt.Errorf("keep that %s migrated tenants: %w", s.Program, err)
	}
	return nil
}

// SourcesOfAudit keeps goose as a program that migrated tenants, where the audit says that
// some were adopted from it: a registry of before there was such a list knows no more.
func (r Registry) SourcesOfAudit(ctx context.Context, q db.Querier) error {
	there, err := db.Select(ctx, q, pgx.RowTo[bool], `select to_regclass($1) is not null`, r.Sources())
	if err == nil && there[0] {
		var p db.Pipeline
		p.Exec(`insert into ` + r.Sources() + ` (program, versions_table)
			select 'goose', 'goose_db_version' where exists (select from ` + r.Events() + `
				where action operator(pg_catalog.=) 'adopt'
					and detail operator(pg_catalog.->>) 'from' operator(pg_catalog.=) 'goose') on conflict do nothing`)
		err = p.Run(ctx, q)
	}
	if err != nil {
		return fmt.Errorf("keep that goose migrated tenants: %w", err)
	}
	return nil
}

// SavesSources reports whether a backup of the registry with these tables has the programs
// that migrated tenants before.
func SavesSources(tables []string) bool { return slices.Contains(tables, sources) }
