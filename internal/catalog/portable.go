package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// portable is an object as it stands in JSON.
type portable struct {
	Kind       Kind            `json:"kind"`
	Parent     string          `json:"parent,omitempty"`
	Name       string          `json:"name,omitempty"`
	Definition string          `json:"definition,omitempty"`
	Detail     json.RawMessage `json:"detail,omitempty"`
}

// MarshalJSON writes a shape so that it can be read elsewhere, with what DDL needs.
func (s *Shape) MarshalJSON() ([]byte, error) {
	out := make([]portable, len(s.Objects))
	for i, o := range s.Objects {
		out[i] = portable{o.Kind, o.Parent, o.Name, o.Definition, o.detail}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads a shape that anybody may have written: what is no object of a
// known kind, or stands there twice, is an error. That the definitions are SQL of the
// kind they are said to be is not looked at here.
func (s *Shape) UnmarshalJSON(text []byte) error {
	var in []portable
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	seen := make(map[key]bool, len(in))
	objects := make([]Object, len(in))
	for i, p := range in {
		o := Object{Kind: p.Kind, Parent: p.Parent, Name: p.Name, Definition: p.Definition, detail: p.Detail}
		for _, text := range []string{o.Parent, o.Name, o.Definition} {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return fmt.Errorf("%s %q is no text", o.Kind, o.Name)
			}
		}
		switch {
		case !slices.Contains(Kinds(), o.Kind):
			return fmt.Errorf("objects of the unknown kind %q", o.Kind)
		case seen[o.key()]:
			return fmt.Errorf("%s stands there twice", o.Subject())
		}
		seen[o.key()] = true
		objects[i] = o
	}
	*s = *sorted(objects)
	return nil
}

// Without returns the shape without the objects of some kinds.
func (s *Shape) Without(kinds ...Kind) *Shape {
	return &Shape{Objects: slices.DeleteFunc(slices.Clone(s.Objects), func(o Object) bool {
		return slices.Contains(kinds, o.Kind)
	})}
}

// aside runs fn within the caller's transaction and takes back what it has set.
func aside(ctx context.Context, conn *pgx.Conn, fn func() error) error {
	if _, err := conn.Exec(ctx, "savepoint crmctl_aside"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err // the transaction is of no more use
	}
	var p db.Pipeline
	p.Exec("rollback to savepoint crmctl_aside")
	p.Exec("release savepoint crmctl_aside")
	return p.Run(ctx, conn)
}

// ReadWithin is Read for a transaction that goes on: its settings stay what they were.
func ReadWithin(ctx context.Context, conn *pgx.Conn, t Target, o Options) (shape *Shape, err error) {
	err = aside(ctx, conn, func() (err error) {
		shape, err = Read(ctx, conn, t, o)
		return err
	})
	return shape, err
}

// FingerprintWithin returns the fingerprint of one schema, for a transaction that goes
// on: its settings stay what they were.
func FingerprintWithin(ctx context.Context, conn *pgx.Conn, t Target, o Options) (f Fingerprint, err error) {
	err = aside(ctx, conn, func() error {
		readings, err := hash(ctx, conn, []Target{t}, o)
		if err != nil {
			return fmt.Errorf("read the shape of %s: %w", t.Schema, because(err))
		}
		f = readings[0].Fingerprint
		return readings[0].Err
	})
	return f, err
}

// SplitOutside takes the foreign keys that refer to other schemas out of a shape, where
// trusted has the very same, and returns the statements that make them.
func (s *Shape) SplitOutside(trusted *Shape) (rest *Shape, keys []db.Statement) {
	known := map[string]bool{}
	for o := range trusted.of(KindConstraint) {
		known[o.Definition] = true
	}
	rest = &Shape{}
	for _, o := range s.Objects {
		if o.Kind == KindConstraint && known[o.Definition] {
			if c := detailOf[constraintDetail](o); c.Type == "f" && c.outside() {
				keys = append(keys, db.Statement{SQL: "alter table " + db.Quoted(o.Parent) + " add constraint " +
					db.Quoted(o.Name) + " " + o.Definition})
				continue
			}
		}
		rest.Objects = append(rest.Objects, o)
	}
	return rest, keys
}

// outside reports whether a foreign key refers to another schema: its table is named
// with it then.
func (c constraintDetail) outside() bool {
	quotes := false
	for _, r := range c.References {
		switch {
		case r == '"':
			quotes = !quotes
		case r == '.' && !quotes:
			return true
		}
	}
	return false
}

// Subjects names objects in words, a few of them where they are many.
func Subjects(differences []Difference, most int) []string {
	var out []string
	for i, d := range differences {
		if i == most {
			return append(out, fmt.Sprintf("%d more", len(differences)-most))
		}
		out = append(out, d.Subject()+" ("+string(d.Change)+")")
	}
	return out
}
