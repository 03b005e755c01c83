package backup_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// A backup that was taken on PostgreSQL 14 gives the same rows on every major since.
// The file is made anew by this test on a server of that version (CRMCTL_PG_BIN)
// when CRMCTL_TEST_UPDATE is set.
func TestRestoreFromPostgreSQL14(t *testing.T) {
	t.Parallel()
	stored := filepath.Join("testdata", "postgresql14.crmctl")
	hashed := filepath.Join("testdata", "postgresql14.json")
	f := fleettest.New(t)
	plan := fleettest.Plan(t, everything())
	var version int64
	f.Scan(t, []any{&version}, "select current_setting('server_version_num')::int / 10000")
	if os.Getenv("CRMCTL_TEST_UPDATE") != "" && version == 14 {
		src := f.Create(t, plan, "acme")[0]
		for _, sql := range rows {
			in(t, f, src.Schema, strings.Replace(sql, "generate_series(1, 3000)", "generate_series(1, 30)", 1))
		}
		file, _ := write(t, f, source(src))
		text, err := json.MarshalIndent(hashes(t, f, src.Schema), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{stored: file, hashed: append(text, '\n')} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	file, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(hashed)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	made, err := backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file),
		backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"})
	if err != nil {
		t.Fatal(err)
	}
	if made.Manifest.Server.Number/10000 != 14 {
		t.Errorf("the file comes from %d", made.Manifest.Server.Number)
	}
	schema, err := db.RegisteredSchema(made.Tenant.Schema)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, want, hashes(t, f, schema))
}
