// Package doctor finds what is wrong with a fleet: where the registry, the schemas,
// their versions, indexes, owners, roles and grants, and the server, are not what they
// should be.
//
// Each check is a query over the whole catalog, or over a hundred tenants at a time
// where their own tables must be read, so that ten thousand tenants take seconds. What
// this session may not read is told as not checked, and is never taken for healthy.
// Looking changes nothing.
//
// Fix mends the classes that can be mended without losing anything. No table, schema
// or row is ever dropped: a schema nobody knows is renamed, a row without a schema is
// marked as deleted. The one thing dropped is an index that PostgreSQL itself calls
// invalid.
//
// It imports db and nothing else of ours: what the migrations and the ledger know
// comes as functions of Fleet.
package doctor
