package lint

import "github.com/crmctl/crmctl/internal/sqltext"

// Rule is one thing that Check looks for.
type Rule struct {
	Name     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Target   string   `json:"target,omitempty"` // "": everywhere; otherwise only with this Options.Target
	Summary  string   `json:"summary"`          // what is found
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
	// Enforced tells that a run refuses it too, before anything is done: the judge of
	// both is sqltext.Judge. A comment lifts catalog-guard alone of these.
	Enforced bool `json:"enforced,omitempty"`
}

// liftable reports whether a comment lifts what a run refuses too.
func (r Rule) liftable() bool { return r.Name == ruleCatalogGuard }

// retiredRules are names that comments in older files may still have.
var retiredRules = []string{"drop-schema"}

const (
	ruleSyntax           = "syntax"
	ruleGoose            = "goose"
	ruleFileName         = "file-name"
	ruleDuplicateVersion = "duplicate-version"
	ruleChangedFile      = "changed-file"
	ruleEmptyFile        = "empty-file"
	ruleMissingDown      = "missing-down"
	ruleUnchecked        = "unchecked"
	ruleAllow            = "allow"
	ruleUnusedAllow      = "unused-allow"

	ruleOtherSchema  = string(sqltext.RuleOtherSchema)
	ruleCluster      = string(sqltext.RuleCluster)
	ruleExtension    = string(sqltext.RuleExtension)
	ruleSearchPath   = string(sqltext.RuleSearchPath)
	ruleSession      = string(sqltext.RuleSession)
	rulePgDump       = string(sqltext.RuleCopy)
	ruleTransaction  = string(sqltext.RuleTransaction)
	ruleCatalogGuard = string(sqltext.RuleCatalogGuard)

	ruleSchemaGuard  = "schema-guard"
	ruleSchemaName   = "schema-name"
	ruleSharedObject = "shared-object"
	ruleSharedName   = "shared-name"
	ruleOwner        = "owner"
	ruleTemporary    = "temporary-object"
	ruleSetLocal     = "setting-of-file"
	ruleEnumValue    = "enum-value"
	ruleCall         = "call-no-transaction"
	ruleNameLength   = "name-length"
	ruleDerivedName  = "derived-name-length"
	ruleUnnamed      = "unnamed-constraint"

	ruleNeedsNoTx      = "needs-no-transaction"
	ruleOneStatement   = "one-statement"
	ruleIndexBlocks    = "index-blocks"
	ruleIndexIfMissing = "index-if-not-exists"
	ruleNotNull        = "not-null"
	ruleTypeChange     = "type-change"
	ruleVolatile       = "volatile-default"
	ruleNotValid       = "constraint-not-valid"
	ruleValidate       = "validate-same-file"
	ruleLockTable      = "lock-table"
	ruleUpdateAll      = "update-all"

	ruleDropTable  = "drop-table"
	ruleDropColumn = "drop-column"
	ruleTruncate   = "truncate"
	ruleDeleteAll  = "delete-all"
	ruleCascade    = "drop-cascade"
	ruleRename     = "rename"

	ruleCitusTrigger  = "citus-trigger"
	ruleCitusIdentity = "citus-identity"
	ruleCitusCheck    = "citus-unnamed-check"
	ruleCitusDropAdd  = "citus-drop-add"
	ruleCitusSchema   = "citus-schema-elements"
	ruleCitusMerge    = "citus-merge"
	ruleCitusForeign  = "citus-foreign-key"
	ruleCitusRename   = "citus-rename-constraint"
	ruleCitusInherits = "citus-inherits"
	ruleCitusSequence = "citus-sequence"
	ruleCitusDo       = "citus-do-table"
	ruleCitusUpsert   = "citus-on-conflict"
	ruleCitusUpdate   = "citus-update"
	ruleCitusSelect   = "citus-insert-select"
	ruleCitusJoin     = "citus-local-join"
	ruleCitusPath     = "citus-current-schema"
	ruleCitusSetting  = "citus-set-config"
	ruleCitusRole     = "citus-role"
)

