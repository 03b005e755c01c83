package shape

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/staging"
)

// makeStaged tells of a history of several transactions whether its schema can be
// renamed.
func makeStaged(ctx context.Context, conn *pgx.Conn, h History, o catalog.Options) (*Final, error) {
	first, err := replayStaged(ctx, conn, h, o, firstName)
	if err != nil {
		return nil, replayError(err)
	}
	second, err := replayStaged(ctx, conn, h, o, secondName)
	if err != nil {
		return nil, replayError(err)
	}
	return &Final{
		Reason: "one of them is a transaction of its own",
		Fixed:  cmp.Or(first.named(), byName(first, second), second.fixed),
	}, nil
}

// replayStaged builds a schema of the history, and drops it when it is read.
func replayStaged(ctx context.Context, conn *pgx.Conn, h History, o catalog.Options,
	name func() string) (r *result, _ error) {
	schema, err := db.RegisteredSchema(name())
	if err != nil {
		return nil, err
	}
	site := staging.Options{Registry: o.Registry, Schema: schema, LockTimeout: o.LockWait(), Direct: o.Direct}
	err = staging.Scratch(ctx, conn, h.Script, site, func(ctx context.Context) (err error) {
		var p db.Pipeline
		p.Begin(db.Locals{Schema: schema, LockTimeout: o.LockWait(), AsConfigured: true})
		p.CheckSchema(schema)
		defer func() { err = errors.Join(err, db.Rollback(ctx, conn)) }()
		if err := p.Run(ctx, conn); err != nil {
			return err
		}
		if r, err = read(ctx, conn, schema, o); err != nil {
			return err
		}
		return r.rename(ctx, conn, schema, o)
	})
	return r, err
}
