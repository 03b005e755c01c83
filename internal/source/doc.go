// Package source reads the tenants that an application names itself: one query of the
// user's, which is the truth about which tenants there are, and what the registry has to
// change to follow it.
//
// The query is somebody else's text. It runs in a transaction that is read only and one
// moment, with limits for locks and for its time, and with nothing but pg_catalog on the
// path, so that every table it reads is named with its schema. It is described before it
// runs: what has other columns, other types or parameters does not run at all.
//
// Package app carries out what Compare finds. source imports db, registry and sqltext.
package source
