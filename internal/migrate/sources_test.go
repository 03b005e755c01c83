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
		!strings.Contains(text, "; and 35 more; these are files for golang-migrate: goose wants one file") ||
		len(text) > 600 {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	files.Files = append(files.Files[:1], migrate.FileProblem{File: "2_x.go", Reason: "is Go"})
	if text := files.Error(); strings.Contains(text, "golang-migrate") || strings.Contains(text, "more") {
		t.Error(text)
	}
}

// TestOtherTools: a directory of another tool's is named as what it is, with what makes
// goose's of it.
func TestOtherTools(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"dbmate", map[string]string{"20240101000000_a.sql": "-- migrate:up\ncreate table a ();\n\n-- migrate:down\ndrop " +
			"table a;\n"}, `"20240101000000_a.sql" is a file for dbmate: goose wants -- +goose Up in place of -- migrate:up`},
		{"tern", map[string]string{"001_a.sql": "create table a ();\n---- create above / drop below ----\ndrop table a;\n"},
			`"001_a.sql" is a file for tern: goose wants -- +goose Up as the first line`},
		{"half a pair", map[string]string{"1_a.up.sql": "create table a ();"},
			`"1_a.up.sql" is a file for golang-migrate: goose wants one file`},
		{"Flyway", map[string]string{"V1__a.sql": "create table a ();", "V1.2__b.sql": "", "R__views.sql": ""},
			"these are files for Flyway: goose wants VERSION_NAME.sql"},
		{"Prisma", map[string]string{"20240101_init/migration.sql": "create table a ();", "migration_lock.toml": ""},
			`"20240101_init/migration.sql" is a file for Prisma`},
		{"Rails", map[string]string{"20240101000000_create_a.rb": "class CreateA"},
			"is a file for Rails: its migrations are programs"},
		{"Django", map[string]string{"__init__.py": "", "0001_initial.py": ""},
			"is a file for Django: its migrations are programs"},
		{"knex", map[string]string{"20240101000000_a.js": ""},
			"is a file for a tool such as knex: its migrations are programs"},
		{"nobody's", map[string]string{"1_a.sql": "create table a ();"}, "migration 1_a.sql: no line -- +goose Up"},
		{"nobody's among goose's", map[string]string{"1_a.sql": "-- +goose Up\nselect 1;", "2_b.sql": "select 2;"},
			"migration 2_b.sql: no line -- +goose Up"},
		{"nothing", map[string]string{"README.md": ""}, "no migration files"},
	} {
		fsys := fstest.MapFS{}
		for name, text := range tt.files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		_, err := migrate.Compile(t.Context(), fsys)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "unexpected state") {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
