package tablespace

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrCluster says that schemas are spread over nodes, each of which has tablespaces of its own.
var ErrCluster = errors.New("the schemas of a Citus cluster stand on nodes, where tablespaces are not chosen from here")

// ErrShared says that a tablespace is for what belongs to no database.
var ErrShared = errors.New("tablespace pg_global holds what belongs to no database, and no tables of tenants")

// UnknownError says that the server has no such tablespace.
type UnknownError struct {
	Name  string
	Known []string // that there are
}

// Error lists those that there are.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("the server has no tablespace %q; it has %s", e.Name, strings.Join(e.Known, ", "))
}

// RightError says that a role may make nothing in a tablespace.
type RightError struct{ Name, Role string }

// Error names the grant.
func (e *RightError) Error() string {
	return fmt.Sprintf("role %q may make no tables in tablespace %q: grant create on tablespace %s to %s", e.Role, e.Name,
		db.Quoted(e.Name), db.Quoted(e.Role))
}

// Look makes sure that tables can be made in a tablespace by roles, of which "" is the session's
// own. usual tells that it is where the database makes them anyway. The error is an
// *UnknownError, a *RightError, ErrShared or ErrCluster.
func Look(ctx context.Context, q db.Querier, name string, roles ...string) (usual bool, err error) {
	if db.EngineOf(q).Distributed() {
		return false, ErrCluster
	}
	type row struct {
		Name  string
		Usual bool
		Lacks []string
	}
	all, err := db.Select(ctx, q, pgx.RowToStructByPos[row], `
		select s.spcname::text, s.oid = (select d.dattablespace from pg_database d where d.datname = current_database()),
			array(select r.rolname::text from unnest($1::text[]) n (name)
				join pg_roles r on r.rolname = coalesce(nullif(n.name, '')::name, current_user)
				where s.spcname <> 'pg_global' and not has_tablespace_privilege(r.oid, s.oid, 'create') order by 1)
		from pg_tablespace s order by 1`, roles)
	if err != nil {
		return false, fmt.Errorf("look at the tablespaces: %w", err)
	}
	unknown := &UnknownError{Name: name}
	for _, r := range all {
		switch {
		case r.Name == name && name == "pg_global":
			return false, ErrShared
		case r.Name == name && !r.Usual && len(r.Lacks) > 0:
			return false, &RightError{Name: name, Role: r.Lacks[0]}
		case r.Name == name:
			return r.Usual, nil
		case r.Name != "pg_global":
			unknown.Known = append(unknown.Known, r.Name)
		}
	}
	return false, unknown
}
