package adopt

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Twins returns the tables of public that have the name of a table in one of the schemas:
// a statement with the wrong search_path finds them instead of failing.
func Twins(ctx context.Context, q db.Querier, schemas []string) ([]string, error) {
	names, err := db.Select(ctx, q, pgx.RowTo[string], `
		select p.relname::text from pg_class p join pg_namespace public on public.oid = p.relnamespace
			and public.nspname = 'public'
		where p.relkind in ('r', 'p', 'v', 'm', 'f') and exists (
			select from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relname = p.relname and n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f'))
		order by p.relname::text collate "C"`, schemas)
	if err != nil {
		return nil, fmt.Errorf("look for tables of public: %w", err)
	}
	return names, nil
}
