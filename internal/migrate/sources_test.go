package migrate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/crmctl/crmctl/internal/migrate"
)

const anyMigration = "-- +goose Up\nselect 1;\n"

func TestCompileOrdersByNumber(t *testing.T) {
	t.Parallel()
	plan, err := compile(t, map[string]string{
		"10_j.sql": anyMigration, "9_i.sql": anyMigration, "1_a.sql": anyMigration, "20240101000001_k.sql": anyMigration,
		"0002_b.sql": anyMigration, "9223372036854775807_z.sql": anyMigration,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, m := range plan.Migrations {
		got = append(got, m.Version)
	}
	if diff := cmp.Diff([]int64{1, 2, 9, 10, 20240101000001, 9223372036854775807}, got); diff != "" {
		t.Error(diff)
	}
	if got := len(plan.After(9)); got != 3 {
		t.Errorf("%d after version 9, want 3", got)
	}
	to, err := plan.To(9223372036854775807)
	if err != nil || len(to.Migrations) != 6 {
		t.Errorf("to the newest: %+v, %v", to, err)
	}
}

func TestCompileNamesOtherFiles(t *testing.T) {
	t.Parallel()
	plan, err := compile(t, map[string]string{
		"00001_a.sql": anyMigration, "README.md": "", "embed.go": "package x", "00002_b_test.go": "package x",
		"old/00000-x.sql": "", ".keep": "",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".keep", "00002_b_test.go", "README.md", "embed.go", "old"}
	if diff := cmp.Diff(want, plan.Others); diff != "" {
		t.Error(diff)
	}
}

func TestCompileRefusesWhatItWouldPassBy(t *testing.T) {
	t.Parallel()
	for name, also := range map[string]string{
		"00001-init.sql":                 "",
		"init.sql":                       "",
		"v1_init.sql":                    "",
		"00000_zero.sql":                 "",
		"-5_negative.sql":                "",
		"9223372036854775808_beyond.sql": "",
		"00002_upper.SQL":                "",
		"00002_in_go.go":                 "",
		"._00001_a.sql":                  "",
		"2_twice.sql":                    "00002_once.sql",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"00001_a.sql": anyMigration, name: anyMigration}
			if also != "" {
				files[also] = anyMigration
			}
			_, err := compile(t, files)
			var refused *migrate.FilesError
			if !errors.As(err, &refused) || len(refused.Files) != 1 || refused.Files[0].File != name {
				t.Errorf("error %v, want a *FilesError about %s alone", err, name)
			}
		})
	}
}

func TestCompileRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "00001_a.sql"), []byte(anyMigration), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "00002_directory.sql"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "00003_link.sql")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	_, err := migrate.Compile(t.Context(), os.DirFS(dir))
	var refused *migrate.FilesError
	if !errors.As(err, &refused) || len(refused.Files) != 2 {
		t.Errorf("error %v, want a *FilesError about the directory and the link", err)
	}
}

// TestManyFiles: an error about a whole directory stays readable, and tells a directory of
// pairs from one of goose.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{}
	for i := range 40 {
		for _, half := range []string{"up", "down"} {
			fsys[fmt.Sprintf("%03d_step.%s.sql", i+1, half)] = &fstest.MapFile{Data: []byte("select 1;")}
		}
	}
	_, err := migrate.Compile(t.Context(), fsys)
	files, is := errors.AsType[*migrate.FilesError](err)
	if !is || len(files.Files) != 40 {
		t.Fatalf("%v, want 40 files", err)
	}
	text := files.Error()
	if !strings.Contains(text, `"001_step.up.sql" has version 1, as "001_step.down.sql" has`) ||
		!strings.Contains(text, "; and 35 more; pairs of .up.sql and .down.sql are another tool's") || len(text) > 600 {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	files.Files = append(files.Files[:1], migrate.FileProblem{File: "2_x.go", Reason: "is Go"})
	if text := files.Error(); strings.Contains(text, "pairs") || strings.Contains(text, "more") {
		t.Error(text)
	}
}
