package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// kill -9 in the middle of an erasure, in the first tenant, between and in the last: what was not
// committed is still there, the same command erases the rest, and each tenant has one row of
// the audit, which does not name the person.
func TestKilledErasureGoesOn(t *testing.T) {
	t.Parallel()
	slugs := fleettest.Names(6)
	for _, at := range []int64{0, 3, 5} {
		f := fleettest.New(t)
		for _, tenant := range f.Create(t, fleettest.TenantPlan(t, 0), slugs...) {
			schema := tenant.Schema.Quoted()
			f.Exec(t, "insert into "+schema+".contacts (email) values ('ann@example.com'), ('bob@example.com')",
				"insert into "+schema+".conversations (contact_id, channel) select id, 'email' from "+schema+".contacts")
		}
		key := "CRMCTL_ERASURE_KEY_FILE=" + filepath.Join(t.TempDir(), "erasure.key")
		args := []string{"contacts", "person", "ann@example.com", "--all-tenants", "--erase", "--yes", "--concurrency", "1"}
		anns := func() (n int64) {
			for _, slug := range slugs {
				n += f.Int(t, "select count(*) from tenant_"+slug+".contacts where email like 'ann%'")
			}
			return n
		}
		audited := func() (rows, tenants, named int64) {
			f.Scan(t, []any{&rows, &tenants, &named}, `select count(*), count(distinct tenant_id),
				count(*) filter (where to_jsonb(e)::text ~ 'ann|example') from public.tenant_events e where action = 'erase'`)
			return rows, tenants, named
		}
		// It is stopped where it removes the contact, the last of its statements but for the audit.
		holder := f.Connect(t)
		if _, err := holder.Exec(t.Context(), "begin; select from tenant_"+slugs[at]+
			".contacts where email like 'ann%' for update"); err != nil {
			t.Fatal(err)
		}
		cmd := program(t, f, append(args, "--lock-timeout", "60s")...)
		cmd.Env = append(cmd.Env, key)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); f.Int(t, `select count(*) from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock' and query ~ '^do '`) == 0; {
			if time.Now().After(end) {
				var doing string
				f.Scan(t, []any{&doing}, `select string_agg(concat_ws(' ', state, wait_event_type, left(query, 80)), chr(10))
					from pg_stat_activity where datname = current_database()`)
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				t.Fatalf("it does not come to the tenant that is held: %s\n%s", said.String(), doing)
			}
			time.Sleep(5 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := holder.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle(t, f)
		// A session whose client is gone ends its statement, and commits nothing.
		if rows, tenants, _ := audited(); rows != at || tenants != at || anns() != int64(len(slugs))-at {
			t.Errorf("killed in tenant %d: %d rows of the audit, %d contacts", at, rows, anns())
		}
		again := program(t, f, args...)
		again.Env = append(again.Env, key)
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		rows, tenants, named := audited()
		if rows != 6 || tenants != 6 || named != 0 || anns() != 0 {
			t.Errorf("killed in tenant %d, then: %d rows about %d tenants, %d with the name; %d contacts", at, rows, tenants,
				named, anns())
		}
		if n := f.Int(t, "select count(*) from public.tenant_erasures"); n != 1 {
			t.Errorf("%d erasures", n)
		}
		if out, code := outcome(t, f, "doctor"); code != cli.ExitOK {
			t.Errorf("doctor: exit %d\n%s", code, out)
		}
	}
}
