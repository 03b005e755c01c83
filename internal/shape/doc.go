// Package shape makes new schemas cost what they are, not how they came to be: a
// history of a hundred migrations is replayed once, in a transaction that is rolled
// back, and what stands there afterwards, objects, rows and sequences, is kept in
// the registry as a script that makes the same.
//
// It promises that the script makes what the history makes. Before it is kept it is
// run, rolled back too, and the result compared: the fingerprint of package catalog
// and every row. The history is replayed twice, so that what comes from a clock, a
// random number or the schema's name is noticed; and one that reads or changes
// anything outside the schema is left alone. Where the script would not make the
// same, there is a reason in words instead, and the caller goes through the history.
//
// It imports db and catalog alone of this project's packages; histories come in as
// scripts.
package shape
