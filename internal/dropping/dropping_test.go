package dropping_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestWhatGoesWithOthers: what belongs to something else, and cannot be dropped without
// it, is left to the drop of the schema.
func TestWhatGoesWithOthers(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, sql := range []string{
		`create schema tenant_a`,
		`create type tenant_a.hours as range (subtype = int4)`,
		`create table tenant_a.shifts (id int generated always as identity primary key, during tenant_a.hours)`,
		`create table tenant_a.notes (id serial primary key, text text)`,
		`create function tenant_a.plus_one(int) returns int language sql as 'select $1 + 1'`,
		`create aggregate tenant_a.number (*) (sfunc = tenant_a.plus_one, stype = int, initcond = '0')`,
		`create aggregate tenant_a.total (int) (sfunc = int4pl, stype = int)`,
		`create extension hstore schema tenant_a`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	schema, err := db.RegisteredSchema("tenant_a")
	if err != nil {
		t.Fatal(err)
	}
	s := dropping.Survey{Most: 1}
	var p db.Pipeline
	p.OwnTransaction()
	s.Queue(&p, schema)
	if err := p.Run(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	dropped := map[string]bool{}
	err = dropping.InBatches(t.Context(), conn, schema, &s, func(batch []dropping.Object) error {
		for _, object := range batch {
			dropped[object.Name] = true
		}
		return db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
			var p db.Pipeline
			dropping.Queue(&p, batch)
			return p.Run(ctx, q)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	// The last one, a table, is left for the transaction that drops the schema.
	if !dropped[`"tenant_a"."number"(*)`] || !dropped[`"tenant_a"."shifts"`] || len(dropped) != 4 {
		t.Errorf("dropped one by one: %v", dropped)
	}
	if _, err := conn.Exec(t.Context(), "drop schema tenant_a cascade"); err != nil {
		t.Error(err)
	}
}
