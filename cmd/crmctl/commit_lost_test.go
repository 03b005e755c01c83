package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// Where the connection is cut in the commit of what a command changes, the command says
// what became of it: done, where the server has it, and otherwise that nothing changed.
func TestCommitsThatAreCut(t *testing.T) {
	t.Parallel()
	leads := filepath.Join(t.TempDir(), "leads.csv")
	if err := os.WriteFile(leads, []byte("email,name\nx@example.com,X\ny@example.com,Y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		// done is true of the registry where the command has done its work.
		done string
		// retried tells that the command tries again by itself what was rolled back.
		retried bool
	}{
		"suspend": {"tenant suspend acme",
			`(select status from public.tenants where slug = 'acme') = 'suspended'`, false},
		"activate": {"tenant activate shut",
			`(select status from public.tenants where slug = 'shut') = 'active'`, false},
		"rename": {"tenant rename acme other --schema",
			`to_regnamespace('tenant_other') is not null and exists (select from public.tenants where slug = 'other')`, false},
		"set": {"tenant set acme seats=5",
			`(select settings->>'seats' from public.tenants where slug = 'acme') = '5'`, false},
		"delete": {"tenant delete acme --confirm acme",
			`(select status from public.tenants where slug = 'acme') = 'deleted'`, false},
		"undelete": {"tenant undelete gone",
			`(select status from public.tenants where slug = 'gone') = 'active'`, false},
		"purge": {"tenant purge gone --confirm gone --no-backup --yes",
			`not exists (select from public.tenants where slug = 'gone') and to_regnamespace('tenant_gone') is null`, true},
		"purge that was committed": {"tenant purge gone --confirm gone --no-backup --yes",
			`not exists (select from public.tenants where slug = 'gone') and to_regnamespace('tenant_gone') is null`, false},
		"import": {"contacts import --tenant acme " + leads,
			`(select count(*) from tenant_acme.contacts) = 2`, false},
		"seed": {"seed --tenant acme --contacts 7",
			`(select count(*) from tenant_acme.contacts) = 7`, false},
		"clone": {"tenant clone acme twin",
			`to_regnamespace('tenant_twin') is not null and exists (select from public.tenants where slug = 'twin')`, false},
		"restore": {"backup restore BACKUP --as back",
			`to_regnamespace('tenant_back') is not null and exists (select from public.tenants where slug = 'back')`, false},
		"create": {"tenant create fresh",
			`to_regnamespace('tenant_fresh') is not null and exists (select from public.tenants where slug = 'fresh')`, true},
		"create that was committed": {"tenant create fresh",
			`to_regnamespace('tenant_fresh') is not null and exists (select from public.tenants where slug = 'fresh')`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := fleettest.New(t)
			for _, args := range []string{
				"tenant create acme shut gone", "tenant suspend shut", "tenant delete gone --confirm gone --retention 0s",
				"backup create acme --dir " + dir,
			} {
				if out, code := outcome(t, f, strings.Fields(args)...); code != cli.ExitOK {
					t.Fatalf("%s: %s", args, out)
				}
			}
			backups, err := filepath.Glob(filepath.Join(dir, "*.crmctl"))
			if err != nil || len(backups) != 1 {
				t.Fatalf("%v: %v", backups, err)
			}
			proxy := pgtest.NewProxy(t, f.DSN, 0)
			through := &fleettest.Fleet{DSN: proxy.DSN}
			args := strings.Fields(strings.ReplaceAll(c.args, "BACKUP", backups[0]))
			isDone := func() (done bool) {
				f.Scan(t, []any{&done}, "select coalesce("+c.done+", false)")
				return done
			}
			if isDone() {
				t.Fatal("it is done before")
			}
			if strings.HasSuffix(name, "that was committed") {
				proxy.CutAfter("\x0bcommit\x00", 1)
				out, code := outcome(t, through, args...)
				if proxy.Cuts() != 0 || code != cli.ExitOK || !isDone() {
					t.Errorf("exit code %d, done %t, %d cuts left\n%s", code, isDone(), proxy.Cuts(), out)
				}
				return
			}
			proxy.CutBefore("\x0bcommit\x00", 1)
			out, code := outcome(t, through, args...)
			switch {
			case proxy.Cuts() != 0:
				t.Fatalf("nothing was cut\n%s", out)
			case c.retried:
				if code != cli.ExitOK || !isDone() {
					t.Errorf("rolled back: exit code %d, done %t, want another try\n%s", code, isDone(), out)
				}
				return
			case code == cli.ExitOK, isDone(), !strings.Contains(out, "nothing was changed"):
				t.Errorf("rolled back: exit code %d, done %t\n%s", code, isDone(), out)
			}
			proxy.CutAfter("\x0bcommit\x00", 1)
			out, code = outcome(t, through, args...)
			if proxy.Cuts() != 0 || code != cli.ExitOK || !isDone() || strings.Contains(out, "lost") {
				t.Errorf("committed: exit code %d, done %t, %d cuts left\n%s", code, isDone(), proxy.Cuts(), out)
			}
		})
	}
}

// Where nobody can be asked, the command calls it unknown and names what shows it.
func TestCommitThatNobodyKnowsOf(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if out, code := outcome(t, f, "tenant", "create", "acme"); code != cli.ExitOK {
		t.Fatal(out)
	}
	proxy := pgtest.NewProxy(t, f.DSN, 0)
	proxy.CutAfter("\x0bcommit\x00", 1)
	proxy.RefuseAfterCut()
	out, code := outcome(t, &fleettest.Fleet{DSN: proxy.DSN}, "tenant", "suspend", "acme")
	if code == cli.ExitOK || !strings.Contains(out, "it may have taken place") ||
		!strings.Contains(out, "crmctl audit list --since 10m") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out, code := outcome(t, f, "audit", "list", "--since", "10m"); code != cli.ExitOK ||
		!strings.Contains(out, "suspend") {
		t.Errorf("the command that was named does not show it: %d\n%s", code, out)
	}
}
