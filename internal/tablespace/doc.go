// Package tablespace knows in which of a server's tablespaces the tables of a schema stand, whether
// a tablespace may be used, and how tables get from one to another.
//
// A move copies a relation while nobody reads or writes it, so each is a transaction of its
// own: what is done stays done, and the list of what is left is read from the catalog. The package
// imports db alone of this project's packages.
package tablespace
