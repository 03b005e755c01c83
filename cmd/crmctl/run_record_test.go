package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/migrations"
)

// A run that did not do all says so as JSON, with the command that goes on, where JSON was
// asked for: on stderr, and in the answer.
func TestARunThatFailsSaysSoInJSON(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech")
	f.Exec(t, `alter table tenant_globex.contacts add column more text`)
	dir := t.TempDir()
	if err := os.CopyFS(dir, migrations.Tenant()); err != nil {
		t.Fatal(err)
	}
	more := "-- +goose Up\nalter table contacts add column more text;\n-- +goose Down\nalter table contacts drop column " +
		"more;\n"
	if err := os.WriteFile(filepath.Join(dir, "00100_more.sql"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"json", "ndjson"} {
		b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
		code := b.run("migrate", "all-tenants", "--migrations-dir", dir, "--canary", "0", "-o", format)
		if code != cli.ExitPartial {
			t.Fatalf("exit code %d\n%s", code, b.err)
		}
		lines := strings.Split(strings.TrimSpace(b.err.String()), "\n")
		var said errorRecord
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil {
			t.Fatalf("%v\n%s", err, b.err)
		}
		if said.Code != code || said.Tenant != "globex" || said.SQLState != "42701" ||
			!strings.Contains(said.Message, "1 of 3 tenants failed") {
			t.Errorf("%+v", said)
		}
		if !strings.HasPrefix(said.Next, "crmctl migrate retry ") || !strings.Contains(said.Next, "--migrations-dir "+dir) ||
			strings.Contains(b.err.String(), "\nnext:") {
			t.Errorf("next %q\n%s", said.Next, b.err)
		}
		answer := b.out.String()
		if format == "ndjson" {
			all := strings.Split(strings.TrimSpace(answer), "\n")
			answer = all[len(all)-1]
		}
		type run struct {
			Next string `json:"next"`
		}
		var report struct { // a line of ndjson is the run itself
			run
			Run json.RawMessage `json:"run"`
		}
		if err := json.Unmarshal([]byte(answer), &report); err != nil {
			t.Fatal(err)
		}
		if format == "json" {
			if err := json.Unmarshal(report.Run, &report.run); err != nil {
				t.Fatal(err)
			}
		}
		if report.Next != said.Next {
			t.Errorf("%s: the answer says %q, stderr %q", format, report.Next, said.Next)
		}
	}
}
