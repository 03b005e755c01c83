package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrNoRole says that the session may not make the role as which alone the statements
// of a file are run.
var ErrNoRole = errors.New("the structure of the file can only be made by a role that may make roles (CREATEROLE)")

// ErrSpread says that schemas are spread over nodes, where a table made as a sandbox makes
// it would stay on the coordinator, or the nodes would refuse the role.
var ErrSpread = errors.New("the file has tables that no migration makes, or that differ from " +
	"what the migrations make; " +
	"on a cluster these cannot be made from a file")

// sandbox runs statements that somebody else wrote, in a SECURITY DEFINER function that
// belongs to a temporary role. That role may create objects in one schema and nothing
// else. Within such a function the server refuses every change of the role (SET ROLE,
// RESET ROLE, SET SESSION AUTHORIZATION, set_config); after a plain SET LOCAL ROLE it
// would allow it. Each use makes a new function with a random name, so that earlier
// statements cannot have replaced it.
type sandbox struct {
	conn   *pgx.Conn
	schema db.Schema
	path   db.Path // behind the schema, once the role is gone
	role   string
	self   string // what the session's own role is set to
}

// openSandbox makes the role. The schema must exist.
func openSandbox(ctx context.Context, conn *pgx.Conn, schema db.Schema) (*sandbox, error) {
	if db.EngineOf(conn).Distributed() {
		return nil, ErrSpread
	}
	w := &sandbox{conn: conn, schema: schema, role: "crmctl_restore_" + strings.ToLower(rand.Text())}
	var member, super bool
	var homes []string
	var p db.Pipeline
	p.QueryRow([]any{&w.self, &super, &member}, `select pg_catalog.current_setting('role'),
		(select r.rolsuper from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user), true`)
	// Types and functions of extensions are looked up in their schemas.
	p.Query(func(rows pgx.Rows) (err error) {
		homes, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, `select distinct pg_catalog.quote_ident(n.nspname) from pg_catalog.pg_extension e
		join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) e.extnamespace
		where n.nspname operator(pg_catalog.<>) 'pg_catalog'
			and pg_catalog.has_schema_privilege(n.oid, 'usage with grant option')`)
	p.Exec("create role " + w.quoted() + " nologin noinherit")
	if err := p.Run(ctx, conn); err != nil {
		if db.SQLState(err) == db.CodeInsufficientPrivilege {
			return nil, fmt.Errorf("%w: %w", ErrNoRole, db.Plain(err))
		}
		return nil, fmt.Errorf("make a role for the structure of the file: %w", db.Plain(err))
	}
	p = db.Pipeline{}
	if !super {
		p.Exec("grant " + w.quoted() + " to current_user")
	}
	p.Exec("grant usage, create on schema " + schema.Quoted() + " to " + w.quoted())
	for _, home := range homes {
		p.Exec("grant usage on schema " + home + " to " + w.quoted())
	}
	if err := p.Run(ctx, conn); err != nil {
		return nil, fmt.Errorf("give the role of the structure its rights: %w", db.Plain(err))
	}
	return w, nil
}

func (w *sandbox) quoted() string { return db.Quoted(w.role) }

// setRole adds the statement that sets the session's role. Statements that run under it
// could set another one, so they must be our own, or trusted.
func (w *sandbox) setRole(p *db.Pipeline, role string) {
	p.Exec("select pg_catalog.set_config('role', $1, true)", role)
}

// run runs statements that anybody may have written.
func (w *sandbox) run(ctx context.Context, statements []db.Statement) error {
	if len(statements) == 0 {
		return nil
	}
	texts := make([]string, len(statements))
	for i, s := range statements {
		texts[i] = s.SQL
	}
	name := qualified(w.schema, "crmctl_run_"+strings.ToLower(rand.Text()))
	var p db.Pipeline
	w.setRole(&p, w.role)
	p.Exec("create function " + name + `(statements pg_catalog.text[]) returns pg_catalog.void
		language plpgsql security definer as
		$run$ declare statement pg_catalog.text; begin
			foreach statement in array statements loop execute statement; end loop; end $run$`)
	w.setRole(&p, w.self)
	p.Exec("select "+name+"($1::pg_catalog.text[])", texts)
	// A function that is gone, or somebody else's by now, is an error here.
	p.Exec("drop function " + name + "(pg_catalog.text[])")
	// The query of a cursor WITH HOLD would be run by the commit, with other rights.
	p.Exec("close all")
	forget(&p)
	p.StandIn(w.schema, db.Path{})
	queueDialect(&p)
	if err := p.Run(ctx, w.conn); err != nil {
		return fmt.Errorf("make the structure that the file has: %w", db.Plain(err))
	}
	return nil
}

// owned lists the statements that give what the role has made in the schema to the
// session's own role. A table with trigger events that are still to be fired refuses,
// so nothing of the file is left to run at the commit.
const owned = `
	select pg_catalog.format('alter %s %I.%I owner to current_user',
		case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
			when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end, n.nspname, c.relname)
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and pg_get_userbyid(c.relowner) = $2
	  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
	  	and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and c.relkind = 'S')
	union all
	select pg_catalog.format('alter routine %s owner to current_user', p.oid::regprocedure)
	from pg_proc p join pg_namespace n on n.oid = p.pronamespace
	where n.nspname = $1 and pg_get_userbyid(p.proowner) = $2
	union all
	select pg_catalog.format('alter type %I.%I owner to current_user', n.nspname, t.typname)
	from pg_type t join pg_namespace n on n.oid = t.typnamespace
	where n.nspname = $1 and pg_get_userbyid(t.typowner) = $2 and t.typtype in ('c', 'd', 'e', 'r')
	  and (t.typtype <> 'c' or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
	union all
	select pg_catalog.format('alter statistics %I.%I owner to current_user', n.nspname, s.stxname)
	from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace
	where n.nspname = $1 and pg_get_userbyid(s.stxowner) = $2`

// close gives the objects of the temporary role to the session's own role and drops the
// temporary one. It fails if that role owns anything outside the schema.
func (w *sandbox) close(ctx context.Context) error {
	if err := w.run(ctx, []db.Statement{{SQL: "set constraints all immediate"}}); err != nil {
		return err
	}
	var give []string
	var p db.Pipeline
	p.Exec("savepoint crmctl_owned")
	p.Exec("select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)")
	p.Query(func(rows pgx.Rows) (err error) {
		give, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, owned, w.schema.String(), w.role)
	p.Exec("rollback to savepoint crmctl_owned")
	if err := p.Run(ctx, w.conn); err != nil {
		return fmt.Errorf("look for what the structure is made of: %w", db.Plain(err))
	}
	p = db.Pipeline{}
	p.OwnPath()
	for _, sql := range give {
		p.Exec(sql)
	}
	p.Query(func(rows pgx.Rows) error { // the schemas of extensions
		homes, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		give = homes
		return nil
	}, `select 'revoke usage on schema ' operator(pg_catalog.||) pg_catalog.quote_ident(n.nspname)
		from pg_catalog.pg_namespace n
		where exists (select from pg_catalog.aclexplode(n.nspacl) g
			where pg_catalog.pg_get_userbyid(g.grantee) operator(pg_catalog.=) $1 and n.nspname operator(pg_catalog.<>) $2)`,
		w.role, w.schema.String())
	p.Exec("revoke all on schema " + w.schema.Quoted() + " from " + w.quoted())
	if err := p.Run(ctx, w.conn); err != nil {
		return fmt.Errorf("take over what the file has made: %w", db.Plain(err))
	}
	p = db.Pipeline{}
	for _, sql := range give {
		p.Exec(sql + " from " + w.quoted())
	}
	p.Exec("drop role " + w.quoted())
	p.StandIn(w.schema, w.path)
	if err := p.Run(ctx, w.conn); err != nil {
		return fmt.Errorf("the structure of the file reaches out of its schema: %w", db.Plain(err))
	}
	return nil
}

// forget clears the session's state that outlives a transaction, even one that was
// rolled back, so that nothing of a file stays in the session.
func forget(p *db.Pipeline) {
	p.Exec("unlisten *")
	p.Exec("deallocate all")
	p.Exec("select pg_catalog.pg_advisory_unlock_all()")
}

// undo rolls back what a target has done.
func (t *target) undo(ctx context.Context) error {
	err := t.clear(ctx, db.Rollback(ctx, t.conn))
	if t.own.sandbox == nil || t.conn.IsClosed() {
		return err
	}
	var p db.Pipeline
	forget(&p)
	return errors.Join(err, db.Plain(p.Run(context.WithoutCancel(ctx), t.conn)))
}
