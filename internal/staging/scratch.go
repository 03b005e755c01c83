package staging

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Scratch builds a schema of a script, calls fn, and drops the schema. conn must not be
// in a transaction, and fn leaves it in none.
func Scratch(ctx context.Context, conn *pgx.Conn, script []db.Statement, o Options,
	fn func(ctx context.Context) error) (err error) {
	s, err := Open(ctx, conn, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Clear(ctx)) }()
	if err := s.Run(ctx, script); err != nil {
		return err
	}
	return fn(ctx)
}
