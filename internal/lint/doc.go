// Package lint reads migration files of a tenant's schema and says what would go
// wrong with them on a live fleet: what leaves the tenant's schema, what blocks
// or rewrites a table, what destroys data, what goose or crmctl would refuse.
//
// It promises to run nothing and to need no database: a file is judged by its
// text and by the files before it. What those do not tell (the type a column
// had, a table made elsewhere) is taken for the worse case, and said so.
//
// Statements are read by PostgreSQL's own grammar: libpg_query compiled to
// WebAssembly (github.com/wasilibs/go-pgquery, of which only the package parser
// is used: it costs nothing before the first statement, while the types of the
// package above it cost every command 5 ms). It needs no cgo, adds 5.5 MB to the
// binary, and takes two seconds and 250 MB to be compiled for the first
// statement, 0.1 ms for each after it; only who lints pays. Its grammar is that of
// PostgreSQL 17; what 18 added to tables is understood by newer.go.
//
// Statements are read one after another and their trees dropped. Rows of constants are not
// parsed (sqltext.FewerRows), so that a file of data takes little more than its text.
//
// What a run refuses is told by the judge that the run itself asks, sqltext.Judge, and
// files are cut into statements by sqltext as a run cuts them.
//
// Errors are what a run refuses, or PostgreSQL refuses on every tenant, and nothing else
// is: what is dangerous and runs all the same is a warning.
//
// It imports sqltext and nothing else of this project, and is alone in importing the
// parser.
package lint
