package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
// goes on, no row is there twice, the sums, the rejected rows and the others are those of
// all runs, and all of it can be taken back, also in a restored tenant and after kill -9.
func TestKilledBatchesGoOn(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if out, code := outcome(t, f, "tenant", "create", "whole", "acme"); code != cli.ExitOK {
		t.Fatal(out)
	}
	file := manyLeads(t, 6000)
	whole, rejects := file+".whole", file+".killed"
	begun := time.Now()
	if out, code := outcome(t, f, "contacts", "import", "--tenant", "whole", file, "--rejects", whole, "--accepted",
		whole+".accepted"); code != cli.ExitPartial {
		t.Fatal(out)
	}
	took := time.Since(begun) // a machine may be busy
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	args := []string{"contacts", "import", "--tenant", "acme", file, "--batch", "100", "--rejects", rejects,
		"--accepted", rejects + ".accepted"}
	killed := 0
	finished := func() bool {
		return f.Int(t, "select count(*) from public.tenant_imports where state = 'done'") == 2
	}
	for i := 0; i < 10 && !finished(); i++ {
		if killAfter(t, program(t, pooled, args...), took*time.Duration(3+i)/6) {
			killed++
		}
	}
	done := f.Int(t, "select coalesce(sum(done), 0) from public.tenant_imports i join public.tenants t on t.id = "+
		"i.tenant_id "+
		"where t.slug = 'acme'")
	t.Logf("killed %d times, %d records were committed by then", killed, done)
	if !finished() {
		if out, code := outcome(t, pooled, args...); code != cli.ExitPartial {
			t.Fatal(out)
		}
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
	f.Scan(t, []any{&written}, `select counts ->> 'accept_file' from public.tenant_imports i
		join public.tenants t on t.id = i.tenant_id where t.slug = 'acme' and state = 'done'`)
	if a, b := acceptedLines(t, whole+".accepted"), acceptedLines(t, written); !slices.Equal(a, b) || len(a) != 5881 {
		t.Errorf("the accepted rows differ: %d and %d lines", len(a), len(b))
	}
	backups := t.TempDir()
	for _, args := range [][]string{{"backup", "create", "acme", "--dir", backups},
		{"backup", "restore", backups, "--tenant", "acme", "--as", "again"}} {
		if out, code := outcome(t, f, args...); code != cli.ExitOK {
			t.Fatal(out)
		}
	}
	killedUndo(t, pooled, f, "acme")
	killedUndo(t, pooled, f, "again")
}

// acceptedLines returns the rows of a file of accepted ones, without the contacts' ids, in one order.
func acceptedLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(contactID.ReplaceAllString(string(text), "ID"), "\r\n"), "\n")
	slices.Sort(lines)
	return lines
}

var contactID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

// killedUndo takes an import back that has made all contacts: one that is killed takes back
// all or nothing.
func killedUndo(t *testing.T, pooled, f *fleettest.Fleet, slug string) {
	t.Helper()
	id := f.Int(t, "select max(i.id) from public.tenant_imports i join public.tenants t on t.id = i.tenant_id "+
		"where t.slug = $1", slug)
	args := []string{"contacts", "import", "--tenant", slug, "--undo", strconv.FormatInt(id, 10), "--yes"}
	begun := time.Now()
	if out, code := outcome(t, pooled, append(args, "--dry-run")...); code != cli.ExitOK {
		t.Fatal(out)
	}
	took := time.Since(begun)
	for i := range 6 {
		killed := killAfter(t, program(t, pooled, args...), took*time.Duration(4+i)/5)
		var left, undone int64
		f.Scan(t, []any{&left, &undone}, fmt.Sprintf(`select (select count(*) from tenant_%s.contacts),
			(select count(*) from public.tenant_imports where id = %d and state = 'undone')`, slug, id))
		t.Logf("killed: %v, %d contacts are left", killed, left)
		if (left == 0) != (undone == 1) || left != 0 && left != 5880 {
			t.Errorf("%d contacts are left, undone: %d", left, undone)
		}
	}
	if out, code := outcome(t, pooled, args...); code != cli.ExitOK {
		t.Errorf("undo: %s", out)
	}
	if n := f.Int(t, "select count(*) from tenant_"+slug+".contacts"); n != 0 {
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
