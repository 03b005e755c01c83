package planted

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

//go:embed find.sql
var findSQL string

// chunkSize is how many schemas one statement looks at.
const chunkSize = 500

// Object is something in or about a schema that would run another role's code.
type Object struct {
	Schema   string // the tenant's
	Kind     string // "trigger", "default", "view", ..., as find.sql names them
	Table    string // that it belongs to, qualified where that is in another schema; "" for none
	Name     string // "" where the table is the object
	Function string // that it calls, with its arguments; "" for the object itself
	Owner    string // the role whose code it is
}

// String returns `trigger audit of contacts calls public.log() of role app`.
func (o Object) String() string {
	text := o.Kind
	if o.Name != "" {
		text += " " + o.Name
	}
	switch {
	case o.Table != "" && (o.Name != "" || o.Kind == "partition key"):
		text += " of " + o.Table
	case o.Table != "":
		text += " " + o.Table
	}
	if o.Function != "" {
		return text + " calls " + o.Function + " of role " + o.Owner
	}
	return text + " of role " + o.Owner
}

// Error says that a schema has code of others that the session's role would run.
type Error struct {
	Schema  string
	Objects []Object // at least one
}

// maxNamed is how many objects an error names.
const maxNamed = 3

// Error names the first few.
func (e *Error) Error() string {
	var named []string
	for _, o := range e.Objects[:min(len(e.Objects), maxNamed)] {
		named = append(named, o.String())
	}
	text := "schema " + e.Schema + " would run others' code as the role of this session: " + strings.Join(named, "; ")
	if more := len(e.Objects) - maxNamed; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// ErrSuspect says that a schema has something of a role that is not trusted. It may
// be harmless: Find tells.
var ErrSuspect = errors.New("the schema has something of a role that is not trusted")

// untrusted is the condition that a role could not act as the session's. The role
// of the session may differ from the one that logged in, unless the database says so:
// its owner is not to choose who is trusted.
const untrusted = `not (pg_has_role(%[1]s, session_user, (select me.how from me)) or (select me.chosen from me)
	and pg_has_role(%[1]s, current_user, (select me.how from me))
	or pg_get_userbyid(%[1]s) = any ($2::text[]::name[]))`

// me is how a role can act as another: a membership may exclude SET ROLE since 16.
const me = `me as materialized (
	select case when current_setting('server_version_num')::int4 >= 160000 then 'set' else 'member' end as how,
		not exists (select from pg_db_role_setting s where s.setrole = 0 and exists (select from unnest(s.setconfig) c
			where starts_with(c, 'role='))) as chosen
)`

// find is made once: fleet runs ask it of every tenant.
var find = sync.OnceValue(func() string { //nolint:gochecknoglobals // never changed
	return expand(strings.Replace(findSQL, "{me}", me, 1), untrusted)
})

var untrustedRole = regexp.MustCompile(`\{untrusted ([a-z.]+)\}`)

// expand puts a condition in the place of each {untrusted ROLE}.
func expand(sql, condition string) string {
	return untrustedRole.ReplaceAllStringFunc(sql, func(found string) string {
		_, owner, _ := strings.Cut(strings.Trim(found, "{}"), " ")
		return fmt.Sprintf(condition, owner)
	})
}

// Find looks at schemas, some hundred in a statement, and returns what is planted
// there, by the name of the schema. q must not be in a transaction whose path
// matters. trusted names roles whose code may run besides.
func Find(ctx context.Context, q db.Querier, schemas []db.Schema, trusted []string) (map[string][]Object, error) {
	out := map[string][]Object{}
	for len(schemas) > 0 {
		n := min(chunkSize, len(schemas))
		var p db.Pipeline
		var found []Object
		queue(&p, schemas[:n], trusted, &found)
		if err := p.Run(ctx, q); err != nil {
			return nil, fmt.Errorf("look for planted code: %w", err)
		}
		for _, o := range found {
			out[o.Schema] = append(out[o.Schema], o)
		}
		schemas = schemas[n:]
	}
	return out, nil
}

// Queue adds to a transaction a look at one schema; read the objects with Refuse
// once the pipeline has run. It must come before the transaction takes another
// role, and leaves the path as it is.
func Queue(p *db.Pipeline, s db.Schema, trusted []string, objects *[]Object) {
	useCatalogPath(p)
	queue(p, []db.Schema{s}, trusted, objects)
	restoreSettings(p)
}

// kept are the settings that a look within a transaction changes. To the planner
// the query looks worth compiling, which takes longer than the query; and for one
// schema it would read whole catalogs, which grow with the fleet.
func kept() []string {
	return []string{"search_path", "jit", "enable_seqscan", "enable_hashjoin", "enable_mergejoin"}
}

// useCatalogPath sets the settings of the query within a transaction; restoreSettings
// puts the former ones back.
func useCatalogPath(p *db.Pipeline) {
	var keep strings.Builder
	for i, name := range kept() {
		if i > 0 {
			keep.WriteString(", ")
		}
		keep.WriteString("pg_catalog.set_config('crmctl.kept_" + name + "', pg_catalog.current_setting('" +
			name + "'), true)")
	}
	p.Exec("select " + keep.String())
	p.Exec(catalogOnly)
	p.Exec(`select pg_catalog.set_config(s, 'off', true) from pg_catalog.unnest($1::pg_catalog.text[]) s`, kept()[2:])
}

func restoreSettings(p *db.Pipeline) {
	p.Exec(`select pg_catalog.set_config(s, pg_catalog.current_setting(pg_catalog.concat('crmctl.kept_', s)), true)
		from pg_catalog.unnest($1::pg_catalog.text[]) s`, kept()[1:])
	p.Exec(`select pg_catalog.set_config('search_path', pg_catalog.current_setting('crmctl.kept_search_path'), true)`)
}

const catalogOnly = `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
	pg_catalog.set_config('jit', 'off', true)`

// queue adds the query.
func queue(p *db.Pipeline, schemas []db.Schema, trusted []string, objects *[]Object) {
	if trusted == nil {
		trusted = []string{}
	}
	p.Exec(catalogOnly)
	p.Query(func(rows pgx.Rows) (err error) {
		*objects, err = pgx.CollectRows(rows, pgx.RowToStructByName[Object])
		return err
	}, find(), names(schemas), trusted)
}

func names(schemas []db.Schema) []string {
	out := make([]string, len(schemas))
	for i, s := range schemas {
		out[i] = s.String()
	}
	return out
}

// Refuse returns an *Error if there are objects.
func Refuse(s db.Schema, objects []Object) error {
	if len(objects) == 0 {
		return nil
	}
	return &Error{Schema: s.String(), Objects: objects}
}
