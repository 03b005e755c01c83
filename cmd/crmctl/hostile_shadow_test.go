package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// shadow plants, in a schema, something better than what PostgreSQL has of that name:
// a function or an aggregate for the very types where PostgreSQL's takes any, operators
// between types that PostgreSQL has to convert, domains and views named like its types,
// its relations and the registry's. Each raises an error, and a sequence counts it
// where the transaction may write. It is made from the catalog.
const shadow = `do $shadow$
declare
	types constant pg_catalog.text[] := array['text', 'varchar', 'name', '"char"', 'int4', 'int8', 'oid', 'uuid', 'regclass', 'text[]'];
	home constant pg_catalog.text := '%[1]s';
	l pg_catalog.text; r pg_catalog.text; f record; made pg_catalog.int4 := 0;
	body constant pg_catalog.text := pg_catalog.format($f$language plpgsql as $b$ declare place pg_catalog.text; begin
		begin perform pg_catalog.nextval('%%s.trap'); exception when others then null; end;
		get diagnostics place = pg_context;
		raise exception 'PLANTED CODE RUNS in %%s: %%%%', place; end $b$$f$, home, home);
begin
	perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); -- not to fall into the own traps
	execute pg_catalog.format('create sequence %%s.trap', home);
	-- Functions of PostgreSQL with any type, or with a text, a name or a number, for each type.
	for f in select distinct p.proname, p.pronargs, p.prokind from pg_catalog.pg_proc p
		where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace and p.pronargs between 0 and 2 and p.proretset is not null
		  and not ('internal'::pg_catalog.regtype::pg_catalog.oid = any (p.proargtypes::pg_catalog.oid[])) and not ('cstring'::pg_catalog.regtype::pg_catalog.oid = any (p.proargtypes::pg_catalog.oid[]))
		  and (p.prokind = 'a' or p.provariadic <> 0 or p.proname = any ('{%[2]s}'::pg_catalog.text[]))
	loop
		foreach l in array types loop
			l := 'pg_catalog.' || l;
			begin
				if f.prokind = 'a' then
					execute pg_catalog.format('create function %%s.%%I(pg_catalog.text, %%s) returns pg_catalog.text %%s', home, 'agg_' || f.proname, l, body);
					execute pg_catalog.format('create aggregate %%s.%%I(%%s) (sfunc = %%s.%%I, stype = pg_catalog.text, initcond = '''')', home, f.proname, l, home, 'agg_' || f.proname);
				else
					execute pg_catalog.format('create function %%s.%%I(%%s) returns pg_catalog.text %%s', home, f.proname, case f.pronargs when 0 then '' when 1 then l else l || ', ' || l end, body);
				end if;
				made := made + 1;
			exception when others then null;
			end;
			exit when f.pronargs = 0;
		end loop;
	end loop;
	-- Operators between any two of the types that PostgreSQL has none for.
	foreach l in array types loop
		foreach r in array types loop
			l := 'pg_catalog.' || pg_catalog.replace(l, 'pg_catalog.', ''); r := 'pg_catalog.' || r;
			execute pg_catalog.format('create or replace function %%s.op(%%s, %%s) returns pg_catalog.bool %%s', home, l, r, body);
			for f in select distinct o.oprname from pg_catalog.pg_operator o where o.oprname in ('=', '<>', '<', '>', '>=', '~', '~~', '||', '+', '-', '/') loop
				begin
					execute pg_catalog.format('create operator %%s.%%s (leftarg = %%s, rightarg = %%s, function = %%s.op)', home, f.oprname, l, r, home);
					made := made + 1;
				exception when others then null;
				end;
			end loop;
		end loop;
	end loop;
	execute pg_catalog.format('create function %%s.trapped() returns pg_catalog.bool %%s', home, body);
	-- Relations: those of PostgreSQL that are read, and the registry's where it is not.
	for f in select c.relname from pg_catalog.pg_class c where c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace and c.relkind in ('r', 'v')
		union all select c.relname from pg_catalog.pg_class c where c.relnamespace = 'public'::pg_catalog.regnamespace and c.relkind = 'r'
	loop
		begin
			execute pg_catalog.format('create view %%s.%%I as select %%s.trapped() as oid', home, f.relname, home);
		exception when others then null;
		end;
	end loop;
	-- Types.
	for f in select t.typname from pg_catalog.pg_type t where t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace and t.typtype = 'b' and t.typname !~ '^(_|pg_|reg)' loop
		begin
			execute pg_catalog.format('create domain %%s.%%I as pg_catalog.%%I check (%%s.trapped())', home, f.typname, f.typname, home);
		exception when others then null;
		end;
	end loop;
	if made < 500 then raise exception 'only %% are planted', made; end if;
end $shadow$`

