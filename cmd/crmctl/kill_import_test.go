package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// manyLeads writes a file of n rows, some without an address, some bad.
func manyLeads(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("Name,Email,Phone\n")
	for i := range n {
		switch {
		case i%50 == 7:
			fmt.Fprintf(&b, "Bad %d,nowhere,\n", i)
		case i%20 == 3:
			fmt.Fprintf(&b, "Nameless %d,,+49301%05d\n", i, i)
		default:
			fmt.Fprintf(&b, "Lead %d,lead%d@example.com,\n", i, i)
		}
	}
	path := filepath.Join(t.TempDir(), "leads.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const contactsDigest = `select md5(string_agg(concat(email, '|', name, '|', phone), chr(10) order by email, name))
	from tenant_%s.contacts`

// kill -9 at any moment of an import in batches, also behind a pooler: the same command
// goes on, no row is there twice, the sums and the rejected rows are those of all runs,
// and all of it can be taken back.
func TestKilledBatchesGoOn(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if out, code := outcome(t, f, "tenant", "create", "whole", "acme"); code != cli.ExitOK {
		t.Fatal(out)
	}
	file := manyLeads(t, 6000)
	whole, rejects := file+".whole", file+".killed"
	if out, code := outcome(t, f, "contacts", "import", "--tenant", "whole", file, "--rejects",
		whole); code != cli.ExitPartial {
		t.Fatal(out)
	}
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	args := []string{"contacts", "import", "--tenant", "acme", file, "--batch", "100", "--rejects", rejects}
	killed := 0
	for i := range 10 {
		if killAfter(t, program(t, pooled, args...), time.Duration(150+60*i)*time.Millisecond) {
			killed++
		}
	}
	done := f.Int(t, "select coalesce(sum(done), 0) from public.tenant_imports i join public.tenants t on t.id = "+
		"i.tenant_id "+
		"where t.slug = 'acme'")
	t.Logf("killed %d times, %d records were committed by then", killed, done)
	if out, code := outcome(t, pooled, args...); code != cli.ExitPartial {
		t.Fatal(out)
	}
	var want, got string
	f.Scan(t, []any{&want}, fmt.Sprintf(contactsDigest, "whole"))
	f.Scan(t, []any{&got}, fmt.Sprintf(contactsDigest, "acme"))
	if want != got {
		t.Error("the contacts are not those of an import that was never killed")
	}
	if n := f.Int(t, `select count(*) from public.tenant_imports i where state = 'done' and done = 6000
		and (counts ->> 'read')::int = 6000 and (counts ->> 'inserted')::int = (select count(*) from tenant_whole.contacts)
		and (counts ->> 'rejected')::int = 120`); n != 2 {
		t.Errorf("%d imports have true sums, want 2", n)
	}
	// A process that was killed before its first commit may have left rows under the name.
	var written string
	f.Scan(t, []any{&written}, `select reject_file from public.tenant_imports i join public.tenants t on t.id = i.tenant_id
		where t.slug = 'acme' and state = 'done'`)
	a, err := os.ReadFile(whole)
	b, err2 := os.ReadFile(written)
	if err != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("the rejected rows differ: %v, %v, %d and %d bytes", err, err2, len(a), len(b))
	}
	if out, code := outcome(t, f, "contacts", "import", "--tenant", "acme", "--undo", "2", "--yes"); code != cli.ExitOK {
		t.Errorf("undo: %s", out)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts"); n != 0 {
		t.Errorf("%d contacts are left", n)
	}
}

// Two that import the same file in batches at once: no row is there twice, whichever of
// them went on.
func TestTwoImportsInBatchesAtOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if out, code := outcome(t, f, "tenant", "create", "acme"); code != cli.ExitOK {
		t.Fatal(out)
	}
	file := manyLeads(t, 3000)
	args := []string{"contacts", "import", "--tenant", "acme", file, "--batch", "50", "--no-rejects",
		"--lock-timeout", "1m"}
	_ = killAfter(t, program(t, f, args...), 400*time.Millisecond) // both find one that has stopped
	first, second := program(t, f, args...), program(t, f, args...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	_ = second.Wait()
	codes := []int{first.ProcessState.ExitCode(), second.ProcessState.ExitCode()}
	t.Logf("exit codes %v", codes)
	if out, code := outcome(t, f, args...); code != cli.ExitPartial {
		t.Fatal(out)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts"); n != 2940 {
		t.Errorf("%d contacts, want 2940", n)
	}
	if n := f.Int(t, `select count(*) from public.tenant_imports
		where (counts ->> 'read')::bigint <> (counts ->> 'inserted')::bigint
		+ (counts ->> 'updated')::bigint + (counts ->> 'unchanged')::bigint + (counts ->> 'repeated')::bigint
		+ (counts ->> 'rejected')::bigint or (state = 'done') <> (done = 3000)`); n != 0 {
		t.Errorf("the sums of %d imports are not true", n)
	}
}
