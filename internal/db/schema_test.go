package db_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
)

func TestSchemaForSlug(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	tests := []struct{ name, slug, want string }{
		{"hyphen", "acme-corp", "tenant_acme_corp"},
		{"digits", "42", "tenant_42"},
		{"reserved words are ordinary behind the prefix", "public", "tenant_public"},
		{"folded letters get a hash", "información", "tenant_informaci_n_33679d96"},
		{"cut names get a hash", long, "tenant_" + strings.Repeat("a", 47) + "_ffe054fe"},
		{"a name like a hashed one is hashed", "x-0123abcd", "tenant_x_0123abcd_6324b7ee"},
		{"the longest that fits", strings.Repeat("b", 56), "tenant_" + strings.Repeat("b", 56)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := db.SchemaForSlug(tt.slug)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("SchemaForSlug(%q) = %s, want %s", tt.slug, got, tt.want)
			}
		})
	}
	if _, err := db.SchemaForSlug(""); !errors.Is(err, db.ErrInvalidSchema) {
		t.Errorf("empty slug: %v", err)
	}
}

func TestSchemasOfSimilarSlugsDiffer(t *testing.T) {
	t.Parallel()
	same63 := strings.Repeat("x", 63)
	seen := map[string]string{}
	for _, slug := range []string{
		same63 + "a", same63 + "b", "información", "informaciön", "a-b", "ab", "x-0123abcd", "x",
	} {
		s, err := db.SchemaForSlug(slug)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[s.String()]; taken {
			t.Errorf("%q and %q share schema %s", slug, other, s)
		}
		seen[s.String()] = slug
	}
}

func TestRegisteredSchema(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tenant_acme", "Weird Name", "customer-7", "日本"} {
		if s, err := db.RegisteredSchema(name); err != nil || s.String() != name {
			t.Errorf("RegisteredSchema(%q) = %v, %v", name, s, err)
		}
	}
	for _, name := range []string{
		"", "public", "pg_catalog", "pg_x", "information_schema", strings.Repeat("x", 64), "a\x00b", "a\nb",
		"a\x1b[31m", "\xff",
	} {
		if s, err := db.RegisteredSchema(name); !errors.Is(err, db.ErrInvalidSchema) {
			t.Errorf("RegisteredSchema(%q) = %v, %v, want ErrInvalidSchema", name, s, err)
		}
	}
}

func TestQuoted(t *testing.T) {
	t.Parallel()
	s, err := db.RegisteredSchema(`we"ird; drop`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Quoted(), `"we""ird; drop"`; got != want {
		t.Errorf("Quoted() = %s, want %s", got, want)
	}
}

// FuzzSchemaForSlug asserts that whatever the slug, the schema is a plain
// identifier which PostgreSQL neither cuts nor keeps for itself, and that it is
// one the registry accepts back.
func FuzzSchemaForSlug(f *testing.F) {
	for _, s := range []string{"acme-corp", "información", `"; drop schema public; --`, strings.Repeat("é", 90),
		"\x00", "a\xff"} {
		f.Add(s)
	}
	plain := regexp.MustCompile(`^tenant_[a-z0-9_]{1,56}$`)
	f.Fuzz(func(t *testing.T, slug string) {
		s, err := db.SchemaForSlug(slug)
		if err != nil {
			if slug != "" {
				t.Fatalf("refused %q: %v", slug, err)
			}
			return
		}
		if !plain.MatchString(s.String()) {
			t.Fatalf("SchemaForSlug(%q) = %q", slug, s)
		}
		again, err := db.RegisteredSchema(s.String())
		if err != nil || again != s {
			t.Fatalf("the registry refuses %q: %v", s, err)
		}
	})
}