// shadowedCommands says how each command that talks to the database is run, in the
// order given.
func shadowedCommands(dir string) [][]string {
	leads, changed := filepath.Join(dir, "leads.csv"), filepath.Join(dir, "changed.csv")
	return [][]string{
		{"migrate public"}, {"migrate plan"}, {"migrate status", "--verify"}, {"migrate lint"}, {"migrate drift"},
		{"tenant create", "fresh"}, {"migrate all-tenants"}, {"migrate tenant", "acme"}, {"migrate retry"}, {"migrate runs"},
		{"migrate runs show", "1"},
		{"migrate repair", "acme", "--mark", "done"}, {"migrate adopt", "--schema", "tenant_acme"},
		{"migrate redo", "fresh", "--yes"},
		{"migrate rollback", "--tenant", "fresh", "--steps", "1", "--yes"},
		{"contacts import", "--tenant", "acme", leads}, {"contacts import", "--tenant", "acme", leads},
		{"contacts import", "--tenant", "acme", "--on-conflict", "error", leads},
		{"contacts inspect", leads, "--tenant", "acme"},
		{"contacts import", "--tenant", "acme", "--dry-run", leads}, {"contacts imports"},
		{"contacts export", "--tenant", "acme", "--search", "a", "--metadata", "a=b", "--since", "7d", "--to", dir + "/a.xlsx"},
		{"contacts export", "--tenant", "acme", "--dry-run"}, {"conversations export", "--tenant", "acme", "--status", "open",
			"--contact", "ada@example.com"}, {"messages export", "--tenant", "acme", "--search", "a", "--contact", "a@b.example"},
		{"contacts import", "--tenant", "acme", "--batch", "1", changed}, {"contacts import", "--tenant", "acme", "--undo",
			"3", "--yes"},
		{"seed", "--tenant", "fresh"},
		{"contacts add", "--tenant", "acme", "--email", "svc@example.com", "--phone", "+49301234567", "--set", "a=b"},
		{"contacts edit", "--tenant", "acme", "svc@example.com", "--name", "S", "--set", "c=d", "--unset", "a"},
		{"contacts list", "--tenant", "acme", "--limit", "1"}, {"contacts show", "--tenant", "acme", "svc@example.com"},
		{"contacts search", "--tenant", "acme", "svc", "--phone", "+49301234567", "--set", "c=d"},
		{"conversations open", "--tenant", "acme", "svc@example.com"},
		{"conversations list", "--tenant", "acme", "--contact", "svc@example.com", "--status", "open"},
		{"conversations close", "--tenant", "acme", "svc@example.com"}, {"conversations reopen", "--tenant", "acme",
			"svc@example.com"},
		{"conversations show", "--tenant", "acme", "svc@example.com"},
		{"messages add", "--tenant", "acme", "svc@example.com", "--text", "hello"},
		{"messages list", "--tenant", "acme", "svc@example.com"}, {"messages search", "--tenant", "acme", "hello"},
		{"conversations assign", "--tenant", "acme", "svc@example.com", "ada@example.com"},
		{"contacts add", "--tenant", "acme", "--email", "svc+2@example.com"}, {"contacts dedupe", "--tenant", "acme"},
		{"contacts dedupe", "--tenant", "acme", "--by", "address", "--merge", "--yes"},
		{"contacts dedupe", "--tenant", "acme", "--undo", "4", "--yes"},
		{"contacts person", "svc@example.com", "--tenant", "acme", "--show"}, {"contacts person", "svc+2@example.com",
			"--tenant", "acme", "--erase", "--yes"},
		{"contacts remove", "--tenant", "acme", "svc@example.com", "--yes"},
		{"tenant sync", "--config", filepath.Join(dir, "sync.yaml")}, {"tenant list", "--config",
			filepath.Join(dir, "sync.yaml")},
		{"tenant list"}, {"tenant show", "acme"}, {"tenant suspend", "acme"}, {"tenant activate", "acme"},
		{"tenant set", "acme", "seats=5"},
		{"tenant exec", "acme", "-c", "values (1)"}, {"tenant exec", "acme", "--write", "--yes", "-c",
			"create table written (x int)"},
		{"tenant pool fill", "--count", "1"}, {"tenant pool list"}, {"tenant pool drain"},
		{"tenant relocate", "acme", "--to-tablespace", "pg_default"}, {"stats sizes", "--by", "tablespace"},
		{"placement export", "--format", "csv"},
		{"tenant clone", "acme", "twin"}, {"tenant transfer", "twin", "--to-profile", "second", "--config",
			filepath.Join(dir, "second.yaml")}, {"tenant rename", "globex", "globex-two", "--schema"},
		{"backup create", "acme", "--dir", filepath.Join(dir, "backups")}, {"backup create", "--registry", "--dir",
			filepath.Join(dir, "backups")},
		{"backup create", "--all", "--dir", filepath.Join(dir, "all")},
		{"backup list", filepath.Join(dir, "backups")}, {"backup verify", filepath.Join(dir, "backups")},
		{"backup restore", filepath.Join(dir, "backups"), "--tenant", "acme", "--as", "restored"},
		{"backup prune", filepath.Join(dir, "backups"), "--keep", "7d"},
		{"maintenance vacuum", "--analyze"}, {"maintenance analyze"}, {"maintenance reindex", "--tenant", "acme"},
		{"stats catalog", "--record"}, {"stats catalog", "--by", "tenant"},
		{"stats sizes", "--exact"}, {"stats sizes"}, {"stats load", "--interval", "1s"}, {"stats indexes"},
		{"stats top", "--count", "1", "--interval", "1s"},
		{"stats indexes", "--suggest"}, {"stats queries"},
		{"stats explain", "acme", "values (1)"}, {"stats explain", "--all-tenants", "values ($1::pg_catalog.int4)"},
		{"stats metrics", "--drift"}, {"stats serve", "--listen", "127.0.0.1:0", "--timeout", "1s"},
		{"report", "--html", filepath.Join(dir, "fleet.html")}, {"stats sizes", "--by", "table"}, {"stats connections"}, {"stats activity"}, {"stats locks"}, {"stats diagnose"},
		{"connections clean", "--idle", "1d", "--in-transaction", "1d", "--yes"}, {"doctor"},
		{"doctor", "--fix", "grants", "--yes"}, {"audit list"},
		{"tenant history", "acme"},
		{"tenant delete", "acme", "--confirm", "acme", "--retention", "0s"}, {"tenant undelete", "acme"},
		{"tenant delete", "acme", "--confirm", "acme", "--retention", "0s"},
		{"tenant purge", "--backup-dir", filepath.Join(dir, "purged"), "--yes", "--max-percent", "100"},
		{"registry move", "--to-schema", "moved"}, // last: the others look for it in public
	}
}