// Rules returns every rule, in the order in which they are documented.
func Rules() []Rule {
	return append(append(append(fileRules(), schemaRules()...), lockRules()...), append(lossRules(), citusRules()...)...)
}

func ruleIndex() map[string]Rule {
	index := map[string]Rule{}
	for _, r := range Rules() {
		index[r.Name] = r
	}
	return index
}

func fileRules() []Rule {
	return []Rule{
		{ruleSyntax, Error, "", "what PostgreSQL cannot read", "The file would fail on every tenant.",
			"Mend the statement.", false},
		{ruleGoose, Error, "", "annotations goose cannot follow, statements it cuts in two",
			"goose refuses the file, or runs half a statement.",
			"Begin with -- +goose Up, end every statement with a semicolon at the end of a line, and put bodies of functions " +
				"between -- +goose StatementBegin and -- +goose StatementEnd.", false},
		{ruleFileName, Error, "", "a name that is not VERSION_name.sql",
			"A run refuses the whole directory: to pass by the file would leave it out without a word.",
			"Name it like 00005_add_company.sql; crmctl migrate new NAME does.", false},
		{ruleDuplicateVersion, Error, "", "two files with one version", "Only one of them could ever be applied.",
			"Give the later one the next version.", false},
		{ruleChangedFile, Error, "", "a file that is not what was applied (with --applied)",
			"Tenants that have it keep the old shape, new ones get the other.",
			"Put the file back as it was, and write a new one for what is to be different.", false},
		{ruleEmptyFile, Warning, "", "no statement in Up", "The version would be recorded and nothing done.",
			"Write the statements below -- +goose Up.", false},
		{ruleMissingDown, Warning, "", "statements in Up, none in Down", "crmctl migrate rollback stops at this version.",
			"Write below -- +goose Down what takes Up back, or allow it and say why it cannot be.", false},
		{ruleUnchecked, Warning, "", "a statement nested too deeply to be read, or longer than 1 MB (rows of constants do " +
			"not count)", "What takes PostgreSQL's grammar to be seen was not looked for in it.",
			"Write it flatter or as several statements, or read it with care yourself.", false},
		{ruleAllow, Warning, "", "crmctl:allow of an unknown rule or without a reason",
			"The next reader cannot tell whether the danger was seen.",
			"Write -- crmctl:allow RULE and why it is harmless here.", false},
		{ruleUnusedAllow, Warning, "", "crmctl:allow that silences nothing", "It would hide the next mistake.",
			"Take the comment out.", false},
	}
}

