package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestHostilePublicAndTheCommands: functions and
// operators in public, which every session of the database sees first, are never
// called, and none of the commands fails for them.
func TestHostilePublicAndTheCommands(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	// A sequence counts in a transaction that is read only or rolled back, too. Each
	// trap has its own, called after it.
	plant := func(name, statement string) {
		sequence := pgx.Identifier{"public", "trap: " + name}.Sanitize()
		f.Exec(t, "create sequence "+sequence+" minvalue 0 start 0",
			strings.ReplaceAll(statement, "TRAP", "$$ begin perform pg_catalog.nextval('"+sequence+"'); return null; end $$"))
	}
	for _, function := range []string{
		"now()", "clock_timestamp()", "set_config(text, text, boolean)", "current_setting(text)",
		"current_setting(text, boolean)",
		"pg_try_advisory_xact_lock(bigint)", "pg_advisory_xact_lock(bigint)", "current_database()", "current_schema()",
		"pg_relation_size(oid)", "pg_total_relation_size(oid)", "pg_total_relation_size(regclass)", "pg_table_size(regclass)",
		"pg_indexes_size(regclass)",
		"lower(text)", "left(text, int)", "starts_with(text, text)", "concat(text, text)", "format(text, text)",
		"quote_ident(text)", "md5(text)",
		"jsonb_build_object(text, text)", "to_jsonb(text)", "gen_random_uuid()", "array_length(text[], int)",
		"cardinality(text[])", "unnest(text[])",
		"pg_get_functiondef(oid)", "pg_get_indexdef(oid)", "pg_get_constraintdef(oid)", "pg_get_expr(pg_node_tree, oid)",
		"format_type(oid, int)",
		"obj_description(oid, text)", "col_description(oid, int)", "pg_get_userbyid(oid)", "has_schema_privilege(text, text)",
		"pg_backend_pid()", "pg_current_wal_lsn()",
	} {
		plant(function, "create function public."+function+" returns text language plpgsql as TRAP")
	}
	for i, operator := range []string{"=", "<>", "<", ">", "~~", "||"} {
		for j, types := range []string{"text, text", "name, text", "text, name", "bigint, int"} {
			left, right, _ := strings.Cut(types, ", ")
			function := fmt.Sprintf("public.same_%d_%d", i, j)
			plant(left+" "+operator+" "+right, "create function "+function+"("+types+
				") returns boolean language plpgsql as TRAP")
			f.Exec(t, "create operator public."+operator+" (leftarg = "+left+", rightarg = "+right+", function = "+function+")")
		}
	}
	f.Exec(t, `do $$ begin execute pg_catalog.format('alter database %I set search_path = public, pg_catalog', pg_catalog.current_database()); end $$`)
	caught := func() string {
		var names string
		f.Scan(t, []any{&names}, `select coalesce(pg_catalog.string_agg(pg_catalog.format('%s (%s)', sequencename,
			last_value), ', '), '')
			from pg_catalog.pg_sequences where schemaname operator(pg_catalog.=) 'public'
				and sequencename operator(pg_catalog.~~) 'trap: %' and last_value is not null`)
		f.Exec(t, `do $$ declare r record; begin
			for r in select c.oid from pg_catalog.pg_class c where c.relname operator(pg_catalog.~~) 'trap: %' loop
				perform pg_catalog.setval(r.oid::pg_catalog.regclass, 0, false);
			end loop; end $$`)
		return names
	}
	f.Exec(t, "select now()", "select 'a'::text = 'b'::text")
	if got := caught(); !strings.Contains(got, "trap: now()") || !strings.Contains(got, "trap: text = text") {
		t.Fatalf("the trap does not catch what is called: %q", got)
	}
	leads := filepath.Join(t.TempDir(), "leads.csv")
	if err := os.WriteFile(leads, []byte("Name,E-mail\nAda,ada@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"migrate", "public"},
		{"tenant", "create", "acme", "globex", "--to", "3"},
		{"migrate", "status", "--verify"},
		{"migrate", "all-tenants"},
		{"contacts", "import", "--tenant", "acme", leads},
		{"contacts", "import", "--tenant", "acme", leads},
		{"seed", "--tenant", "globex"},
		{"contacts", "export", "--all-tenants", "--search", "a", "--since", "7d", "--metadata", "a=b"},
		{"conversations", "export", "--tenant", "globex", "--status", "open,closed", "--contact", "ada@example.com"},
		{"messages", "export", "--tenant", "globex", "--search", "a", "--contact", "ada@example.com", "--format", "xlsx"},
		{"tenant", "list"},
		{"tenant", "show", "acme"},
		{"tenant", "suspend", "acme"},
		{"tenant", "activate", "acme"},
		{"tenant", "set", "acme", "seats=5"},
		{"tenant", "rename", "acme", "acme-corp", "--schema"},
		{"tenant", "exec", "--all", "-c", "select 1 as one"},
		{"tenant", "exec", "acme-corp", "--write", "--yes", "-c", "insert into contacts (name) values ('x')"},
		{"stats", "sizes"},
		{"tenant", "delete", "acme-corp", "--confirm", "acme-corp", "--retention", "0s"},
		{"tenant", "undelete", "acme-corp"},
		{"tenant", "delete", "acme-corp", "--confirm", "acme-corp", "--retention", "0s"},
		{"tenant", "purge", "--dry-run", "--warn", "7d", "--max-percent", "60"},
		{"tenant", "purge", "--backup-dir", filepath.Join(dir, "purged"), "--yes"},
		{"tenant", "history", "acme"},
		{"audit", "list", "--since", "24h"},
	} {
		if out, code := outcome(t, f, args...); code != cli.ExitOK {
			t.Errorf("%s: exit code %d\n%s", args, code, out)
		}
		if names := caught(); names != "" {
			t.Errorf("%s calls what was planted in public: %s", args, names)
		}
	}
}
