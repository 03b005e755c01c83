package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
)

// sequenceChunk is how many sequences one statement reads: each is two locks.
const sequenceChunk = 100

// owned is a sequence that gives a column its values.
type owned struct {
	Slug, Schema, Sequence, Table, Column string
}

// read returns what has to be an ordinary sequence and an ordinary column before the
// server is asked for their values.
func (o owned) read() []planted.Table {
	return []planted.Table{
		{Schema: o.Schema, Name: o.Table, Columns: []string{o.Column}},
		{Schema: o.Schema, Name: o.Sequence, Sequence: true},
	}
}

// checkSequences looks at the sequences of columns that begin an index, as those of
// keys do: the greatest value of any other would be a scan of its table. Those of a tenant
// that stands on a node are left out: each node counts in a range of its own.
func checkSequences(ctx context.Context, x *examination) ([]Finding, error) {
	all, err := db.Select(ctx, x.conn, pgx.RowToStructByName[owned], `
		select s.slug, s.nspname::text as schema, q.relname::text as sequence, c.relname::text as table,
			a.attname::text as column
		from pg_depend d
		join pg_class q on q.oid = d.objid and q.relkind = 'S'
		join `+x.fleet.tenantSchemas()+` s on s.oid = q.relnamespace
		join pg_class c on c.oid = d.refobjid and c.relnamespace = s.oid and c.relkind in ('r', 'p')
		join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
			and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
		join pg_sequence p on p.seqrelid = q.oid and p.seqincrement > 0 and not p.seqcycle
		where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
			and s.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved')
		  and exists (select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null
		  	and i.indkey[0] = a.attnum)
		order by s.slug, q.relname`)
	if err != nil {
		return nil, err
	}
	places, err := cluster.FindPlaces(ctx, x.conn)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o owned) bool { return places.Of(o.Schema).Kind == cluster.Distributed })
	var out []Finding
	unread := 0
	for start := 0; start < len(all); start += sequenceChunk {
		chunk := all[start:min(start+sequenceChunk, len(all))]
		found, bad, err := x.readSequences(ctx, chunk)
		if err != nil {
			return nil, err
		}
		out, unread = append(out, found...), unread+bad
	}
	if unread > 0 {
		x.notChecked("%s could not be read", plural(unread, "sequence"))
	}
	return out, nil
}

// readSequences reads some sequences in one statement; where that fails for one of
// them, each by itself.
func (x *examination) readSequences(ctx context.Context, chunk []owned) (found []Finding, unread int, _ error) {
	var sql strings.Builder
	var read []planted.Table
	for i, o := range chunk {
		read = append(read, o.read()...)
		if i > 0 {
			sql.WriteString(" union all ")
		}
		sql.WriteString("select " + strconv.Itoa(i) +
			" as at, m.most::bigint, case when q.is_called then q.last_value else q.last_value - 1 end as last from " +
			db.Quoted(o.Schema, o.Sequence) + " q, (select max(" + db.Quoted(o.Column) + ") as most from " +
			db.Quoted(o.Schema, o.Table) + ") m")
	}
	type row struct {
		At         int
		Most, Last *int64
	}
	var rows []row
	err := db.InTx(ctx, x.conn, db.Locals{LockTimeout: x.o.LockTimeout}, func(ctx context.Context,
		q db.Querier) (err error) {
		var plain db.Pipeline
		planted.QueueRead(&plain, read)
		if err := plain.Run(ctx, q); err != nil {
			return err
		}
		r, err := q.Query(ctx, sql.String())
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(r, pgx.RowToStructByName[row])
		return err
	})
	switch {
	case err != nil && db.SQLState(err) == "":
		return nil, 0, err
	case err != nil && len(chunk) == 1:
		return nil, 1, nil
	case err != nil:
		for i := range chunk {
			f, bad, err := x.readSequences(ctx, chunk[i:i+1])
			if err != nil {
				return nil, 0, err
			}
			found, unread = append(found, f...), unread+bad
		}
		return found, unread, nil
	}
	for _, r := range rows {
		if r.Most == nil || r.Last == nil || *r.Most <= *r.Last {
			continue
		}
		o := chunk[r.At]
		found = append(found, Finding{Severity: Error, Subject: o.Slug, Tenant: o.Slug,
			What:    fmt.Sprintf("sequence %s is at %d, but %s.%s has %d", o.Sequence, *r.Last, o.Table, o.Column, *r.Most),
			Command: "crmctl doctor --fix " + string(Sequence), fix: advance(x.tenantNamed(o.Slug), o)})
	}
	return found, 0, nil
}
