// Package metrics makes one collection of numbers about a fleet, for Prometheus and for
// spreadsheets, and serves it.
//
// Totals and distributions are always in it. What carries a tenant's name is for a few
// chosen tenants alone, so that the number of series does not grow with the fleet. Each
// collector fails for itself: it says so in crmctl_collector_success, and takes away its
// own samples and nobody else's.
//
// The text format is written by prometheus/common, from which its readers come too. The
// client library would bring a registry of live counters that a collection has no use for.
//
// It imports db, registry and stats of this project's packages.
package metrics
