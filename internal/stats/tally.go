package stats

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// tally adds up sizes over tenants.
type tally[T any] struct {
	// sql is a query over the selected tenants: of the sizes of files where exact is set, and
	// otherwise of the pages that pg_class has noted.
	sql func(reg registry.Registry, exact bool) string
	to  pgx.RowToFunc[T]
	// onNodes, if not "", is what the nodes of a cluster have measured: it is the fourth parameter
	// of sql, and all tenants are read at once.
	onNodes string
	// add adds o where that is about the same thing, and reports whether it is.
	add func(to *T, o T) bool

	at    time.Time // when, by the server's clock
	mode  Mode      // Exact or Estimate
	found []T
}

// run reads the sizes. Up to exactUpTo tenants are measured and more are estimated, unless
// o.Mode says it. q must not be in a transaction.
func (t *tally[T]) run(ctx context.Context, q db.Querier, o SizeOptions) (err error) {
	t.mode = o.Mode
	if t.onNodes != "" {
		t.mode = Exact
		err := t.read(ctx, q, o, true)
		if db.SQLState(err) == db.CodeLockNotAvailable {
			t.mode = Estimate // of what stands on the coordinator
			err = t.read(ctx, q, o, false)
		}
		return err
	}
	if o.Mode == Auto {
		if t.mode, err = choose(ctx, q, o); err != nil {
			return fmt.Errorf("count the tenants: %w", err)
		}
	}
	if t.mode == Exact {
		return t.measure(ctx, q, o)
	}
	return t.read(ctx, q, o, false)
}

// measure reads the sizes of the files, of a chunk of the tenants at a time. A chunk in which a
// locked table stands in the way is estimated.
func (t *tally[T]) measure(ctx context.Context, q db.Querier, o SizeOptions) error {
	var slugs []string
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.Query(func(rows pgx.Rows) (err error) {
			slugs, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}, "select t.slug from "+o.Registry.Tenants()+" t where "+selected, o.args()...)
	})
	if err != nil {
		return err
	}
	m := meter{q: q, o: o, total: len(slugs)}
	defer m.close()
	for chunk := range slices.Chunk(slugs, chunkSize) {
		if err := m.recycle(ctx); err != nil {
			return err
		}
		o.Slugs = chunk
		err := t.read(ctx, m.q, o, true)
		if db.SQLState(err) == db.CodeLockNotAvailable {
			t.mode = Estimate
			err = t.read(ctx, m.q, o, false)
		}
		if err != nil {
			return err
		}
		m.measured(len(chunk))
	}
	return nil
}

// read adds what one statement finds.
func (t *tally[T]) read(ctx context.Context, q db.Querier, o SizeOptions, exact bool) error {
	var at time.Time
	var found []T
	args := o.args()
	if t.onNodes != "" {
		args = append(args, t.onNodes)
	}
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.QueryRow([]any{&at}, "select pg_catalog.now()")
		p.Query(func(rows pgx.Rows) (err error) {
			found, err = pgx.CollectRows(rows, t.to)
			return err
		}, t.sql(o.Registry, exact), args...)
	})
	if err != nil {
		return err
	}
	if t.at.IsZero() {
		t.at = at
	}
	for _, o := range found {
		if !t.addTo(o) {
			t.found = append(t.found, o)
		}
	}
	return nil
}

func (t *tally[T]) addTo(o T) bool {
	for i := range t.found {
		if t.add(&t.found[i], o) {
			return true
		}
	}
	return false
}
