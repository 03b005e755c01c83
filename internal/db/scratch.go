package db

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Scratch is where the tables stand that a transaction makes for itself, called crmctl_NAME:
// on PostgreSQL they are temporary. A cluster neither joins those with the tables of a
// tenant, which stand on another node, nor sends a statement there whose now() is still to
// be found. So there they are tables of the tenant's schema, which the transaction drops
// before it ends, and the time is written down.
type Scratch struct {
	swap *strings.Replacer // nil on PostgreSQL
	made []string
}

const (
	scratchTable = "create temporary table crmctl_"
	scratchName  = "pg_temp.crmctl_"
)

// NewScratch returns the scratch of a transaction that began at now and works in s.
func NewScratch(q Querier, s Schema, now time.Time) *Scratch {
	if !EngineOf(q).Distributed() {
		return &Scratch{}
	}
	name := s.Quoted() + ".crmctl_"
	return &Scratch{swap: strings.NewReplacer(scratchTable, "create table "+name, scratchName, name, " on commit drop", "",
		"pg_catalog.now()", Literal(now.UTC().Format("2006-01-02 15:04:05.999999Z"))+"::timestamp with time zone")}
}

// SQL returns a statement of ours, in which scratch tables stand in pg_temp and are made ON
// COMMIT DROP, as it is sent.
func (s *Scratch) SQL(sql string) string {
	if s.swap == nil {
		return sql
	}
	if _, name, made := strings.Cut(sql, scratchTable); made {
		name = scratchName + name[:strings.IndexAny(name, " (\n")]
		if table := s.swap.Replace(name); !slices.Contains(s.made, table) {
			s.made = append(s.made, table)
		}
	}
	return s.swap.Replace(sql)
}

// On returns q for statements as SQL takes them: q itself on PostgreSQL.
func (s *Scratch) On(q Querier) Querier {
	if s.swap == nil {
		return q
	}
	return &scratchQuerier{Querier: q, scratch: s}
}

// Drop adds the end of the tables, where they do not end by themselves.
func (s *Scratch) Drop(p *Pipeline) {
	if len(s.made) > 0 {
		p.distributed("drop table if exists " + strings.Join(s.made, ", "))
	}
}

type scratchQuerier struct {
	Querier

	scratch *Scratch
}

// Exec is pgx's.
func (q *scratchQuerier) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return q.Querier.Exec(ctx, q.scratch.SQL(sql), args...)
}

// Query is pgx's.
func (q *scratchQuerier) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return q.Querier.Query(ctx, q.scratch.SQL(sql), args...)
}

// QueryRow is pgx's.
func (q *scratchQuerier) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return q.Querier.QueryRow(ctx, q.scratch.SQL(sql), args...)
}

// SendBatch is pgx's.
func (q *scratchQuerier) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	for _, s := range b.QueuedQueries {
		s.SQL = q.scratch.SQL(s.SQL)
	}
	return q.Querier.SendBatch(ctx, b)
}
