// Package stats answers what the fleet takes and does: the monitoring queries.
//
// The schemas come from the registry, never from a pattern on their names, and
// the figures from pg_catalog. What cannot be known is said to be unknown, never
// zero: a schema that is gone has no size.
//
// Nothing here waits for a tenant that is being migrated: where a lock is not
// granted at once, the estimate stands in for the measure.
//
// It imports db alone of this project's packages.
package stats
