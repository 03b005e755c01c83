package adopt

import (
	"context"
	"errors"
	"slices"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrNeighbour says that a schema holds a registry, or that another registry of the
// database has it.
var ErrNeighbour = errors.New("is a registry's, or another registry has it")

// refuseNeighbours refuses the claims to schemas that registries stand in or that other
// registries of the database have.
func (s *Survey) refuseNeighbours(ctx context.Context, q db.Querier) error {
	neighbours, err := s.opt.Registry.Neighbours(ctx, q)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(s.Adoptions))
	for _, a := range s.Adoptions {
		if a.Err == nil { // otherwise it may be no name at all
			names = append(names, a.Claim.Schema)
		}
	}
	theirs, err := neighbours.Of(ctx, q, names)
	if err != nil {
		return err
	}
	for i := range s.Adoptions {
		if a := &s.Adoptions[i]; a.Err == nil && slices.Contains(theirs, a.Claim.Schema) {
			a.Err = &neighbourError{a.Claim.Schema}
		}
	}
	return nil
}

type neighbourError struct{ schema string }

func (e *neighbourError) Error() string { return "schema " + e.schema + " " + ErrNeighbour.Error() }
func (e *neighbourError) Unwrap() error { return ErrNeighbour }