// shadowedFiles returns the directory of the files that shadowedCommands names.
func shadowedFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"leads.csv":   "Name,E-mail,Phone\nAda,ada@example.com,\nAda,ada@example.com,\nNobody,,\n",
		"changed.csv": "Name,E-mail,Phone\nAda L,ada@example.com,\nEve,eve@example.com,\n",
		"second.yaml": secondProfile(fleettest.New(t).DSN),
		"sync.yaml": "tenants_query: select slug, schema_name as schema, display_name, status from public.tenants union " +
			"select 'x', 'public', 'X', 'new'\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// notShadowed are the commands that send nothing of ours to the fleet's database.
func notShadowed() []string {
	return []string{"version", "completion", "man", "config show", "config path", "help", "demo", "local start",
		"local status", "local stop", "local reset", "migrate new", "psql",
		// They end where it is seen that this is no cluster.
		"cluster nodes", "cluster rebalance", "tenant move", "tenant distribute", "tenant undistribute"}
}

// TestNothingPlantedIsEverCalled runs every command while public and two tenants'
// schemas hold something better than everything that PostgreSQL has.
func TestNothingPlantedIsEverCalled(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 3), "acme", "globex")
	used := []string{
		"now", "clock_timestamp", "set_config", "current_setting", "lower", "upper", "left", "right", "starts_with", "format",
		"quote_ident", "quote_literal",
		"md5", "to_jsonb", "to_json", "array_length", "cardinality", "unnest", "array_to_string", "string_to_array",
		"pg_get_expr", "format_type", "obj_description",
		"length", "substr", "replace", "split_part", "to_char", "age", "abs", "greatest", "round", "setval", "nextval",
		"pg_has_role", "has_schema_privilege",
		"to_regclass", "pg_table_size", "pg_indexes_size", "pg_total_relation_size", "pg_relation_size", "jsonb_each",
		"jsonb_object_keys", "jsonb_typeof", "jsonb_array_elements",
	}
	f.Exec(t, "alter table tenant_acme.contacts set tablespace "+db.Quoted(pgtest.Tablespace(t, f.DSN)))
	homes := []string{"public", "tenant_acme", "tenant_globex"}
	for _, home := range homes {
		f.Exec(t, fmt.Sprintf(shadow, home, strings.Join(used, ",")))
	}
	f.Exec(t, `do $$ begin execute pg_catalog.format('alter database %I set search_path = public, pg_catalog', pg_catalog.current_database()); end $$`)
	called := func() (n int64) {
		for _, home := range homes {
			var here int64
			f.Scan(t, []any{&here}, "select case when s.is_called then s.last_value else 0 end from "+home+".trap s")
			n += here
		}
		return n
	}
	dir := shadowedFiles(t)
	if out, _ := outcome(t, f, "tenant", "exec", "acme", "-c",
		"select array_agg(x) from (values ('a'::pg_catalog.text)) v (x)"); !strings.Contains(out, "PLANTED") {
		t.Fatalf("what is planted is not called where it should be: %s", out)
	}
	before := called()
	var ran []string
	for _, c := range shadowedCommands(dir) {
		args := append(strings.Fields(c[0]), c[1:]...)
		out, code := outcome(t, f, args...)
		if code == cli.ExitUsage {
			t.Errorf("%q is no command that can be run so:\n%s", args, out)
		}
		if strings.Contains(out, "PLANTED CODE RUNS in") || called() != before {
			t.Errorf("%q calls what was planted (exit code %d):\n%s", args, code, out)
			before = called()
		}
		ran = append(ran, c[0])
	}
	walk(tree(t), func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() || cmd.HasSubCommands() || cmd.IsAdditionalHelpTopicCommand() ||
			strings.HasPrefix(cmd.Name(), "__") {
			return
		}
		if path := strings.TrimPrefix(cmd.CommandPath(), "crmctl "); !slices.Contains(ran, path) &&
			!slices.Contains(notShadowed(), path) {
			t.Errorf("nobody has tried %q", path)
		}
	})
}
