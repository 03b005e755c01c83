package doctor

import "slices"

// Severity says how much a finding matters.
type Severity string

// Error is something that is broken now; Warning will break, or hides what is; Info is
// worth knowing.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Class is a kind of finding.
type Class string

// The classes.
const (
	Registry        Class = "registry"
	InvalidRowClass Class = "invalid-row"
	OrphanSchema    Class = "orphan-schema"
	GhostRow        Class = "ghost-row"
	HalfBuilt       Class = "half-built"
	Pool            Class = "pool"
	Quarantine      Class = "quarantine"
	PurgeStuck      Class = "purge-stuck"
	PurgeOverdue    Class = "purge-overdue"
	TransferOpen    Class = "transfer"
	DirtyTenant     Class = "dirty"
	OpenRun         Class = "open-run"
	Version         Class = "version"
	Behind          Class = "behind"
	InvalidIndex    Class = "invalid-index"
	MissingIndex    Class = "missing-index"
	Owner           Class = "owner"
	Planted         Class = "planted"
	Creators        Class = "creators"
	Grants          Class = "grants"
	PublicObject    Class = "public-object"
	SharedName      Class = "shared-name"
	PublicWritable  Class = "public-writable"
	Shadowing       Class = "shadowing"
	Sequence        Class = "sequence"
	Connections     Class = "connections"
	Locks           Class = "locks"
	Prepared        Class = "prepared"
	Wraparound      Class = "wraparound"
	Autovacuum      Class = "autovacuum"
	Nodes           Class = "nodes"
	LocalTenant     Class = "local-tenant"
	LocalTable      Class = "local-table"
	Leftovers       Class = "leftovers"
	NodeLogin       Class = "node-login"
	Spread          Class = "spread"
)

// Check says what a class looks for, and why.
type Check struct {
	Class Class
	Looks string // "schemas of tenants that the registry does not know"
	Why   string // why it matters, a sentence
	// Fix says what Fix does about it, "" where that is for people.
	Fix string

	run checkFunc
}

// Checks returns every check, in the order they run.
func Checks() []Check {
	return slices.Concat(registryChecks(), schemaChecks(), serverChecks(), clusterChecks())
}

func registryChecks() []Check {
	return []Check{
		{Registry, "a registry at another version than this program, or of another role",
			"crmctl reads and writes tables that an older registry lacks; whoever owns one can have crmctl run his code.", "",
			checkRegistry},
		{InvalidRowClass, "rows of the registry that crmctl would not have written",
			"Every command passes them by: nobody migrates, backs up or purges what they stand for.", "", checkInvalidRows},
		{OrphanSchema, "schemas of tenants that the registry does not know",
			"Nobody migrates, backs up or purges them, and a new tenant of that name cannot be made.",
			"renames the schema, nothing is dropped", checkOrphans},
		{GhostRow, "rows of the registry whose schema is gone", "Every command that reaches the tenant fails.",
			"marks the tenant as deleted, which undelete takes back", checkGhosts},
		{HalfBuilt, "schemas that a killed command has left half built", "They take room, and belong to nobody.",
			"drops what was built of them, which was no tenant yet", checkBuilds},
		{Pool, "schemas that were made ready for tenants to come, and the list of them, that differ",
			"What is not listed is never used; what is listed and gone fails the tenant that is given it.",
			"renames the schema that is not listed, nothing is dropped", checkPool},
		{Quarantine, "schemas that were set aside", "They take room until somebody looks at them and drops them.", "",
			checkQuarantine},
		{PurgeStuck, "purges that have begun and not ended", "The tenant's data is half gone, and there is no way back.", "",
			checkPurgeStuck},
		{PurgeOverdue, "deleted tenants whose retention was over long ago", "Data is kept that was promised to be destroyed.",
			"", checkPurgeOverdue},
		{TransferOpen, "transfers to other databases that have begun and not ended",
			"Nobody opens, migrates or fills the tenant meanwhile.", "", checkTransfers},
		{DirtyTenant, "tenants in the middle of a migration that could not run in a transaction",
			"Their schema is at no version, and no migration goes on there.", "", checkDirty},
		{OpenRun, "migration runs that were killed and are open in the ledger", "They look as if they were under way.",
			"closes them as killed", checkRuns},
		{Version, "tenants whose schema is not at the version that the registry says",
			"Migrations are planned by the registry: some would be left out, or run twice.",
			"writes the schema's version into the registry", checkVersions},
		{Behind, "tenants with pending migrations", "The application may expect what they do not have yet.", "", checkBehind},
	}
}

