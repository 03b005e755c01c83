package shape

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/outside"
)

// Elsewhere returns what a script, which is one transaction, does outside of the schema
// that it builds. It runs in a schema of its own, in a transaction that is rolled back.
// The error wraps ErrHistory where the script does not run.
func Elsewhere(ctx context.Context, conn *pgx.Conn, script []db.Statement,
	o catalog.Options) (done outside.Done, err error) {
	schema, err := db.RegisteredSchema(firstName())
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, takeBack(ctx, conn, script)) }()
	if done, err = runAway(ctx, conn, schema, script, o); err != nil {
		return done, replayError(err)
	}
	return done, nil
}

// takeBack ends the transaction of runAway. Not all that a script leaves in the session is
// rolled back: a prepared statement stays.
func takeBack(ctx context.Context, conn *pgx.Conn, script []db.Statement) error {
	if db.Traces(script) {
		return db.Undo(ctx, conn)
	}
	return db.Rollback(ctx, conn)
}

// runAway runs a script in a new schema, in a transaction that the caller rolls back, and
// tells what it did outside.
func runAway(ctx context.Context, conn *pgx.Conn, schema db.Schema, script []db.Statement,
	o catalog.Options) (done outside.Done, err error) {
	var p db.Pipeline
	p.Begin(db.Locals{Schema: schema, LockTimeout: o.LockWait(), AsConfigured: true})
	if err := p.Run(ctx, conn); err != nil {
		return done, err
	}
	before, err := outside.Count(ctx, conn, schema)
	if err != nil {
		return done, err
	}
	p = db.Pipeline{}
	p.StandIn(schema, db.Path{})
	p.CreateScratch(schema.String())
	if db.Traces(script) {
		p.Mark()
	}
	p.Script(script)
	p.CheckSchema(schema)
	if err := p.Run(ctx, conn); err != nil {
		return done, err
	}
	if done, err = outside.Inspect(ctx, conn, schema, before); err != nil {
		return done, fmt.Errorf("look for what the migrations did elsewhere: %w", err)
	}
	return done, nil
}
