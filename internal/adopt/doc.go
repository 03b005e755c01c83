// Package adopt makes tenants of schemas that another program made and migrated. It
// reads what that program says was applied to each schema, holds it against the files of
// a plan, and registers the schemas whose history is a beginning of the plan's. The
// tenants' data and the other program's tables stay as they are.
package adopt
