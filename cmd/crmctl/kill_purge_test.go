package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestKilledPurgeIsTakenUp: kill -9 at any stage of a purge leaves a
// tenant that is there, or one of which the registry says that it is being purged;
// the next purge ends it.
func TestKilledPurgeIsTakenUp(t *testing.T) {
	t.Parallel()
	const tables, kills = 2500, 4
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 1), "acme", "globex")
	f.Exec(t, fmt.Sprintf("do $$ begin for i in 1..%d loop execute format('create table tenant_acme.big%%s (id int "+
		"primary key)', i); end loop; end $$", tables),
		`update public.tenants set status = 'deleted', deleted_at = now() - interval '1 day',
			purge_after = now() - interval '1 hour' where slug = 'acme'`)
	left := func() int64 { return f.Int(t, "select count(*) from pg_tables where schemaname = 'tenant_acme'") }
	begun := left()
	halves := 0
	for i := range kills {
		before := left()
		cmd := program(t, f, "tenant", "purge", "--no-backup", "--yes")
		if i%2 == 0 { // somewhere before the first tables are gone
			_ = killAfter(t, cmd, time.Duration(100+100*i)*time.Millisecond)
		} else { // when a batch is gone and the next is under way
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); left() == before && time.Now().Before(deadline); {
				time.Sleep(2 * time.Millisecond)
			}
			_ = cmd.Process.Kill() // it may have ended already
			_ = cmd.Wait()
		}
		cut(t, f)
		settle(t, f)
		if f.Int(t, "select count(*) from public.tenants where slug = 'acme'") == 0 {
			break
		}
		n := left()
		purging := f.Int(t, "select count(*) from public.tenants where slug = 'acme' and purge_started_at is not null")
		if (n < begun) != (purging == 1) {
			t.Errorf("%d of %d tables left, purging: %d", n, begun, purging)
		}
		if n < begun {
			halves++
			out, err := program(t, f, "tenant", "list", "--tenant", "acme").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "purging") {
				t.Errorf("list: %v\n%s", err, out)
			}
		}
	}
	if halves == 0 {
		t.Error("no purge was killed half way: the test shows nothing")
	}
	if out, err := program(t, f, "tenant", "purge", "--no-backup", "--yes").CombinedOutput(); err != nil {
		t.Errorf("the next purge: %v\n%s", err, out)
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname = 'tenant_acme'") +
		f.Int(t, "select count(*) from public.tenants where slug = 'acme'"); n != 0 {
		t.Errorf("%d things stayed", n)
	}
	if n := f.Int(t, "select count(*) from public.tenant_events where slug = 'acme' and action = 'purge'"); n != 1 {
		t.Errorf("%d tombstones", n)
	}
	if n := f.Int(t, "select count(*) from pg_tables where schemaname = 'tenant_globex' and tablename = "+
		"'contacts'"); n != 1 {
		t.Error("another tenant was hurt")
	}
}
