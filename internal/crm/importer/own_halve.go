package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

// maxRefused is how many rows the server may refuse that looked fitting here. Each costs
// statements of its own; a table that refuses more is not what the file is for.
const maxRefused = 2000

// codeInternal is the SQLSTATE of an error that has none of its own.
const codeInternal = "XX000"

// errEnough ends the search for refused rows once the rejects are too many anyway.
var errEnough = errors.New("too many rejected rows")

// RefusedError says that the tenant's table refuses more rows than are looked for one by
// one. Nothing was kept.
type RefusedError struct {
	Rows int64
	Last string // why the last of them was refused
}

// Error gives the number and the last reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the tenant's table contacts, which is an application's own, refuses more than %d rows; "+
		"nothing was imported; the last: %s", e.Rows, e.Last)
}

// refusal reports whether an error of the server is about the values of a row: data
// (22), constraints (23), what a trigger raised (P0), a view's check (44). A node of a
// cluster may tell of a constraint without its code.
func refusal(err error) (*pgconn.PgError, bool) {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(e.Code) != 5 {
		return nil, false
	}
	if e.Code == codeInternal && strings.Contains(e.Message, "violates") {
		return e, true
	}
	return e, slices.Contains([]string{"22", "23", "P0", "44"}, e.Code[:2])
}

// halved does something with all judged rows, which returns the number of those it
// counts. Where the server refuses a row, it is found by halves and gets a verdict, and
// the others go on.
func (m *merge) halved(ctx context.Context, do func(ctx context.Context, from, to int64) (int64, error)) (n int64,
	err error) {
	type span struct{ from, to int64 }
	for spans := []span{{1, m.groups}}; len(spans) > 0; {
		s := spans[len(spans)-1]
		spans = spans[:len(spans)-1]
		if s.from > s.to {
			continue
		}
		if _, err := m.q.Exec(ctx, "savepoint crmctl_rows"); err != nil {
			return n, err
		}
		done, err := do(ctx, s.from, s.to)
		if err == nil {
			n += done
			if _, err := m.q.Exec(ctx, "release savepoint crmctl_rows"); err != nil {
				return n, err
			}
			continue
		}
		e, refused := refusal(err)
		if !refused {
			return n, err
		}
		if err := m.back(ctx); err != nil {
			return n, err
		}
		if s.from < s.to {
			middle := s.from + (s.to-s.from)/2
			spans = append(spans, span{middle + 1, s.to}, span{s.from, middle})
			continue
		}
		if err := m.refuse(ctx, s.from, e); err != nil {
			return n, err
		}
	}
	return n, nil
}

// back undoes what was refused. The first time an index is made for the halves.
func (m *merge) back(ctx context.Context) error {
	var p db.Pipeline
	p.Exec("rollback to savepoint crmctl_rows")
	p.Exec("release savepoint crmctl_rows")
	if m.refused == nil {
		m.refused = map[string]*rejection{}
		p.OwnPath()
		p.Exec("create unique index on pg_temp.crmctl_verdict (n)")
		p.Exec("analyze pg_temp.crmctl_verdict")
		p.StandIn(m.schema, m.path)
	}
	return p.Run(ctx, m.q)
}

// refuse gives the n-th row its verdict.
func (m *merge) refuse(ctx context.Context, n int64, e *pgconn.PgError) error {
	e = db.Said(e)
	why := &rejection{code: RejectRefused, message: "the table refuses it: " + e.Message + " (" + e.Code + ")"}
	if e.Code[:2] == "23" && e.Code != "23514" && e.Code != "23502" && e.Detail != "" {
		why.message += "; " + e.Detail
	}
	column, err := m.refusedColumn(ctx, n, e)
	if err != nil {
		return err
	}
	if column != nil && len(column.From) > 0 {
		why.column = column.From[0]
	}
	var k string
	err = m.q.QueryRow(ctx, "update pg_temp.crmctl_verdict f set verdict = 'refused' where f.n operator(pg_catalog.=) $1 "+
		"returning f.k", n).Scan(&k)
	if err != nil {
		return err
	}
	m.refused[k] = why
	found := int64(len(m.refused))
	switch limit := m.rejects.limit; {
	case limit != 0 && m.rejects.total+found > max(limit, 0):
		return errEnough
	case found > maxRefused:
		return &RefusedError{Rows: maxRefused, Last: why.message}
	}
	return nil
}

// refusedColumn finds the column whose value is refused, nil where that is not to be told:
// the one that the server names, the only one of a constraint, or the one whose conversion
// fails by itself.
func (m *merge) refusedColumn(ctx context.Context, n int64, e *pgconn.PgError) (*TableColumn, error) {
	var named *TableColumn
	for i := range m.own.table {
		c := &m.own.table[i]
		if c.Name == e.ColumnName {
			return c, nil
		}
		if slices.Contains(c.Constraints, e.ConstraintName) {
			if named != nil {
				return nil, nil // of several columns
			}
			named = c
		}
	}
	if named != nil || e.Code[:2] != "22" && e.Code != "23514" {
		return named, nil
	}
	for _, c := range m.own.columns {
		if c.source < 0 {
			continue
		}
		if _, err := m.q.Exec(ctx, "savepoint crmctl_rows"); err != nil {
			return nil, err
		}
		_, err := m.q.Exec(ctx, "select "+c.value+" from pg_temp.crmctl_verdict f where f.n operator(pg_catalog.=) $1", n)
		_, refused := refusal(err)
		if err != nil && !refused {
			return nil, err
		}
		if err := m.back(ctx); err != nil {
			return nil, err
		}
		if refused {
			return c.TableColumn, nil
		}
	}
	return nil, nil
}
