// Package shape makes new schemas cost what they are, not how they came to be: a
// history of a hundred migrations is replayed, in transactions that are rolled back,
// and what stands there afterwards, objects, rows and sequences, is kept in the
// registry as a script that makes the same.
//
// It promises that the script makes what the history makes, and would rather be
// refused than wrong:
//
//   - The history is replayed twice, under names that have nothing in common, so that
//     what comes from a clock, a random number or the schema's name is noticed.
//   - What it reads or changes elsewhere is noticed by the session's own statistics
//     and by fresh rows of the catalogs.
//   - What no replay can tell (a day, a coin, a table of another schema that may
//     change) is judged by the words of its statements, rather too strictly.
//   - The script is run before it is kept, rolled back too, and the result compared:
//     the fingerprint of package catalog, a second look at the catalogs themselves,
//     every row and every sequence.
//   - It is kept for the migrations, the server's major version, the owner, and a
//     digest of whatever else of the database migrations depend on.
//
// Where the script would not make the same there is a reason in words instead, and
// the caller goes through the history.
//
// It imports db and catalog alone of this project's packages; histories come in as
// scripts.
package shape
