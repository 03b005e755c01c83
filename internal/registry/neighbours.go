package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Neighbours are the other registries of a database, whose schemas are none of this
// one's business.
type Neighbours struct {
	places []string // schemas of registries, this one's too
	tables []string // qualified, that list schemas of theirs
}

// Neighbours returns the other registries that the session's role may read. What is
// read of them are ordinary tables, so that nothing of theirs runs.
func (r Registry) Neighbours(ctx context.Context, q db.Querier) (Neighbours, error) {
	all, err := Registries(ctx, q)
	if err != nil {
		return Neighbours{}, err
	}
	n := Neighbours{places: []string{r.Schema().String()}}
	var candidates []string
	for _, other := range all {
		if other == r {
			continue
		}
		n.places = append(n.places, other.Schema().String())
		candidates = append(candidates, other.Tenants(), other.Pool(), other.Builds())
	}
	if len(candidates) == 0 {
		return n, nil
	}
	n.tables, err = db.Select(ctx, q, pgx.RowTo[string],
		`select t.name from unnest($1::text[]) t (name) join pg_class c on c.oid = to_regclass(t.name)
		where c.relkind = 'r' and not c.relrowsecurity and has_table_privilege(c.oid, 'select')
		  and has_schema_privilege(c.relnamespace, 'usage')
		  and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'schema_name'
		  	and a.atttypid = 'text'::regtype and not a.attisdropped)`, candidates)
	if err != nil {
		return n, fmt.Errorf("look at the other registries: %w", err)
	}
	return n, nil
}

// Has is the condition that a schema, by an expression for its name as text, is that of a
// registry, or one that another registry has.
func (n Neighbours) Has(name string) string {
	conditions := make([]string, 0, len(n.places)+1)
	for _, place := range n.places {
		conditions = append(conditions, name+" operator(pg_catalog.=) "+db.Literal(place))
	}
	return "(" + strings.Join(append(conditions, n.lists(name)), " or ") + ")"
}

// lists is the condition that another registry has a schema, for a tenant or one to come.
func (n Neighbours) lists(name string) string {
	conditions := []string{"false"}
	for _, table := range n.tables {
		conditions = append(conditions, "exists (select from "+table+
			" e where e.schema_name operator(pg_catalog.=) "+name+")")
	}
	return "(" + strings.Join(conditions, " or ") + ")"
}

// RefuseTenant fails where the schema of this registry is one that another registry has:
// it would go with the tenant.
func (r Registry) RefuseTenant(ctx context.Context, q db.Querier) error {
	n, err := r.Neighbours(ctx, q)
	if err != nil || len(n.tables) == 0 {
		return err
	}
	found, err := db.Select(ctx, q, pgx.RowTo[bool], `select `+n.lists("$1::text"), r.Schema().String())
	switch {
	case err != nil:
		return fmt.Errorf("look at the other registries: %w", err)
	case found[0]:
		return fmt.Errorf("schema %s is a tenant's", r.Place())
	}
	return nil
}

// Of returns those of the given schemas of which Has is true. Where no other registry can
// be read it asks nobody.
func (n Neighbours) Of(ctx context.Context, q db.Querier, schemas []string) ([]string, error) {
	if len(n.tables) == 0 {
		return slices.DeleteFunc(slices.Clone(schemas), func(name string) bool {
			return !slices.Contains(n.places, name)
		}), nil
	}
	found, err := db.Select(ctx, q, pgx.RowTo[string], `select s.name from unnest($1::text[]) s (name) where `+
		n.Has("s.name"), nonNil(schemas))
	if err != nil {
		return nil, fmt.Errorf("look at the other registries: %w", err)
	}
	return found, nil
}
