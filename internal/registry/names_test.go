package registry_test

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/migrations"
)

// Nobody but this package spells the name of one of the registry's tables: where they
// stand is a value. The benchmarks do what others would do without this program.
func TestNobodyElseNamesTheTables(t *testing.T) {
	t.Parallel()
	const root = "../.."
	others := slices.DeleteFunc(registry.Tables(), func(name string) bool { return name == "tenants" })
	named := regexp.MustCompile(`(?i)\b(` + strings.Join(others, "|") +
		`)\b|\bpublic\.tenants\b|\b(from|join|into|update|table)\s+tenants\b`)
	read := 0
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".sql") ||
				strings.HasSuffix(path, "_test.go") {
				return err
			}
			if filepath.Base(filepath.Dir(path)) == "registry" {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			read++
			for _, literal := range literals(path, text) {
				if found := named.FindString(literal); found != "" {
					t.Errorf("%s: %q names a table of the registry: its name comes from a registry.Registry",
						strings.TrimPrefix(path, root+"/"), found)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read", read)
	}
}

// Nobody but this package writes the tables, or locks them: what joins them with a catalog
// or with a tenant's own statements reads.
func TestNobodyElseWritesTheTables(t *testing.T) {
	t.Parallel()
	const root = "../.."
	value := regexp.MustCompile(`(?i)\b(insert into|update|delete from|truncate|lock table|alter table|merge
		into)\s*["` + "`" +
		`]\s*\+\s*[\w.]*reg(istry)?\.[A-Z]\w*\(\)`)
	if sample := "p.Exec(`delete from `+o.Registry.Dirty()+` where true`)"; !value.MatchString(sample) {
		t.Fatalf("%s is not found: the test shows nothing", sample)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			filepath.Base(filepath.Dir(path)) == "registry" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range value.FindAllString(string(text), -1) {
			t.Errorf("%s: %s: only the registry writes its tables", strings.TrimPrefix(path, root+"/"), found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// literals returns the strings of a Go file, and the whole of any other.
func literals(path string, text []byte) []string {
	if !strings.HasSuffix(path, ".go") {
		return []string{string(text)}
	}
	set := token.NewFileSet()
	var s scanner.Scanner
	s.Init(set.AddFile(path, -1, len(text)), text, nil, 0)
	var out []string
	for {
		_, kind, literal := s.Scan()
		switch kind {
		case token.EOF:
			return out
		case token.STRING:
			out = append(out, literal)
		}
	}
}

// The list of tables is what the migrations make, in their order.
func TestTables(t *testing.T) {
	t.Parallel()
	plan, err := migrate.Compile(t.Context(), migrations.Public())
	if err != nil {
		t.Fatal(err)
	}
	makes := regexp.MustCompile(`(?i)^\s*create table (\w+)`)
	var made []string
	for _, m := range plan.Migrations {
		for _, s := range m.Up {
			if found := makes.FindStringSubmatch(s.SQL); found != nil {
				made = append(made, found[1])
			}
		}
	}
	if !slices.Equal(made, registry.Tables()) {
		t.Errorf("the migrations make\n%q, the list has\n%q", made, registry.Tables())
	}
	saved := slices.DeleteFunc(made, func(name string) bool { return !slices.Contains(registry.SavedTables(), name) })
	if !slices.Equal(saved, registry.SavedTables()) {
		t.Errorf("saved are\n%q, in the order in which they are made\n%q", registry.SavedTables(), saved)
	}
}
