package tenant

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/mention"
	"github.com/crmctl/crmctl/internal/registry"
)

// MentionsError says that a renamed schema would leave its old name behind in other
// places, which would mean the next schema of that name from then on.
type MentionsError struct {
	Slug     string
	Schema   db.Schema // the old name
	Mentions []mention.Mention
}

// Error names what holds the name.
func (e *MentionsError) Error() string {
	const most = 5
	names := make([]string, 0, most)
	for _, m := range e.Mentions[:min(most, len(e.Mentions))] {
		names = append(names, m.String())
	}
	text := strings.Join(names, "; ")
	if more := len(e.Mentions) - len(names); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Sprintf("tenant %q: its schema is called %s in what does not follow a rename, and would write to whoever "+
		"gets the name next: %s", e.Slug, e.Schema, text)
}

// follow has what names a schema that was just renamed follow it, within the caller's
// transaction: the search_path of functions in it, as SET search_path FROM CURRENT
// leaves it behind. What else holds the old name is returned; a role of that name was
// renamed too.
func follow(ctx context.Context, q db.Querier, before, after registry.Tenant) ([]mention.Mention, error) {
	if err := mendPaths(ctx, q, before.Schema, after.Schema); err != nil {
		return nil, err
	}
	return mention.Find(ctx, q, before.Schema.String(), after.Schema)
}

// mendPaths gives the functions of a schema that was renamed a search_path with its new
// name, where theirs has the old one.
func mendPaths(ctx context.Context, q db.Querier, was, is db.Schema) error {
	type routine struct{ Name, Path string }
	routines, err := db.Select(ctx, q, pgx.RowToStructByName[routine], `
		select pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
			pg_catalog.pg_get_function_identity_arguments(p.oid)) as name,
			pg_catalog.substr(s.setting, 13) as path
		from pg_catalog.pg_namespace n
		join pg_catalog.pg_proc p on p.pronamespace = n.oid
		cross join lateral pg_catalog.unnest(p.proconfig) s (setting)
		where n.nspname = $1 and pg_catalog.starts_with(s.setting, 'search_path=')
		order by 1`, is.String())
	if err != nil {
		return fmt.Errorf("look for functions with a search_path: %w", err)
	}
	var p db.Pipeline
	for _, r := range routines {
		path, ok := identifiers(r.Path)
		if !ok {
			continue // it is found as a mention where it is one
		}
		named := false
		for i, name := range path {
			if name == was.String() {
				path[i], named = is.String(), true
			}
		}
		if !named {
			continue
		}
		for i, name := range path {
			path[i] = db.Literal(name)
		}
		p.Exec("alter routine " + r.Name + " set search_path = " + strings.Join(path, ", "))
	}
	return p.Run(ctx, q)
}

// identifiers reads a list of names as the server reads a search_path: without quotes
// they are in lower case. It reports whether it is such a list.
func identifiers(list string) (names []string, ok bool) {
	rest := strings.TrimSpace(list)
	for rest != "" || len(names) > 0 {
		var name string
		if quoted, is := strings.CutPrefix(rest, `"`); is {
			end := 0
			for end < len(quoted) && (quoted[end] != '"' || strings.HasPrefix(quoted[end:], `""`)) {
				if quoted[end] == '"' {
					end++
				}
				end++
			}
			if end >= len(quoted) {
				return nil, false
			}
			name, rest = strings.ReplaceAll(quoted[:end], `""`, `"`), quoted[end+1:]
		} else {
			end := strings.IndexAny(rest, ", \t\r\n")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, false
			}
			name, rest = strings.ToLower(rest[:end]), rest[end:]
		}
		names = append(names, name)
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return names, true
		}
		if rest, ok = strings.CutPrefix(rest, ","); !ok {
			return nil, false
		}
		rest = strings.TrimSpace(rest)
	}
	return names, true
}
