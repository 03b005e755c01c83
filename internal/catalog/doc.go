// Package catalog reads what stands in a schema, compares many schemas with each
// other and with what the migrations would make, and says in SQL how to mend one.
//
// A Shape is everything in a schema that migrations make: tables with columns,
// constraints, indexes, triggers, policies and rules; views, sequences, functions
// and types; comments, rights and owners. It holds no name of the schema itself,
// of its owner or of the tenant's own role, so two tenants that were made in the
// same way have the same shape, whenever that was and whatever they are called.
//
// A Fingerprint is the hash of a shape, computed on the server: a fleet is
// compared without its shapes ever travelling to the client. Nothing here changes
// the database: the expected shape is built in a transaction that is rolled back, or
// in a schema that is dropped, and a fix is printed, never run.
package catalog
