package crm

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	// few is how many rows are found at once before they are put in order.
	few = 1_000
	// So many of the first rows of a table tell that a condition is true of many.
	many = few / 50
)

// ifFew returns conditions that name the rows of the table for which the conditions are true,
// where these are few, else the conditions as they are. An index finds them, in no order, and
// few rows are cheap to put in order. Where there are more, so many rows are among them that a
// page is soon full by reading in the order of the page; these are recognized by the first
// rows of the table, since an index of metadata would find all of them before the first. The
// server itself would have to guess which it is.
func (r *Reader) ifFew(ctx context.Context, t table, alias string, where []string,
	args []any) ([]string, []any, error) {
	condition := strings.Join(where, " and ")
	var hits int64
	err := r.q.QueryRow(ctx, "select pg_catalog.count(*) from (select * from "+t.name+" "+alias+" order by "+alias+
		".id limit "+strconv.Itoa(few)+") "+alias+" where "+condition, args...).Scan(&hits)
	if err != nil || hits >= many {
		return where, args, err
	}
	var found []string
	var p db.Pipeline
	p.Exec("select pg_catalog.set_config('enable_seqscan', 'off', true)")
	p.Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, "select "+alias+".id::pg_catalog.text from "+t.name+" "+alias+" where "+condition+" limit "+
		strconv.Itoa(few), args...)
	p.Exec("select pg_catalog.set_config('enable_seqscan', 'on', true)")
	if err := p.Run(ctx, r.q); err != nil {
		return nil, nil, db.Plain(err)
	}
	if len(found) == few {
		return where, args, nil
	}
	return []string{t.isAny(alias, "id", "$1")}, []any{found}, nil
}
