// Package tenant is the registry and the life of a tenant: names, creation,
// deletion with retention, purge, and the audit of it all.
//
// It promises that a tenant is whole or absent: registry row, schema, tables and
// audit row are one transaction. And that nothing is lost by accident: only
// Purge drops a schema, only what the registry calls deleted and overdue, after
// a second look under a row lock.
//
// It imports db and fleet alone of this project's packages; what a schema is
// built from comes in as a script.
package tenant
