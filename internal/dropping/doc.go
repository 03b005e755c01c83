// Package dropping drops what stands in a schema in as many transactions as the server's
// lock table needs: each relation, index and constraint takes a lock that is held to the
// end of the transaction, and a server with the default settings has room for a few
// hundred tables.
//
// Whoever drops says in each transaction what makes the schema its own to drop; this
// package says what goes together into one. It imports db and nothing else of ours.
package dropping
