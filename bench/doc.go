// Command bench measures crmctl as whole processes against the limit of the
// server: a bare pgx program that sends the same statements, one transaction a
// tenant, as one string, over the same number of connections, and does nothing
// else. Everything that is compared runs in turn on one private server with
// fsync on, and is compared as a ratio, since the speed of a machine drifts.
//
//	go run ./bench -tenants 1000 -rounds 3
//
// With -only peers it is measured against other programs that migrate schemas, on
// the same server too: goose, golang-migrate, tern and knex (scripts/peers.sh).
//
//	go run ./bench -only peers -tenants 200
//
// With -only scale it does the same to fleets of several sizes, and -write puts the
// figures, a page and a plot into a directory.
//
//	go run ./bench -only scale -sizes 1000,2000 -write docs
//
// Databases are renamed away between runs, never dropped: dropping thousands of
// small files makes some file systems slow for minutes afterwards.
package main
