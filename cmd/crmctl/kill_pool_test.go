package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestKilledPoolIsWhole: kill -9 at any moment of filling it
// and of taking from it leaves no schema without a row and no row without a schema,
// and the same commands go on from there.
func TestKilledPoolIsWhole(t *testing.T) {
	t.Parallel()
	const rounds = 8
	f := fleettest.New(t)
	dir := migrationDir(t, 3, 15*time.Millisecond)
	killed := 0
	for round := range rounds {
		for _, args := range [][]string{
			{"tenant", "pool", "fill", "--count", "6", "--concurrency", "2"},
			{"tenant", "create", fmt.Sprintf("t%d-%%03d", round), "--count", "8", "--concurrency", "2"},
		} {
			cmd := program(t, f, append(args, "--migrations-dir", dir)...)
			if killAfter(t, cmd, time.Duration(40+rand.IntN(250))*time.Millisecond) {
				killed++
			}
			if round%2 == 0 {
				cut(t, f)
			}
			settle(t, f)
			if n := f.Int(t, `select count(*) from (select schema_name from public.tenant_pool union all select schema_name
				from public.tenants) r
				full join (select nspname from pg_namespace where nspname ~ '^(crmctl|tenant)_') n on n.nspname = r.schema_name
				where n.nspname is null or r.schema_name is null`); n != 0 {
				t.Fatalf("%d schemas without a row, or rows without a schema", n)
			}
			if n := f.Int(t, `select count(*) from (select schema_name from public.tenant_pool union all select schema_name
				from public.tenants) r
				where (select count(*) from pg_tables where schemaname = r.schema_name) <> 7`); n != 0 {
				t.Fatalf("%d schemas are not whole", n)
			}
		}
	}
	if killed < rounds/2 {
		t.Errorf("only %d programs were killed at work: the test shows little", killed)
	}
	for _, args := range [][]string{
		{"tenant", "pool", "fill", "--count", "6"},
		{"tenant", "create", "t0-%03d", "--count", "8", "--if-not-exists"},
		{"tenant", "pool", "drain"},
	} {
		if out, err := program(t, f, append(args, "--migrations-dir", dir)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if n := f.Int(t, `select count(*) from public.tenants where slug like 't0-%'`); n != 8 {
		t.Errorf("%d tenants in the end, want 8", n)
	}
	if n := f.Int(t, `select count(*) from pg_namespace where nspname like 'crmctl\_%'`); n != 0 {
		t.Errorf("%d schemas of the pool stayed", n)
	}
}
