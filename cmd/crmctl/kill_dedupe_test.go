package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// twins is a tenant acme in which each of n persons is there twice, with a conversation each.
func twins(t *testing.T, n int) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, fmt.Sprintf(`insert into tenant_acme.contacts (email, name, metadata)
			select 'p' || g || x || '@example.com', 'P' || g, jsonb_build_object('n', g)
			from generate_series(1, %d) g, (values (''), ('+x')) v(x)`, n),
		"insert into tenant_acme.conversations (contact_id, channel) select id, 'email' from tenant_acme.contacts")
	return f
}

// dump is all that the tenant's contacts and conversations are.
func dump(t *testing.T, f *fleettest.Fleet) (digest string) {
	t.Helper()
	f.Scan(t, []any{&digest}, `select md5(string_agg(x, chr(10) order by x)) from (
		select to_jsonb(c)::text as x from tenant_acme.contacts c
		union all select to_jsonb(v)::text from tenant_acme.conversations v) y`)
	return digest
}

// killedAtConversations starts a command, which waits where it moves conversations, kills it
// there, and lets go.
func killedAtConversations(t *testing.T, f *fleettest.Fleet, args ...string) {
	t.Helper()
	holder := f.Connect(t)
	if _, err := holder.Exec(t.Context(), "begin; select from tenant_acme.conversations for update"); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, f, append(args, "--yes")...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(cmd.Env, "CRMCTL_LOCK_TIMEOUT=60s")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := false
	for end := time.Now().Add(40 * time.Second); !reached && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		reached = f.Int(t, `select count(*) from pg_stat_activity where datname = current_database()
			and wait_event_type = 'Lock' and query ~ 'conversations'`) > 0
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := holder.Close(t.Context()); err != nil || !reached {
		t.Fatalf("%v does not come to the conversations: %v\n%s", args, err, said.String())
	}
	settle(t, f)
}

// kill -9 in the middle of a merge, and of taking it back, changes nothing; then both are as if
// they had never been killed.
func TestKilledMerge(t *testing.T) {
	t.Parallel()
	f := twins(t, 300)
	before := dump(t, f)
	merge := []string{"contacts", "dedupe", "--tenant", "acme", "--merge"}
	killedAtConversations(t, f, merge...)
	if dump(t, f) != before || f.Int(t, "select count(*) from public.tenant_imports") != 0 {
		t.Fatal("a merge that was killed has left something")
	}
	if out, code := outcome(t, f, append(merge, "--yes")...); code != cli.ExitOK {
		t.Fatal(out)
	}
	merged := dump(t, f)
	if n := f.Int(t, `select count(*) from tenant_acme.contacts c where 2 =
		(select count(*) from tenant_acme.conversations v where v.contact_id = c.id)`); n != 300 {
		t.Fatalf("%d of 300 contacts have both conversations", n)
	}
	undo := []string{"contacts", "dedupe", "--tenant", "acme", "--undo", "1"}
	killedAtConversations(t, f, undo...)
	if dump(t, f) != merged {
		t.Fatal("an undo that was killed has left something")
	}
	if out, code := outcome(t, f, append(undo, "--yes")...); code != cli.ExitOK {
		t.Fatal(out)
	}
	if dump(t, f) != before {
		t.Error("the tenant is not as it was before the merge")
	}
}

// Of two merges at once one merges and the other finds nothing left, and so with taking back.
func TestMergedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	f := twins(t, 300)
	before := dump(t, f)
	both := func(args ...string) (out [2]string) {
		var group sync.WaitGroup
		for i := range out {
			group.Go(func() {
				text, err := program(t, f, args...).CombinedOutput()
				out[i] = fmt.Sprint(string(text), err)
			})
		}
		group.Wait()
		return out
	}
	out := both("contacts", "dedupe", "--tenant", "acme", "--merge", "--yes")
	if a, b := strings.Count(out[0]+out[1], "groups\t300\n"), strings.Count(out[0]+out[1], "groups\t0\n"); a != 1 || b != 1 {
		t.Errorf("%s\n--\n%s", out[0], out[1])
	}
	id := f.Int(t, "select id from public.tenant_imports where (counts ->> 'removed')::int = 300")
	out = both("contacts", "dedupe", "--tenant", "acme", "--undo", fmt.Sprint(id), "--yes")
	if n := strings.Count(out[0]+out[1], "restored\t300\n"); n != 1 {
		t.Errorf("%s\n--\n%s", out[0], out[1])
	}
	if dump(t, f) != before {
		t.Error("the tenant is not as it was before the merge")
	}
}
