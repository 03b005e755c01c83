// Package cli is the frame of a command line tool: streams, colours, tables and
// lists, JSON, YAML, CSV and NDJSON, values as people and as programs read them,
// progress, questions, help, completion, exit codes, signals, and the escaping of
// whatever comes from outside before a terminal sees it.
//
// It knows nothing of tenants or databases and imports nothing of ours but
// suggest. Only it and cmd/crmctl print.
package cli
