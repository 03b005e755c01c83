package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/staging"
)

// ErrReadOnly says that the expected shape cannot be built where it was asked
// for: on a replica, or in a session that may only read.
var ErrReadOnly = errors.New("cannot be built on a read-only server: " +
	"it is made and taken back, which the primary can do where it may write")

// Build returns the shape that a script makes of an empty schema. The script runs
// in a schema with a name nobody can guess, in a transaction that is rolled back;
// conn must not be in one. One of several transactions is committed as package staging
// does, and dropped. It waits for no lock longer than o says.
//
// The error wraps ErrReadOnly on a replica, or is a *db.StatementError.
func Build(ctx context.Context, conn *pgx.Conn, script []db.Statement, o Options) (*Shape, error) {
	schema, err := db.RegisteredSchema("crmctl_shape_" + strings.ToLower(rand.Text()))
	if err != nil {
		return nil, err
	}
	if staging.Several(script) {
		return buildStaged(ctx, conn, schema, script, o)
	}
	var p db.Pipeline
	p.Begin(db.Locals{Schema: schema, LockTimeout: o.LockWait(), AsConfigured: true})
	p.CreateScratch(schema.String())
	p.Script(script)
	p.CheckSchema(schema)
	if err := p.Run(ctx, conn); err != nil {
		return nil, errors.Join(buildError(err), db.Rollback(ctx, conn))
	}
	shape, err := Read(ctx, conn, Target{Schema: schema}, o)
	return shape, errors.Join(err, db.Rollback(ctx, conn))
}

func buildStaged(ctx context.Context, conn *pgx.Conn, schema db.Schema, script []db.Statement,
	o Options) (*Shape, error) {
	var shape *Shape
	var unread error
	err := staging.Scratch(ctx, conn, script, staging.Options{Registry: o.Registry, Schema: schema,
		LockTimeout: o.LockWait(), Direct: o.Direct},
		func(ctx context.Context) error {
			shape, unread = Read(ctx, conn, Target{Schema: schema}, o)
			return nil
		})
	if err != nil {
		return nil, errors.Join(buildError(err), unread)
	}
	return shape, unread
}

// buildError says that it is about the expected shape, and where that cannot be built.
func buildError(err error) error {
	switch db.SQLState(err) {
	case db.CodeReadOnlyTransaction:
		return fmt.Errorf("the expected shape %w: %w", ErrReadOnly, err)
	case db.CodeLockNotAvailable:
		return fmt.Errorf("build the expected shape: %w", because(err))
	}
	return fmt.Errorf("build the expected shape: %w", err)
}
