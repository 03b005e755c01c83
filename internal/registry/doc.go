// Package registry has crmctl's own tables: the tenants and their states, the audit, the
// ledger of fleet runs, the pool, what is under construction. It has the types that tell
// of them, their errors, lookups and locks, and makes, moves and ends their rows.
//
// What was read of a tenant is out of date at once. Lock, the Hold calls and QueueStill look
// again within the transaction that counts on it; Follow tells of changes to those who keep
// it.
//
// Where the tables stand is a value, Registry. Whoever works on a fleet is given it and
// hands it on; nobody else spells a table's name, which a test holds. Statements that
// join the registry with PostgreSQL's catalogs or with a tenant's tables, and those that
// are part of a pipeline over a fleet, stand with whoever sends them, and take the names
// from it.
//
// The files in migrations/ name their tables without a schema: they are run with the
// registry's schema alone on the path, so they serve any schema as they are.
//
// It imports db and suggest alone of this project's packages; everybody above may
// import it.
package registry
