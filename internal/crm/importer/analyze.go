package importer

import (
	"context"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// What autovacuum takes for enough changes to analyze a table, by default.
const (
	analyzeRows = 50
	analyzePart = 0.1
)

// worthAnalyzing reports whether as many rows were written that what is known of the
// table is not true any more. tuples are its rows as of the last analysis, -1 for never.
func worthAnalyzing(tuples float64, written int64) bool {
	return written > 0 && (tuples < 0 || float64(written) >= analyzeRows+analyzePart*tuples)
}

// analyzeMerged analyzes contacts after a merge that has changed much of the table: until
// autovacuum comes by, plans and the number of contacts would be those from before. Where
// somebody holds a lock that is in the way it is left to autovacuum.
func (l *load) analyzeMerged(ctx context.Context, q db.Querier) error {
	written := l.merge.inserted + l.merge.updated
	if l.o.DryRun || !l.table.Owned || !worthAnalyzing(l.table.Tuples, written) {
		return nil
	}
	return l.analyze(ctx, q, "analyze (skip_locked) ")
}

func (l *load) analyze(ctx context.Context, q db.Querier, how string) error {
	var p db.Pipeline
	p.Apart(how + contactsOf(l.o.Schema))
	if err := p.Run(ctx, q); err != nil {
		return fmt.Errorf("analyze contacts: %w", db.Plain(err))
	}
	return nil
}
