package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// object is an object of a shape as it stands in a file.
func object(kind catalog.Kind, parent, name, definition string, detail map[string]any) map[string]any {
	return map[string]any{"kind": kind, "parent": parent, "name": name, "definition": definition, "detail": detail}
}

// withObjects returns a file whose structure has other objects, its fingerprint right.
func withObjects(t *testing.T, file []byte, more ...map[string]any) []byte {
	t.Helper()
	return craft(t, file, func(m *Manifest, _ map[string]string) {
		text, err := json.Marshal(m.Structure.Shape)
		if err != nil {
			t.Fatal(err)
		}
		var objects []map[string]any
		if err := json.Unmarshal(text, &objects); err != nil {
			t.Fatal(err)
		}
		for _, o := range more {
			replaced := false
			for i, there := range objects {
				parent, _ := there["parent"].(string)
				name, _ := there["name"].(string)
				if there["kind"] == string(o["kind"].(catalog.Kind)) && parent == o["parent"] && name == o["name"] {
					objects[i], replaced = o, true
				}
			}
			if !replaced {
				objects = append(objects, o)
			}
		}
		if text, err = json.Marshal(objects); err != nil {
			t.Fatal(err)
		}
		m.Structure.Shape = &catalog.Shape{}
		if err := json.Unmarshal(text, m.Structure.Shape); err != nil {
			t.Fatal(err)
		}
		sum := m.Structure.Shape.Fingerprint()
		m.Structure.Fingerprint = fmt.Sprintf("%x", sum[:])
	})
}

