// Package backup writes a tenant into one file, reads it back, and copies one
// tenant to another.
//
// A backup is a container of its own (docs/backup-format.md): what was saved and
// from where, the rows of each table as COPY gives them, compressed, and
// checksums over every table and over the whole, so that a file that was cut or
// changed anywhere is never taken for a whole one. It is written and read as a
// stream: memory stays flat whatever the size.
//
// It promises that a backup is one moment of its tenant (a repeatable read
// snapshot, with the tables locked against changes of their structure); that what
// it costs does not grow with the fleet, since the catalog is only asked for the
// objects of one schema; that a file appears whole under its name or not at all;
// and that a restore or a clone is one transaction that leaves a whole tenant or
// nothing.
//
// A schema is built from its migrations, at the version of the backup, by a script that
// comes in from outside. Of a tenant that is not what these make its own structure is in
// the file; SQL of a file is taken for hostile (wall.go). It imports db, fleet,
// catalog and planted alone of this project's packages.
package backup
