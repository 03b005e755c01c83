// Package crm is the data of one tenant: contacts, conversations, messages.
//
// Its core is Import, which loads a file of contacts. It promises that
//
//   - every row of the file ends in exactly one of inserted, updated, unchanged
//     or rejected, and the four add up to the rows read;
//   - an import is one transaction: whatever happens to the process, the tenant
//     has all of the file or nothing of it;
//   - importing the same file again changes nothing;
//   - memory does not grow with the file (below 100 MB at any size).
//
// A contact's e-mail address is its key: trimmed, in lower case, unique in the
// tenant. A contact without one is the same as another when phone, name, company
// and metadata all agree.
//
// The package stands on db (and on csvfile, which reads the files) and knows
// nothing of the registry. It never prints.
package crm
