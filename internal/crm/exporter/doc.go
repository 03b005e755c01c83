// Package exporter writes the contacts, conversations or messages of tenants to a file. It
// promises that
//
//   - what is written of a tenant is one moment of it, read by one statement in a read-only
//     transaction, whose conditions are parameters;
//   - a file of contacts, imported again, changes nothing: every value comes back as it was,
//     in every format;
//   - a spreadsheet computes nothing of it, unless that is asked for;
//   - memory does not grow with the file: it holds a row, and what is on its way;
//   - nothing that somebody planted in a tenant runs as the session's role.
//
// Rows come by COPY in its binary format, which costs the server less than text, and are
// written as they come.
//
// The package stands on db and knows nothing of the registry. It never prints.
package exporter
