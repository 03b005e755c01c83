package crmtest

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

var tenants atomic.Int64 //nolint:gochecknoglobals // a cluster has one database for all tests

// NotOnCitus skips a test of something that is refused on a cluster, or is not there.
func NotOnCitus(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(pgtest.EnvCitus) != "" {
		t.Skip("on Citus: " + why)
	}
}

// onCitus does what Tenant does, in a schema of the test's own.
func onCitus(t testing.TB, url string, statements []db.Statement) (*pgx.Conn, db.Schema) {
	t.Helper()
	schema, err := db.SchemaForSlug(fmt.Sprintf("test%d-%d", os.Getpid(), tenants.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	conn := Connect(t, url)
	if err := pgtest.Recognize(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		last, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := last.Exec(ctx, "drop schema if exists "+schema.Quoted()+" cascade"); err != nil {
			t.Error(err)
		}
		_ = last.Close(ctx)
	})
	err = db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		p.CreateSchema(schema.String())
		p.StandIn(schema, db.Path{})
		p.Script(statements)
		return p.Run(ctx, q)
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn, schema
}