func schemaRules() []Rule {
	return []Rule{
		{ruleOtherSchema, Error, "", "what makes, changes or writes something in another schema",
			"The same file runs in every tenant's schema; a fixed one is shared by all tenants.",
			"Leave the schema out: the search_path is the tenant's. Make what all tenants share once, outside of their " +
				"migrations.", true},
		{ruleCluster, Error, "", "roles, databases, publications, casts and whatever else stands in no schema",
			"The second tenant would meet what the first one made.", "Do it once, outside of the tenants' migrations.", true},
		{ruleExtension, Error, "", "ALTER and DROP EXTENSION in Up",
			"An extension is of the whole database. (CREATE EXTENSION is made once for it, DROP EXTENSION in Down is passed " +
				"over.)", "Change it once, outside of the tenants' migrations.", true},
		{ruleSearchPath, Error, "", "SET search_path, set_config('search_path', …)",
			"Everything after it lands in another schema.",
			"Take it out: crmctl sets the search_path for each tenant. What pg_dump wrote names its schema in front of every " +
				"name: take that out too.", true},
		{ruleSession, Error, "", "SET ROLE, SET of what a run relies on, RESET ALL, DISCARD",
			"A run relies on it, for this tenant and those after it.", "Leave it out. Other settings end with the file.", true},
		{rulePgDump, Error, "", "commands of psql, COPY FROM stdin", "They are no statements of a migration.",
			"Keep the CREATE and ALTER statements of the dump alone, and write rows as INSERT.", true},
		{ruleTransaction, Error, "", "BEGIN, COMMIT, ROLLBACK", "A tenant's migrations are one transaction already.",
			"Take it out; -- +goose NO TRANSACTION is for what cannot run in one.", true},
		{ruleCatalogGuard, Error, "", "IF NOT EXISTS by bare name over pg_indexes, pg_type, information_schema and the " +
			"like; IF EXISTS with table_schema = 'public' and the like",
			"They show the objects of every tenant: the first tenant gets what the guard protects, the others do without. " +
				"public is no tenant's schema: what is done where it has something is done for none.",
			"Add the schema to the question (the message shows how), write CREATE … IF NOT EXISTS, or allow it and " +
				"say why it " +
				"is right.", true},
		{ruleSchemaGuard, Warning, "", "IF NOT EXISTS with table_schema = 'public' and the like",
			"It asks about another schema than the tenant's: what it protects is done for every tenant, the second time too, " +
				"or for none where public has such a thing.",
			"Write current_schema() instead (the message shows how); allow it where all tenants are to go by what stands in " +
				"public.", false},
		{ruleSchemaName, Warning, "", "a table of another schema, or one of public whose name the tenants have too",
			"Every tenant would use the same one, and a restore elsewhere lacks it.",
			"Leave the schema out; allow it where all tenants are meant to share it.", false},
		{ruleSharedObject, Warning, "", "a type, function or operator class of a schema other than public",
			"The tenant's schema cannot be restored where it is missing.",
			"Right for what an extension made: allow it and name the extension. Otherwise leave the schema out.", false},
		{ruleSharedName, Warning, "", "with shared_schemas: what a tenant does not have (yet, or any more) is changed, or " +
			"one of its tables is read then", "The name is found in a shared schema instead, which is of all tenants; a run " +
			"refuses to change what stands there.", "Mend the order of the files, or name the schema.", false},
		{ruleTemporary, Warning, "", "temporary objects, prepared statements, session locks",
			"Each tenant gets a session of its own for it, which costs a connection; the next file does not find it where the " +
				"plan is cut, nor does a new tenant made from the final shape.",
			"Use a table that the same file drops, or WITH; allow it where the file alone uses it.", false},
		{ruleSetLocal, Warning, "", "a setting that ends with its file",
			"As in goose it ends with the transaction of the file; the files after it run without it.",
			"Set it in each file that needs it, behind SET LOCAL in the same file.", false},
		{ruleEnumValue, Warning, "", "an enum's value used in the run that adds it",
			"PostgreSQL lets nobody use the value before the transaction that added it has ended: within one file it fails, " +
				"in a later file the run is cut in two there, and what is done before the cut stays.",
			"Use it in a later file; allow it where two transactions are harmless.", false},
		{ruleCall, Warning, "", "CALL in a NO TRANSACTION file",
			"What the procedure commits before it fails stays, and the next run calls it again from its beginning.",
			"See that the procedure can be called again, allow it and say so.", false},
		{ruleOwner, Warning, "", "OWNER TO, REASSIGN OWNED",
			"The tenant's objects belong to the role that migrates; another owner shuts it out.",
			"Take it out; grant rights instead.", false},
		{ruleNameLength, Warning, "", "a name over 63 bytes",
			"PostgreSQL cuts it with a notice, and two long names become one.", "Choose a shorter name.", false},
		{ruleDerivedName, Warning, "", "an index or constraint whose made-up name is over 63 bytes",
			"PostgreSQL shortens parts of it, so the name is not what one expects.", "Name it yourself.", false},
		{ruleUnnamed, Warning, "", "CHECK, UNIQUE, EXCLUDE or FOREIGN KEY without a name",
			"Its name depends on what was there before, so it may differ between tenants.",
			"Write CONSTRAINT name before it.", false},
	}
}