// TestCraftedStructures: nothing that stands in the structure of a file runs with the
// rights of whoever restores it, and nothing of a file that tries is left.
func TestCraftedStructures(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := usual(t)
	made := f.Create(t, plan, "acme", "globex")
	by(t, f.Connect(t), made[0].Schema, append(usualRows, "create table extra (id int, body text)",
		"insert into extra values (1, 'x')")...)
	// What runs with too many rights leaves a word here.
	f.Exec(t, "create table public.loot (who text, what text)", "set search_path = tenant_globex",
		"insert into people (name) values ('secret')")
	var file bytes.Buffer
	if _, err := Write(t.Context(), f.Connect(t), Source{ID: made[0].ID, Slug: "acme", Schema: made[0].Schema}, &file,
		WriteOptions{Structures: structuresOf(f, plan), Prove: true}); err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "drop schema tenant_acme cascade", "delete from public.tenants where slug = 'acme'")
	// An application's role has types of its own in this database, which run its code.
	var role string
	f.Scan(t, []any{&role}, "select 'mallory_' || current_database()")
	f.Exec(t, "create role "+role, "create schema evil authorization "+role, "grant usage on schema evil to public",
		"create function evil.f() returns boolean language plpgsql as 'begin insert into public.loot values (current_user, "+
			"current_query()); return true; exception when insufficient_privilege then return true; end'",
		"alter function evil.f() owner to "+role, "create domain evil.d as text check (evil.f())",
		"alter domain evil.d owner to "+role,
		"create type evil.c as (d evil.d)", "alter type evil.c owner to "+role)
	t.Cleanup(func() { f.DropRoles(t, role) })
	number := f.Int(t, "select 'evil.c'::regtype::oid::int8")
	arrays := f.Int(t, "select 'evil.d'::regtype::oid::int8")
	const steal = "insert into public.loot select current_user, name from tenant_globex.people"
	function := func(name, returns, language, body string) map[string]any {
		return object(catalog.KindFunction, "", name+"()", "CREATE OR REPLACE FUNCTION "+name+"()\n RETURNS "+returns+
			"\n LANGUAGE "+language+"\nAS $f$ "+body+" $f$\n", nil)
	}
	typed := func(typ string) map[string]any {
		// The definition, which the fingerprint is of, is that of the column as it will be.
		return object(catalog.KindColumn, "extra", "body", "text", map[string]any{"type": typ})
	}
	defaulted := func(expression string) map[string]any {
		return object(catalog.KindColumn, "extra", "body", "text default "+expression,
			map[string]any{"type": "text", "expression": expression})
	}
	check := func(expression string) map[string]any {
		return object(catalog.KindConstraint, "extra", "c", "CHECK ("+expression+")",
			map[string]any{"type": "c", "valid": true, "definition": "CHECK (" + expression + ")"})
	}
	matview := func(query string) map[string]any {
		return object(catalog.KindMaterializedView, "", "mv", "as "+query, map[string]any{"definition": query})
	}
	// Of these nothing is left, so that the file is as good as any.
	harmless := map[string]bool{"a cursor without a function": true, "a setting of the session": true,
		"a function replaced": true}
	perform := func(sql string) string { return "do $x$ begin " + sql + "; end $x$" }
	for name, objects := range map[string][]map[string]any{
		"a statement behind a type":    {typed("text); " + steal + "; --")},
		"a role reset behind a type":   {typed("text); reset role; " + steal + "; --")},
		"a role set behind a type":     {typed("text); set role none; " + steal + "; --")},
		"a session role behind a type": {typed("text); set session authorization default; " + steal + "; --")},
		"a setting behind a type": {typed("text); select set_config('role', 'none', false); " +
			steal + "; --")},
		"a commit behind a type": {typed("text); commit; " + steal + "; --")},
		"a block behind a type": {typed("text); " + perform("perform set_config('role', 'none', true); "+
			steal) + "; --")},
		"another owner behind a type": {typed("text); alter table extra owner to current_user; alter schema " +
			"tenant_acme owner to current_user; --")},
		"a cursor that outlives the transaction": {function("evil", "int", "plpgsql", "begin "+steal+"; return 1; end"),
			typed("text); create function h() returns int language plpgsql as 'begin " + steal +
				"; return 1; end'; declare c cursor with hold for select h(); --")},
		"a cursor without a function": {typed("text); declare c cursor with hold for select query_to_xml('" +
			strings.ReplaceAll(steal, "'", "''") + " returning 1', true, false, ''); --")},
		"settings": {typed("text); set search_path = tenant_globex; set " +
			"session_replication_role = origin; listen x; select pg_advisory_lock(4711); prepare y as select 1; --")},
		"a setting of the session": {typed("text); set application_name = 'mine'; set datestyle = 'SQL, " +
			"DMY'; listen x; select pg_advisory_lock(4711); prepare y as select 1; --")},
		"a deferred trigger": {typed(`text); create function h() returns trigger language plpgsql as 'begin ` + steal +
			`; return null; end';
			create constraint trigger g after insert on extra deferrable initially deferred for each row execute function h(); insert into extra values (1); --`)},
		"a deferred trigger on a temporary table": {typed(`text); create temp table tt (id int);
			create function pg_temp.h() returns trigger language plpgsql as 'begin ` + steal + `; return null; end';
			create constraint trigger g after insert on tt deferrable initially deferred for each row execute function pg_temp.h(); insert into tt values (1); --`)},
		"a table in public":           {typed("text); create table public.planted (id int); --")},
		"a large object":              {typed("text); select lo_from_bytea(0, 'x'); --")},
		"a default that reads a file": {defaulted("pg_read_file('/etc/passwd')")},
		"a default that runs SQL": {defaulted("query_to_xml('" + strings.ReplaceAll(steal, "'", "''") +
			" returning 1', true, false, '')::text")},
		"a default that sets the role":    {defaulted("set_config('role', 'none', true)")},
		"a default of another's sequence": {defaulted("nextval('tenant_globex.people_id_seq')::text")},
		"a check that runs SQL": {check("(query_to_xml('" + strings.ReplaceAll(steal, "'", "''") +
			" returning 1', true, false, '') is not null)")},
		"a check that calls a function": {function("evil", "bool", "plpgsql", "begin "+steal+"; return true; end"),
			check("evil()")},
		"a view filled by a function": {function("evil", "int", "plpgsql", "begin "+steal+"; return 1; end"),
			matview(" SELECT evil() AS x;")},
		"a view of another tenant": {object(catalog.KindView, "", "peek",
			"as SELECT name FROM tenant_globex.people;",
			map[string]any{"definition": " SELECT name FROM tenant_globex.people;"})},
		"a view filled by another tenant": {matview(" SELECT name FROM tenant_globex.people;")},
		"a view of the registry": {object(catalog.KindView, "", "peek",
			"as SELECT tenants.slug FROM public.tenants;", map[string]any{"definition": " SELECT slug FROM public.tenants;"})},
		"a view of passwords": {object(catalog.KindView, "", "peek", "as SELECT x",
			map[string]any{"definition": " SELECT rolpassword FROM pg_authid;"})},
		"a function with rights": {object(catalog.KindFunction, "", "evil()",
			"CREATE OR REPLACE FUNCTION evil()\n RETURNS integer\n LANGUAGE sql\n SECURITY DEFINER\nAS $f$ select 1 "+
				"$f$\n", nil)},
		"a statement instead of a function": {object(catalog.KindFunction, "", "evil()",
			perform("execute 'reset role'; "+steal), nil)},
		"a name of SQL": {object(catalog.KindTable, "", `x" (id int); `+steal+`; --`, "table",
			map[string]any{}), object(catalog.KindColumnOrder, `x" (id int); `+steal+`; --`, "", "", nil)},
		"a key to another tenant": {object(catalog.KindConstraint, "extra", "k",
			"FOREIGN KEY (id) REFERENCES tenant_globex.people(id)", map[string]any{"type": "f", "valid": true,
				"definition": "FOREIGN KEY (id) REFERENCES tenant_globex.people(id)", "references": "tenant_globex.people"})},
		"a child of another tenant": {object(catalog.KindTable, "", "extra", "table inherits (tenant_globex.people)",
			map[string]any{"parents": "tenant_globex.people"})},
		"a program":           {typed("text); copy extra from program 'id'; --")},
		"a function replaced": {typed(`text); do $x$ declare r record; begin for r in select p.oid::regprocedure as f from pg_proc p where proname ~ '^crmctl_run' loop execute 'alter function ' || r.f || ' security invoker'; end loop; end $x$; --`)},
		"a grant": {object(catalog.KindGrant, "extra", "table extra to postgres", "SELECT",
			map[string]any{"on": "table extra", "to": "public"}),
			typed("text); create table e2 (id int); grant all on e2 to public; --")},
		"a statement in a policy": {object(catalog.KindPolicy, "extra", "p", "for all to public using (true); "+
			steal+"; --", nil)},
		"a statement in a comment": {object(catalog.KindComment, "extra", "table extra is 'x'; "+steal+
			"; --", "x", nil)},
		"a type of others": {object(catalog.KindColumn, "extra", "body", "evil.d",
			map[string]any{"type": "evil.d"})},
		"a check by a type of others":   {check("((body)::evil.d IS NOT NULL)")},
		"a default by a type of others": {defaulted("('x'::text)::evil.d::text")},
		"a check by a type's number": {check(fmt.Sprintf("(record_in('(x)'::cstring, (%d)::oid, '-1'::integer) IS "+
			"NOT NULL)", number))},
		"a default by a type's number": {defaulted(fmt.Sprintf("(array_in('{x}'::cstring, (%d)::oid, "+
			"'-1'::integer))::text", arrays))},
		"a view filled by a type of others": {matview(" SELECT ('x'::text)::evil.d AS x;")},
		"a domain over one of others": {object(catalog.KindDomain, "", "dd", "text CHECK (VALUE::evil.d IS NOT NULL)",
			map[string]any{"type": "text", "constraints": " CHECK (VALUE::evil.d IS NOT NULL)"}),
			object(catalog.KindColumn, "extra", "body", "dd", map[string]any{"type": "dd"})},
		"an event trigger": {typed("text); create event trigger et on ddl_command_end execute function " +
			"pg_catalog.suppress_redundant_updates_trigger(); --")},
	} {
		t.Run(name, func(t *testing.T) {
			before := world(t, f)
			bad := withObjects(t, file.Bytes(), objects...)
			for _, trust := range []bool{false, true} {
				conn, err := f.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var fresh string
				if err := conn.QueryRow(t.Context(), `select pg_catalog.concat_ws(' ',
					pg_catalog.current_setting('application_name'), pg_catalog.current_setting('search_path'),
						pg_catalog.current_setting('datestyle'), 0, 0, 0, 0)`).Scan(&fresh); err != nil {
					t.Fatal(err)
				}
				n := restores(plan)
				n.TrustCode = trust
				_, err = Restore(context.Background(), conn, bytes.NewReader(bad), RestoreOptions{NewTenant: n})
				if !trust && err == nil && !harmless[name] {
					t.Error("it was restored")
				}
				if err == nil { // the file was trusted: only what is left counts
					f.Exec(t, "drop schema tenant_acme cascade", "delete from public.tenants where slug = 'acme'")
				} else if after := world(t, f); after != before {
					t.Errorf("trusted %v: something was left behind after %v:\n%s\nbefore\n%s", trust, err, after, before)
				}
				before = world(t, f)
				var session string
				if err := conn.QueryRow(t.Context(), `select pg_catalog.concat_ws(' ',
					pg_catalog.current_setting('application_name'), pg_catalog.current_setting('search_path'),
						pg_catalog.current_setting('datestyle'),
					(select pg_catalog.count(*) from pg_catalog.pg_listening_channels()), (select pg_catalog.count(*)
						from pg_catalog.pg_locks where locktype = 'advisory' and pid = pg_catalog.pg_backend_pid()),
					(select pg_catalog.count(*) from pg_catalog.pg_prepared_statements), (select pg_catalog.count(*)
						from pg_catalog.pg_cursors where is_holdable))`).Scan(&session); err != nil || session != fresh {
					t.Errorf("the session is left as %q, it was %q: %v", session, fresh, err)
				}
				if n := f.Int(t, "select count(*) from public.loot"); n != 0 {
					var loot string
					f.Scan(t, []any{&loot}, "select pg_catalog.string_agg(l::text, E'\\n') from public.loot l")
					t.Errorf("trusted %v: %d rows were stolen: %v\n%s", trust, n, err, loot)
					f.Exec(t, "delete from public.loot")
				}
				if err != nil {
					t.Log(trust, errors.Join(err))
				}
				var role string
				if err := conn.QueryRow(t.Context(), "select current_user || ' ' || session_user").Scan(&role); err != nil ||
					strings.Contains(role, "crmctl_") {
					t.Errorf("the session is %s: %v", role, err)
				}
				_ = conn.Close(context.Background())
			}
		})
	}
	// The file itself is right.
	if _, err := Restore(t.Context(), f.Connect(t), bytes.NewReader(withObjects(t, file.Bytes())),
		RestoreOptions{NewTenant: restores(plan)}); err != nil {
		t.Error(err)
	}
}
