package registry_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

func TestSlug(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"acme-corp":              "acme-corp",
		"Tech Startup":           "tech-startup",
		"TECH_STARTUP ":          "tech-startup",
		"Old Customer, Inc.":     "old-customer-inc",
		`"; DROP SCHEMA public;`: "drop-schema-public",
		"pg_x":                   "pg-x",
		"public":                 "public",
		"informacio\u0301n":      "información", // decomposed
		"İstanbul":               "istanbul",
		"日本":                     "日本",
		strings.Repeat("x", 100): strings.Repeat("x", 100),
	} {
		if got, err := registry.Slug(name); err != nil || got != want {
			t.Errorf("Slug(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", "   ", "-rf", " -rf", "🎉", "...", "a\x00b", "a\nb", "a\tb", "\u202eevil", "zero\u200bwidth", "\xff",
		"line\u2028", strings.Repeat("x", 101), strings.Repeat("é", 100), "\x1b[31mred",
	} {
		if got, err := registry.Slug(name); !errors.Is(err, registry.ErrInvalidName) {
			t.Errorf("Slug(%q) = %q, %v, want ErrInvalidName", name, got, err)
		}
	}
}

// FuzzSlug asserts that a slug is a fixed point, is safe to show, fits, and
// always has a schema.
func FuzzSlug(f *testing.F) {
	for _, s := range []string{"Acme Corp", "información", "İ", "ǅ", "\u0301a", `"; drop`, "a\u0300\u0301", "-rf", "ß"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		slug, err := registry.Slug(name)
		if err != nil {
			if !errors.Is(err, registry.ErrInvalidName) {
				t.Fatalf("Slug(%q): %v", name, err)
			}
			return
		}
		if again, err := registry.Slug(slug); err != nil || again != slug {
			t.Fatalf("Slug(%q) = %q, but Slug of that = %q, %v", name, slug, again, err)
		}
		if len(slug) > registry.MaxSlug || !utf8.ValidString(slug) || strings.ContainsAny(slug, " \"'`;_\\/\x00\n\x1b") {
			t.Fatalf("Slug(%q) = %q", name, slug)
		}
		if _, err := db.SchemaForSlug(slug); err != nil {
			t.Fatal(err)
		}
	})
}