func lockRules() []Rule {
	return []Rule{
		{ruleNeedsNoTx, Error, "", "CONCURRENTLY, VACUUM and the like in a transaction", "PostgreSQL refuses it there.",
			"Put it alone into a file with -- +goose NO TRANSACTION.", false},
		{ruleOneStatement, Warning, "", "several statements in a NO TRANSACTION file",
			"When a later one fails the earlier ones are done. crmctl goes on with the one that failed, but other tools begin " +
				"again, and a tenant stands between two versions.", "One statement a file.", false},
		{ruleIndexBlocks, Warning, "", "an index or a unique constraint built on a table that is there, not CONCURRENTLY",
			"Writes to the table wait until the index is built.",
			"CREATE INDEX CONCURRENTLY in a file with -- +goose NO TRANSACTION; for a constraint, ADD CONSTRAINT … USING " +
				"INDEX after it.", false},
		{ruleIndexIfMissing, Warning, "", "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
			"An interrupted build leaves an invalid index, which IF NOT EXISTS takes for a good one.",
			"Leave IF NOT EXISTS out: crmctl drops the invalid index before it tries again.", false},
		{ruleNotNull, Warning, "", "NOT NULL on a column that is there, without a validated check before",
			"The whole table is read under a lock that stops even readers.",
			"ADD CONSTRAINT name CHECK (column IS NOT NULL) NOT VALID; VALIDATE CONSTRAINT in a later NO TRANSACTION file; " +
				"SET NOT NULL after that.", false},
		{ruleTypeChange, Warning, "", "a column's type changed so that the table is rewritten",
			"The table and its indexes are written anew under a lock that stops even readers.",
			"Add a column of the new type, fill it in batches, switch over.", false},
		{ruleVolatile, Warning, "", "ADD COLUMN with a volatile default, serial, identity or stored expression",
			"The table is rewritten under a lock that stops even readers.",
			"Add the column without, SET DEFAULT in a statement of its own, fill the old rows in batches.", false},
		{ruleNotValid, Warning, "", "a foreign key or check added to a table that is there, without NOT VALID",
			"The whole table is read while writes wait.",
			"Add it NOT VALID, and VALIDATE CONSTRAINT in a later NO TRANSACTION file.", false},
		{ruleValidate, Warning, "", "VALIDATE CONSTRAINT in the transaction that added it",
			"Both are one transaction: the lock of the first is held while the table is read.",
			"Put it alone into a later file with -- +goose NO TRANSACTION, which runs after the commit.", false},
		{ruleLockTable, Warning, "", "LOCK TABLE", "It is held until the whole migration of the tenant ends.",
			"Leave it out, or allow it and say what would go wrong without.", false},
		{ruleUpdateAll, Warning, "", "UPDATE without WHERE in a file that alters tables",
			"The locks of the alterations are held while every row is written.",
			"Put it into a file of its own, or fill in batches outside the migration.", false},
	}
}

func lossRules() []Rule {
	return []Rule{
		{ruleDropTable, Warning, "", "DROP TABLE of a table with data", "The rows are gone in every tenant.",
			"Stop using it first; then allow this and say since when nothing reads it.", false},
		{ruleDropColumn, Warning, "", "DROP COLUMN",
			"The values are gone in every tenant, and code that still names the column fails.",
			"Stop using it first; then allow this and say since when nothing reads it.", false},
		{ruleTruncate, Warning, "", "TRUNCATE", "Every row is gone, and the table is locked against readers.",
			"Delete what has to go, with a WHERE.", false},
		{ruleDeleteAll, Warning, "", "DELETE without WHERE", "Every row is gone in every tenant.", "Say which rows.", false},
		{ruleCascade, Warning, "", "DROP … CASCADE", "It drops what this file does not name.",
			"Drop each thing by its name.", false},
		{ruleRename, Warning, "", "a table or column renamed",
			"The code that runs during the migration still uses the old name.",
			"Add the new one, copy, switch the code, drop the old one later.", false},
	}
}

