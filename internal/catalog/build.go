package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrReadOnly says that the expected shape cannot be built where it was asked
// for: on a replica, or in a session that may only read.
var ErrReadOnly = errors.New("cannot be built on a read-only server: " +
	"it is made in a transaction that is rolled back, which the primary can do where it may write")

// Build returns the shape that a script makes of an empty schema. The script runs
// in a schema with a name nobody can guess, in a transaction that is rolled back;
// conn must not be in one. It waits for no lock longer than o says.
//
// The error wraps ErrReadOnly on a replica, or is a *db.StatementError.
func Build(ctx context.Context, conn *pgx.Conn, script []db.Statement, o Options) (*Shape, error) {
	schema, err := db.RegisteredSchema("crmctl_shape_" + strings.ToLower(rand.Text()))
	if err != nil {
		return nil, err
	}
	var p db.Pipeline
	p.Begin(db.Locals{Schema: schema, LockTimeout: o.LockWait(), AsConfigured: true})
	p.Exec("create schema " + schema.Quoted())
	p.Script(script)
	p.CheckSchema(schema)
	err = p.Run(ctx, conn)
	if err != nil {
		switch db.SQLState(err) {
		case db.CodeReadOnlyTransaction:
			err = fmt.Errorf("the expected shape %w: %w", ErrReadOnly, err)
		case db.CodeLockNotAvailable:
			err = fmt.Errorf("build the expected shape: %w", because(err))
		default:
			err = fmt.Errorf("build the expected shape: %w", err)
		}
		return nil, errors.Join(err, db.Rollback(ctx, conn))
	}
	shape, err := Read(ctx, conn, Target{Schema: schema}, o)
	return shape, errors.Join(err, db.Rollback(ctx, conn))
}
