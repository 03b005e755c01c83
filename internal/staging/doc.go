// Package staging builds schemas whose migrations cannot run in one transaction.
//
// Such a schema stands there, under its name, while it is not a tenant yet. A row of
// the registry says so: it is committed along with the empty schema, and its
// builder keeps it locked from a connection that does nothing else. The transaction that
// makes the schema a tenant deletes the row. So every other command, which goes by the
// registry's tenants, passes the schema by, and whoever finds a row that nobody has
// locked knows that its builder is dead, and clears the schema away (Clear).
//
// Three strengths of row locks keep them apart: the builder holds "no key update", each
// transaction of the build "key share", which goes along with it, and who clears takes
// "update", which goes with neither.
package staging