func schemaChecks() []Check {
	return []Check{
		{InvalidIndex, "indexes that PostgreSQL calls invalid",
			"They cost every write and serve no query; a build that was cut off leaves them.",
			"drops them, concurrently; drift shows what is missing then", checkInvalidIndexes},
		{MissingIndex, "indexes that most tenants of the same version have",
			"Queries that are quick for the others scan the whole table.", "", checkMissingIndexes},
		{Owner, "objects that do not belong to the owner of the tenant's schema", "The role that migrates cannot alter them.",
			"", checkOwners},
		{Planted, "code of other roles in tenants' schemas",
			"It would run as this program's role, so whatever writes there refuses the tenant.", "", checkPlanted},
		{Creators, "other roles that own tenants' tables, or may create in their schemas",
			"Code that they put there would run as this program's role; each command looks for it first.", "", checkCreators},
		{Grants, "roles of tenants that lack rights, or have some they should not",
			"The application is refused in the middle of its work, or gets in where the tenant is suspended.",
			"grants and revokes what is missing", checkGrants},
		{Sequence, "sequences that are behind the data", "The next insert fails with a duplicate key.",
			"sets them to the greatest value", checkSequences},
		{PublicObject, "tables in public, or a shared schema, named as the tenants'",
			"Something ran without a tenant's schema, and its rows are where nobody looks.", "", checkPublicObjects},
		{SharedName, "tenants without a table that a shared schema has",
			"What names the table reads and writes that of all tenants.", "", checkSharedNames},
		{PublicWritable, "a schema public in which everybody may create",
			"Whoever can log in plants functions that others call unawares.", "", checkPublicWritable},
		{Shadowing, "functions and operators in public named as PostgreSQL's own",
			"A query with public on its path calls them instead.", "", checkShadowing},
	}
}

func serverChecks() []Check {
	return []Check{
		{Connections, "how near the server is to its limit of connections", "Beyond it nobody gets in.", "",
			checkConnections},
		{Locks, "how full the server's lock table is", "Beyond it every statement fails with \"out of shared memory\".",
			"", checkLocks},
		{Prepared, "prepared transactions that nobody ends",
			"They hold their locks, and keep vacuum from its work, until somebody does.", "", checkPrepared},
		{Wraparound, "transaction ids that are not frozen in time",
			"The server refuses every write shortly before they run out.", "", checkWraparound},
		{Autovacuum, "autovacuum that is switched off", "Tables and the catalog of thousands of schemas grow without end.",
			"", checkAutovacuum},
	}
}

func clusterChecks() []Check {
	return []Check{
		{Nodes, "nodes of a Citus cluster that are not reached",
			"No tenant's schema can be changed until they are, and those on the node cannot be read.", "", checkNodes},
		{LocalTenant, "tenants on the coordinator of a Citus cluster", "They take its room, and its strength.", "",
			checkLocalTenants},
		{LocalTable, "tables on the coordinator, of tenants that stand on a node",
			"A query that joins them with the others fails; a DO block or a function has made them.", "", checkLocalTables},
		{Leftovers, "what moves between nodes of a Citus cluster have left", "It takes room, and nobody reads it.", "",
			checkLeftovers},
		{NodeLogin, "roles of tenants that may not log in, on a Citus cluster",
			"The coordinator works on the nodes as the role: every statement under it fails.", "", checkNodeLogin},
		{Spread, "a Citus cluster that keeps new schemas on the coordinator",
			"What other programs make stays there. crmctl asks for a node by itself.", "", checkSpread},
	}
}

// OfCluster reports whether there is something to look at on a Citus cluster alone.
func (c Class) OfCluster() bool {
	return slices.ContainsFunc(clusterChecks(), func(check Check) bool { return check.Class == c })
}

// Classes returns every class.
func Classes() []Class {
	var out []Class
	for _, c := range Checks() {
		out = append(out, c.Class)
	}
	return out
}
