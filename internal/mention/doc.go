// Package mention finds what in a database holds the name of a schema as text: it
// goes on meaning the name, and not the schema, when the schema is renamed, and
// means the next schema of that name then. What refers to the schema by its identity,
// as views and foreign keys do, follows a rename and is no mention.
//
// It promises to look at all of the catalog that a session may read. What is in
// tables (the jobs of pg_cron, say), in the secrets of user mappings and
// subscriptions, in other databases, in applications and on subscribers is out of its
// reach, and so are names that are put together at run time.
//
// It imports db alone of this project's packages, and changes nothing.
package mention
