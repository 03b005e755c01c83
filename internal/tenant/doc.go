// Package tenant is the life of a tenant: creation, states, rename, role, the pool of
// schemas, deletion with retention, and purge, each with its row of the audit.
//
// It promises that a tenant is whole or absent: registry row, schema, tables and
// audit row are one transaction. And that nothing is lost by accident: only
// Purge drops a schema, only what the registry calls deleted and overdue, after
// a second look under a row lock.
//
// What a schema is built from comes in as a script.
package tenant
