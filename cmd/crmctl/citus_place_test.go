package main

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestPlacesOnACluster: tenants are made where they are wanted, go to the nodes all at once but
// for those that cannot, and are moved until the nodes have equal shares.
func TestPlacesOnACluster(t *testing.T) {
	t.Parallel()
	f := fleettest.OnCitus(t)
	var first, second string
	f.Scan(t, []any{&first, &second}, `select min(a), max(a) from (
		select nodename || ':' || nodeport as a from pg_dist_node where groupid <> 0) n`)
	standing := func(where string) (n int64) {
		f.Scan(t, []any{&n}, `select count(distinct s.schema_name) from citus_shards c join pg_dist_schema d on
			d.colocationid = c.colocation_id join citus_schemas s on s.colocation_id = d.colocationid
			where c.nodename || ':' || c.nodeport = $1`, where)
		return n
	}
	ran := func(want int, contains string, args ...string) {
		t.Helper()
		out, code := outcome(t, f, args...)
		if code != want || !strings.Contains(out, contains) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s", args, code, want, contains, out)
		}
	}
	ran(cli.ExitFailure, "no node nowhere:1 takes tenants", "tenant", "create", "a1", "--node", "nowhere:1")
	ran(cli.ExitOK, "created", "tenant", "create", "a1", "a2", "a3", "a4", "--node", second)
	if n := standing(second); n != 4 {
		t.Errorf("%d of 4 tenants stand on %s", n, second)
	}
	// What was cut short goes on.
	ran(cli.ExitOK, "exists", "tenant", "create", "a1", "b1", "--node", first, "--if-not-exists")
	if a, b := standing(first), standing(second); a != 2 || b != 3 {
		t.Errorf("%d and %d tenants stand on the nodes, want 2 and 3", a, b)
	}

	for _, name := range []string{"a1", "a2", "b1"} {
		f.Exec(t, "insert into tenant_"+name+".contacts (name) select 'x' from generate_series(1, 50)")
		ran(cli.ExitOK, "local", "tenant", "undistribute", name)
	}
	f.Exec(t, "create function tenant_a2.touch() returns trigger language plpgsql as 'begin return new; end'",
		"create trigger touch before insert on tenant_a2.contacts for each row execute function tenant_a2.touch()")
	const obstacle = "schema tenant_a2 cannot go to a node: trigger touch on contacts"
	ran(cli.ExitPartial, obstacle, "tenant", "distribute", "--all", "--dry-run")
	if n := standing(first) + standing(second); n != 2 {
		t.Errorf("a dry run has moved tenants: %d stand on nodes", n)
	}
	ran(cli.ExitPartial, obstacle, "tenant", "distribute", "--all")
	ran(cli.ExitFailure, obstacle, "tenant", "distribute", "a2")
	f.Exec(t, "drop trigger touch on tenant_a2.contacts")
	ran(cli.ExitOK, "distributed", "tenant", "distribute", "--all")
	var rows, kept int64
	f.Scan(t, []any{&rows, &kept}, `select (select count(*) from tenant_a1.contacts) + (select count(*) from
		tenant_b1.contacts), pg_relation_size('tenant_a1.contacts') + pg_relation_size('tenant_b1.contacts')`)
	if rows != 100 || kept != 0 {
		t.Errorf("%d rows of 100, and %d bytes are left on the coordinator", rows, kept)
	}

	for _, name := range []string{"a1", "a2", "a3", "a4", "b1"} {
		ran(cli.ExitOK, name, "tenant", "move", name, "--to", first)
	}
	ran(cli.ExitOK, "would be moved", "cluster", "rebalance", "--dry-run")
	if n := standing(second); n != 0 {
		t.Errorf("a dry run has moved %d tenants", n)
	}
	ran(cli.ExitOK, "moved", "cluster", "rebalance", "--watch")
	if a, b := standing(first), standing(second); a+b != 5 || a < 2 || b < 2 {
		t.Errorf("%d and %d tenants stand on the nodes", a, b)
	}
	ran(cli.ExitOK, "equal shares", "cluster", "rebalance")
}
