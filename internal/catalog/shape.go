package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// Errors of reading a schema.
var (
	// ErrNoSchema says that the schema is not there.
	ErrNoSchema = errors.New("no such schema")
	// ErrLocked says that somebody held a lock on something in the schema for
	// longer than the reader was ready to wait.
	ErrLocked = errors.New("not read: locked")
	// ErrChanging says that the schema was changed each time it was looked at.
	ErrChanging = errors.New("not read: changed meanwhile")
)

// Kind is what an object is.
type Kind string

// The kinds of objects in a shape. The names of columns are in their order a
// kind of their own, so that a column in another place is one difference.
const (
	KindTable              Kind = "table"
	KindColumn             Kind = "column"
	KindColumnOrder        Kind = "column order"
	KindConstraint         Kind = "constraint"
	KindConstraintTriggers Kind = "constraint triggers" // of a foreign key, where they are switched off
	KindIndex              Kind = "index"
	KindTrigger            Kind = "trigger"
	KindPolicy             Kind = "policy"
	KindRule               Kind = "rule"
	KindView               Kind = "view"
	KindMaterializedView   Kind = "materialized view"
	KindSequence           Kind = "sequence"
	KindFunction           Kind = "function"
	KindProcedure          Kind = "procedure"
	KindAggregate          Kind = "aggregate"
	KindType               Kind = "type"
	KindDomain             Kind = "domain"
	KindStatistics         Kind = "statistics"
	KindComment            Kind = "comment"
	KindGrant              Kind = "grant"
	KindDefaultPrivileges  Kind = "default privileges"
	KindOwner              Kind = "owner" // only where it is not the schema's
)

// otherKinds are compared and never made by a fix.
var otherKinds = []Kind{
	"collation", "operator", "operator class", "operator family", "conversion", "text search configuration",
	"text search dictionary", "text search parser", "text search template",
}

// Kinds returns every kind there is.
func Kinds() []Kind {
	return append([]Kind{
		KindTable, KindColumn, KindColumnOrder, KindConstraint, KindConstraintTriggers, KindIndex, KindTrigger, KindPolicy,
		KindRule, KindView, KindMaterializedView, KindSequence, KindFunction, KindProcedure, KindAggregate, KindType,
		KindDomain, KindStatistics, KindComment, KindGrant, KindDefaultPrivileges, KindOwner,
	}, otherKinds...)
}

// Object is one thing in a schema.
type Object struct {
	Kind Kind
	// Parent is the table that the object belongs to, "" where it belongs to the
	// schema. It is the bare name, not an identifier.
	Parent string
	// Name is the bare name. Functions have their signature, `add(integer)`, what
	// a comment, a grant or an owner is about stands as in SQL, `column "E-Mail"`.
	Name string
	// Definition is what tells it from another of its name, close to the SQL that
	// would make it. Names in the schema stand without it; {owner} is the owner of
	// the schema, {role} the tenant's own role, {own schema} the schema itself, in the text of
	// a function.
	Definition string

	// detail is the parts of Definition, as shape.sql names them.
	detail json.RawMessage
}

// key is what makes two objects of two shapes the same one.
type key struct {
	kind         Kind
	parent, name string
}

func (o Object) key() key { return key{o.Kind, o.Parent, o.Name} }

// line is the object as it goes into the fingerprint; shape.sql's users have the
// same in SQL.
func (o Object) line() string {
	return string(o.Kind) + "\x1f" + o.Parent + "\x1f" + o.Name + "\x1f" + o.Definition
}

// Shape is everything in a schema that migrations make, in the order of kind,
// parent and name. It is never changed once it was read.
type Shape struct {
	Objects []Object
}

// sorted puts the objects into their order.
func sorted(objects []Object) *Shape {
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Name, b.Name))
	})
	return &Shape{Objects: objects}
}

// Fingerprint returns the hash that Fingerprints has for a schema of this shape.
func (s *Shape) Fingerprint() Fingerprint {
	lines := make([]string, len(s.Objects))
	for i, o := range s.Objects {
		lines[i] = o.line()
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "\x1e")))
}

// find returns the object with a key.
func (s *Shape) find(k key) (Object, bool) {
	i, found := slices.BinarySearchFunc(s.Objects, k, func(o Object, k key) int {
		return cmp.Or(cmp.Compare(o.Kind, k.kind), cmp.Compare(o.Parent, k.parent), cmp.Compare(o.Name, k.name))
	})
	if !found {
		return Object{}, false
	}
	return s.Objects[i], true
}

// of returns the objects of a kind.
func (s *Shape) of(k Kind) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, o := range s.Objects {
			if o.Kind == k && !yield(o) {
				return
			}
		}
	}
}

// partsOf returns the objects of a kind that belong to a table.
func (s *Shape) partsOf(k Kind, table string) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for o := range s.of(k) {
			if o.Parent == table && !yield(o) {
				return
			}
		}
	}
}

// columns returns the names of a table's columns in their order.
func (s *Shape) columns(table string) []string {
	o, found := s.find(key{KindColumnOrder, table, ""})
	if !found {
		return nil
	}
	return columnsOf(o)
}

// Fingerprint is the SHA-256 of a shape. It is the same on every server of one
// major version; another major version may spell a definition in another way.
type Fingerprint [sha256.Size]byte

// String returns the first 12 hexadecimal digits, enough to tell shapes apart by
// eye.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:6]) }

// Target is a schema to be read.
type Target struct {
	Schema db.Schema
	// Role is the tenant's own role, "" for none. It stands as {role} in a shape.
	Role string
	// Tablespace is the tenant's own, "" for none. What stands there is not said to.
	Tablespace string
}
