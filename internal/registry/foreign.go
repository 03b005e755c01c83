package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// Objects returns the names of the tables, sequences and functions that the registry's
// migrations make, of all versions, and of the table that says which were applied.
func Objects() []string {
	names := append(Tables(), versionsTable, runs+"_id_seq", imports+"_id_seq", events+"_seq_seq", events+"_append_only")
	slices.Sort(names)
	return names
}

// ForeignObject is something in the registry's schema that has a name of the registry's
// and belongs to another role, or is not the registry's.
type ForeignObject struct {
	Kind  string // "table", "view", "function" ...
	Name  string // "public.tenants", quoted where it must be
	Owner string
	// Trusted reports that the owner may make the registry: a superuser, the database's
	// owner, a role that may create schemas in it, or one that the user trusts by name.
	Trusted bool
	// Ours reports that it has the marks of the registry's: what the migrations make has
	// these columns. The name alone says nothing.
	Ours bool
	// own reports that it belongs to the session's role.
	own bool
}

// String returns "table public.tenants, owned by app".
func (o ForeignObject) String() string {
	return fmt.Sprintf("%s %s, owned by %s", o.Kind, o.Name, o.Owner)
}

// ForeignError says that the registry's schema has things named like the registry's which
// belong to a role that is not trusted. Whoever owns one of them can have everybody who
// reads or writes it run what he likes.
type ForeignError struct {
	Objects []ForeignObject
}

// Error names the first few.
func (e *ForeignError) Error() string {
	return "somebody else owns what is named like the registry: " + someObjects(e.Objects) +
		"; nothing was read or changed"
}

func someObjects(objects []ForeignObject) string {
	const most = 3
	shown := make([]string, 0, most)
	for _, o := range objects[:min(most, len(objects))] {
		shown = append(shown, o.String())
	}
	text := strings.Join(shown, "; ")
	if n := len(objects) - most; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return text
}

// Foreign returns what has a name of the registry's in its schema and belongs to another
// role than the session's; those that are not trusted come first. It reads
// nothing but PostgreSQL's own catalog, in one round trip where everything is the role's own.
func (r Registry) Foreign(ctx context.Context, q db.Querier, trusted []string) ([]ForeignObject, error) {
	s, err := r.Look(ctx, q, trusted)
	return s.Others, err
}

// RefuseForeign fails with a *TakenError where the registry's schema holds something else
// of the registry's names, and with a *ForeignError where a role that is not trusted has put
// something there. It comes before anything of the registry is read or made.
func (r Registry) RefuseForeign(ctx context.Context, q db.Querier, trusted []string) error {
	s, err := r.Look(ctx, q, trusted)
	if err != nil {
		return err
	}
	return s.Refusal()
}
