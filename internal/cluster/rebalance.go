package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Step is the move of a schema that makes the nodes more alike.
type Step struct {
	Schema   string
	From, To string // "host:port"
}

// PlanRebalance returns the moves that the cluster would make, none where its nodes are
// alike enough.
func PlanRebalance(ctx context.Context, q db.Querier) ([]Step, error) {
	steps, err := db.Select(ctx, q, pgx.RowToStructByName[Step], `
		select distinct n.nspname::text as schema, p.sourcename || ':' || p.sourceport as "from",
			p.targetname || ':' || p.targetport as "to"
		from get_rebalance_table_shards_plan() p
		join pg_class c on c.oid = p.table_name
		join pg_namespace n on n.oid = c.relnamespace
		order by 1`)
	if err != nil {
		return nil, fmt.Errorf("plan the moves between the nodes: %w", err)
	}
	return steps, nil
}

// Job is a rebalancing by the cluster, in its background.
type Job struct {
	ID    int64
	State string // Citus's: "scheduled", "running", "finished", "failed", "cancelled" and others
	// Done and Moves count its moves. Errors are what failed ones met.
	Done, Moves int
	Errors      []string
}

// Ended reports whether nothing more comes of it.
func (j Job) Ended() bool {
	return j.State == "finished" || j.State == "failed" || j.State == "cancelled"
}

// JobError says that a rebalancing ended before its moves were done.
type JobError struct{ Job Job }

// Error says how far it came.
func (e *JobError) Error() string {
	text := fmt.Sprintf("rebalancing %d is %s after %d of %d moves", e.Job.ID, e.Job.State, e.Job.Done, e.Job.Moves)
	if len(e.Job.Errors) > 0 {
		text += ": " + e.Job.Errors[0]
	}
	return text
}

// ErrNoJob says that the cluster has never rebalanced.
var ErrNoJob = errors.New("nothing was rebalanced yet")

// StartRebalance begins a rebalancing as part of q's transaction, and returns its number, 0
// where nothing is to be moved.
func StartRebalance(ctx context.Context, q db.Querier) (int64, error) {
	found, err := db.Select(ctx, q, pgx.RowTo[*int64], `
		select citus_rebalance_start(shard_transfer_mode => 'force_logical')`)
	if err != nil {
		return 0, fmt.Errorf("start the moves between the nodes: %w", err)
	}
	if found[0] == nil {
		return 0, nil
	}
	return *found[0], nil
}

// Rebalancing returns the latest rebalancing. The error is ErrNoJob where there was none.
func Rebalancing(ctx context.Context, q db.Querier) (Job, error) {
	jobs, err := db.Select(ctx, q, func(row pgx.CollectableRow) (Job, error) {
		var j Job
		var counts, failed []byte
		if err := row.Scan(&j.ID, &j.State, &counts, &failed); err != nil {
			return j, err
		}
		states := map[string]int{}
		if err := json.Unmarshal(counts, &states); err != nil {
			return j, err
		}
		for state, n := range states {
			j.Moves += n
			if state == "done" {
				j.Done = n
			}
		}
		return j, json.Unmarshal(failed, &j.Errors)
	}, `
		select j.job_id, j.state::text,
			(select coalesce(json_object_agg(c.status, c.n), '{}') from (
				select t.status::text, count(*) as n from pg_dist_background_task t where t.job_id = j.job_id group by 1) c),
			(select coalesce(json_agg(trim(both from t.message)) filter (where t.message <> ''), '[]')
				from pg_dist_background_task t where t.job_id = j.job_id and t.status in ('error', 'cancelled'))
		from pg_dist_background_job j where j.job_type = 'rebalance' order by j.job_id desc limit 1`)
	switch {
	case err != nil:
		return Job{}, fmt.Errorf("look how far the moves between the nodes are: %w", err)
	case len(jobs) == 0:
		return Job{}, ErrNoJob
	}
	return jobs[0], nil
}

// Follow tells see of the latest rebalancing each time it has come further, until it ends. The
// error is a *JobError where that was before its moves were done, and ErrNoJob.
func Follow(ctx context.Context, q db.Querier, see func(Job)) (Job, error) {
	const pause = time.Second
	for {
		job, err := Rebalancing(ctx, q)
		if err != nil {
			return job, err
		}
		see(job)
		switch {
		case job.State == "finished":
			return job, nil
		case job.Ended():
			return job, &JobError{job}
		}
		select {
		case <-ctx.Done():
			return job, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
