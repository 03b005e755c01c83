// Package db is the floor every other package stands on: connections, the
// Schema identifier, tenant-scoped transactions, pipelines of statements,
// the locks of tenants and SQLSTATE helpers.
//
// A Pool lends connections to programs that run for long, and bounds those of one tenant.
//
// It promises that no statement sent through it runs in the wrong schema. Work
// for a schema happens in a transaction that sets search_path, role and
// timeouts locally (so nothing outlives the transaction, and a pooler in
// transaction mode cannot hand them to another client), checks
// current_schema(), and never has public on the path of a tenant.
//
// Every package of the project may import db; db imports none of them.
package db
