// Package importer loads a file of contacts into one tenant. It promises that
//
//   - every row of the file ends in exactly one of inserted, updated, unchanged,
//     repeated or rejected, and the five add up to the rows read;
//   - an import is one transaction: whatever happens to the process, the tenant
//     has all of the file or nothing of it;
//   - importing the same file again changes nothing;
//   - memory does not grow with the file (below 100 MB at any size).
//
// A contact's e-mail address is its key, unless Options.Key names another: trimmed,
// in lower case, unique in the tenant. A contact without one is the same as another when
// phone, name, company and metadata all agree.
//
// Rows of one file with the same key become one, by Options.InFile, before they meet
// the contact. The first counts as what became of the contact, the others as repeated.
//
// What comes through a pipe is read to its end before anything is locked. A file that
// changes while it is read is refused.
//
// An empty tenant is loaded faster: its contacts are locked against everybody,
// their indexes dropped, the rows copied straight in and the indexes made again
// by their old definitions, all in the import's transaction. What cannot be had
// at once (the lock) or at all (ownership) is done without.
//
// The package stands on db and on tabular, which reads the files, and knows
// nothing of the registry. It never prints.
package importer
