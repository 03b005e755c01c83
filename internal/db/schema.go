package db

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// maxIdentifier is PostgreSQL's NAMEDATALEN - 1, in bytes: what is longer is
// cut by the server with a mere NOTICE.
const maxIdentifier = 63

// schemaPrefix starts the name of every schema this project makes.
const schemaPrefix = "tenant_"

// PoolPrefix starts the name of every schema that is ready for a tenant to come, and
// the name of no tenant's schema.
const PoolPrefix = "crmctl_pool_"

// RoleMark begins the comment of every role that is made for a tenant; the tenant's id
// follows. To forge it takes the right to change the role, and then there is no need
// to. The registry alone proves nothing: a row of it may name any role.
const RoleMark = "crmctl: role of tenant "

// IsPoolName reports whether a schema of that name is one of the pool.
func IsPoolName(name string) bool { return strings.HasPrefix(name, PoolPrefix) }

// ErrInvalidSchema is wrapped by every error about a schema name that must not
// be used.
var ErrInvalidSchema = errors.New("invalid schema name")

// Schema is the name of a schema that may hold tenant data. Only SchemaForSlug
// (for a new tenant), RegisteredSchema (for a name read from the registry) and
// Public make one, so a string from a user cannot become an identifier by
// accident. The zero Schema is no schema and is refused by every transaction.
type Schema struct{ name string }

// Public is the schema of the registry.
var Public = Schema{name: "public"}

// String returns the bare name, for showing and for query parameters.
func (s Schema) String() string { return s.name }

// Quoted returns the name as an SQL identifier.
func (s Schema) Quoted() string { return pgx.Identifier{s.name}.Sanitize() }

// IsZero reports whether s names no schema.
func (s Schema) IsZero() bool { return s.name == "" }

// SchemaForSlug returns the schema of a new tenant: "tenant_" and the slug,
// with every byte that is not a-z or 0-9 folded to "_", at most 63 bytes.
//
// A hyphen becomes an underscore without further ado, since a slug holds no
// underscore. Where anything else was folded, or the name was cut, or it
// already ends like a hash, "_" and the first 8 hex digits of the slug's
// SHA-256 are added. So two slugs share a name only when those 32 bits and the
// rest agree, and then the registry's unique constraint refuses the second.
func SchemaForSlug(slug string) (Schema, error) {
	if slug == "" {
		return Schema{}, fmt.Errorf("%w: empty", ErrInvalidSchema)
	}
	var b strings.Builder
	b.WriteString(schemaPrefix)
	exact := true
	for _, r := range slug {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == '-':
			b.WriteByte('_')
		default:
			b.WriteByte('_')
			exact = false
		}
	}
	name := b.String()
	if exact && len(name) <= maxIdentifier && !endsLikeHash(name) {
		return Schema{name: name}, nil
	}
	sum := sha256.Sum256([]byte(slug))
	suffix := "_" + hex.EncodeToString(sum[:4])
	if len(name) > maxIdentifier-len(suffix) {
		name = name[:maxIdentifier-len(suffix)]
	}
	return Schema{name: name + suffix}, nil
}

// endsLikeHash reports whether a name ends in "_" and 8 hex digits, as the names
// with an added hash do.
func endsLikeHash(name string) bool {
	const digits = 8
	if len(name) < digits+1 || name[len(name)-digits-1] != '_' {
		return false
	}
	for _, c := range name[len(name)-digits:] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// RegisteredSchema takes a name that the registry holds. It refuses what cannot
// be a tenant's schema, whoever wrote it there: the schemas of PostgreSQL
// itself, public, names that the server would cut, and characters that quoting
// drops or a terminal obeys.
func RegisteredSchema(name string) (Schema, error) {
	switch {
	case name == "":
		return Schema{}, fmt.Errorf("%w: empty", ErrInvalidSchema)
	case len(name) > maxIdentifier:
		return Schema{}, fmt.Errorf("%w: %q has %d bytes, PostgreSQL keeps %d", ErrInvalidSchema, name, len(name),
			maxIdentifier)
	case name == "public", name == "information_schema", strings.HasPrefix(name, "pg_"):
		return Schema{}, fmt.Errorf("%w: %q does not hold a tenant", ErrInvalidSchema, name)
	case !utf8.ValidString(name), strings.IndexFunc(name, unicode.IsControl) >= 0:
		return Schema{}, fmt.Errorf("%w: %q holds control characters", ErrInvalidSchema, name)
	}
	return Schema{name: name}, nil
}