func citusRules() []Rule {
	return []Rule{
		{ruleCitusTrigger, Error, Citus, "CREATE TRIGGER", "Citus has no triggers on distributed tables.",
			"Let the code that writes do it.", false},
		{ruleCitusIdentity, Error, Citus, "ADD COLUMN serial or identity", "Citus refuses it on a distributed table.",
			"Use a uuid, or create the table with the column.", false},
		{ruleCitusCheck, Error, Citus, "ADD COLUMN with a CHECK without a name",
			"Citus refuses it: the name would differ between nodes.",
			"Add the column, then ADD CONSTRAINT name in a statement of its own.", false},
		{ruleCitusDropAdd, Error, Citus, "ADD CONSTRAINT beside another command in one ALTER TABLE",
			"Citus refuses several commands of which one adds a constraint.", "Two statements.", false},
		{ruleCitusSchema, Error, Citus, "CREATE SCHEMA with objects in it", "Citus refuses it.",
			"Create the objects in statements of their own.", false},
		{ruleCitusMerge, Error, Citus, "MERGE that inserts into a table with a volatile default",
			"Citus refuses functions that are not immutable there.", "INSERT … ON CONFLICT.", false},
		{ruleCitusForeign, Error, Citus, "a foreign key to a table of another schema",
			"A distributed table cannot refer to a local one.", "Keep foreign keys within the tenant's schema.", false},
		{ruleCitusRename, Error, Citus, "RENAME CONSTRAINT", "Citus refuses it on a distributed table.",
			"Drop the constraint and add it under the new name, in two statements.", false},
		{ruleCitusInherits, Error, Citus, "INHERITS", "A table of a distributed schema can neither inherit nor be inherited.",
			"Partitions, or tables of their own.", false},
		{ruleCitusSequence, Error, Citus, "ALTER SEQUENCE, setval",
			"Citus refuses the one; the other makes nodes use the same numbers, since each has a range of its own.",
			"Leave sequences alone.", false},
		{ruleCitusDo, Error, Citus, "CREATE TABLE in a DO block",
			"The table stays on the coordinator, silently, and cannot be joined with the tenant's others.",
			"CREATE TABLE as a statement of its own.", false},
		{ruleCitusUpsert, Error, Citus, "a function such as now() in DO UPDATE SET",
			"Citus refuses functions that are not immutable there.", "excluded.updated_at, or a value.", false},
		{ruleCitusUpdate, Error, Citus, "a volatile function in an UPDATE",
			"Citus refuses it: each copy of a row might get another value.", "A value, or now().", false},
		{ruleCitusSelect, Warning, Citus, "INSERT INTO ... SELECT that leaves a column to its default",
			"Where the default is now() or the like, Citus sends the node what it cannot parse.",
			"List every column, or read from a WITH ... AS MATERIALIZED.", false},
		{ruleCitusJoin, Error, Citus, "a subquery or an outer join that mixes a tenant's table with a local one",
			"Citus does not join a tenant's table with a temporary one or one of another schema that way.",
			"WITH ... AS MATERIALIZED, or a table of the tenant's schema.", false},
		{ruleCitusPath, Error, Citus, "current_schema() in a statement that reads a table",
			"It runs on the node, where it is public.", "A statement of its own, or the name.", false},
		{ruleCitusSetting, Warning, Citus, "set_config()", "What it sets stays on the coordinator.", "SET LOCAL.", false},
		{ruleCitusRole, Warning, Citus, "SET ROLE",
			"Citus works on the node as the role, which must be able to log in there, and refuses to change it after a write.",
			"Let crmctl take the owner's role.", false},
	}
}
