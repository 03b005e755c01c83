// Package maintain vacuums, analyzes and reindexes the tables of tenants, over a fleet, a table
// at a time.
//
// Each table is a statement of its own outside of a transaction, and none waits in a queue of
// locks for long: a table that is locked is passed by and tried again later, since what stands
// behind a waiting statement waits too. A table that the server passes by because of a missing
// right is never called done.
//
// Settings are given to sessions that are this program's own. Behind a pooler, where a setting
// would reach the next client, vacuum and analyze do without, and reindex is refused.
package maintain
