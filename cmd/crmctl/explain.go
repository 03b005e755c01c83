package main

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
	"github.com/crmctl/crmctl/internal/tenant"
)

// explainTimeout bounds what is asked of the server about an error.
const explainTimeout = 3 * time.Second

// explain returns the next step for errors that come from the database,
// whichever command met them.
func (f *factory) explain(err error) []cli.Hint {
	f = f.sideOf(err)
	switch {
	case errors.Is(err, db.ErrUnreachable):
		return []cli.Hint{f.explainUnreachable()}
	case errors.Is(err, registry.ErrNoRegistry), errors.Is(err, registry.ErrOldRegistry):
		return f.explainRegistry(err)
	case errors.Is(err, staging.ErrPooled):
		return []cli.Hint{{Label: "go past it", Command: "direct_database_url, or CRMCTL_DIRECT_DATABASE_URL"}}
	}
	if hints := explainPlace(err); hints != nil {
		return hints
	}
	if hints := f.explainSource(err); hints != nil {
		return hints
	}
	if hints := explainMissing(err); hints != nil {
		return hints
	}
	if _, is := errors.AsType[*config.FilesError](err); is {
		return []cli.Hint{{Label: "where the files are", Command: "crmctl config path"}}
	}
	if v, is := errors.AsType[*app.VersionError](err); is && v.Data {
		return []cli.Hint{{Label: "give the files of that version", Command: "--migrations-dir DIR"}}
	}
	if found, ok := errors.AsType[*planted.Error](err); ok {
		return explainPlanted(found)
	}
	if _, ok := errors.AsType[*registry.TakenError](err); ok {
		return f.explainRegistry(err)
	}
	if found, ok := errors.AsType[*registry.ForeignError](err); ok {
		return explainForeign(found)
	}
	if found, ok := errors.AsType[*registry.ExistsError](err); ok && !found.Registered {
		return f.explainNeighbour(found)
	}
	if errors.Is(err, db.ErrCommitUnknown) {
		return []cli.Hint{{Label: "see whether it did", Command: "crmctl audit list --since 10m"}}
	}
	if hints := explainPath(err); hints != nil {
		return hints
	}
	if _, is := errors.AsType[*migrate.RefusedError](err); is {
		return []cli.Hint{{Label: "what is wrong, in all files", Command: "crmctl migrate lint" + f.filesFlag()}}
	}
	if hint, ok := explainFiles(err); ok {
		return []cli.Hint{hint}
	}
	if errors.Is(err, tenant.ErrRoleRight) {
		return []cli.Hint{{Label: "as a superuser", Command: "alter role ROLE createrole; or add --role=false"}}
	}
	if errors.Is(err, backup.ErrNoRole) {
		return []cli.Hint{{Label: "as a superuser", Command: "alter role " + f.ownRole() + " createrole"}}
	}
	switch db.SQLState(err) {
	case db.CodeInsufficientPrivilege:
		return []cli.Hint{f.explainRight(err)}
	case db.CodeReadOnlyTransaction:
		return f.explainReadOnly()
	case "25P03", "25P04", "57P05":
		return []cli.Hint{{Label: "a limit of the server ended the session",
			Command: "idle_in_transaction_session_timeout and the like"}}
	case db.CodeOutOfMemory:
		return explainMemory(err)
	case "57P01", "57P02", "57P03":
		return []cli.Hint{{Label: "the server ended the session",
			Command: "an administrator or a restart, see its log; then again"}}
	case "28000": // no such role, or pg_hba.conf: no password helps
		return []cli.Hint{{Label: "where the role comes from", Command: "crmctl config show --origin"}}
	case "28P01":
		return []cli.Hint{{Label: "set the password by", Command: "PGPASSWORD, ~/.pgpass or DATABASE_URL"}}
	case "3D000":
		return []cli.Hint{{Label: "create it", Command: "createdb NAME"}}
	}
	return nil
}

// explainFiles says what leads past a file that cannot be applied, or past one that was
// cut off.
func explainFiles(err error) (cli.Hint, bool) {
	if changed, is := errors.AsType[*migrate.ChangedFilesError](err); is {
		if changed.Other != "" {
			return cli.Hint{Label: "say where the others are", Command: "--migrations-dir DIR"}, true
		}
		return cli.Hint{Label: "accept it", Command: "--allow-changed"}, true
	}
	_, late := errors.AsType[*migrate.LateFilesError](err)
	if _, is := errors.AsType[*migrate.OutOfOrderError](err); late || is {
		return cli.Hint{Label: "apply it", Command: "--out-of-order"}, true
	}
	if d, is := errors.AsType[*migrate.LostSessionError](err); is {
		return cli.Hint{Label: "then", Command: "crmctl migrate repair " + d.Slug + " --mark applied"}, true
	}
	if d, is := errors.AsType[*migrate.DirtyError](err); is {
		return cli.Hint{Label: "look at the schema, then", Command: "crmctl migrate repair " + d.Slug +
			" --mark done|not-done|applied|reverted"}, true
	}
	if d, is := errors.AsType[*migrate.HalfDoneError](err); is {
		return cli.Hint{Label: "or", Command: "crmctl migrate repair " + d.Slug}, true
	}
	return cli.Hint{}, false
}

// explainMemory tells a lock table that is full from a server without memory: only
// for the former does the server name the setting, in every language.
func explainMemory(err error) []cli.Hint {
	const setting = "max_locks_per_transaction"
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(pgErr.Hint, setting) {
		return []cli.Hint{{Label: "the lock table is full", Command: "raise " + setting + " and restart the server"}}
	}
	return nil
}

// explainPlanted says how code of others is looked at, and how it is trusted.
func explainPlanted(e *planted.Error) []cli.Hint {
	return []cli.Hint{
		{Label: "whose it is", Command: "crmctl doctor --check planted"},
		{Label: "if it is the application's", Command: "CRMCTL_TRUSTED_OWNERS=" + cli.Visible(e.Objects[0].Owner) +
			" (crmctl help environment)"},
	}
}

// explainReadOnly tells a replica from a server that is to be written to, but whose
// transactions are read only unless they say otherwise. Whoever has set that meant it.
func (f *factory) explainReadOnly() []cli.Hint {
	ctx, cancel := context.WithTimeout(context.Background(), explainTimeout)
	defer cancel()
	var (
		replica bool
		value   string
		source  *string
	)
	conn, err := f.connect(ctx)
	if err == nil {
		defer closeConn(ctx, conn)
		err = conn.QueryRow(ctx, `select pg_catalog.pg_is_in_recovery(), s.setting, s.source
			from pg_catalog.pg_settings s where s.name operator(pg_catalog.=) 'default_transaction_read_only'`).Scan(&replica,
			&value, &source)
	}
	const name = "default_transaction_read_only"
	switch {
	case err != nil:
		return []cli.Hint{{Label: "a replica, or " + name + " is on", Command: "crmctl config show --origin"}}
	case replica:
		return []cli.Hint{{Label: "this is a read-only replica", Command: "point DATABASE_URL at the primary"}}
	case value != "on" || source == nil:
		return []cli.Hint{{Label: "only this transaction is read only", Command: "what set transaction_read_only?"}}
	}
	set := func(command string) []cli.Hint {
		return []cli.Hint{{Label: "no replica; " + name + " is on", Command: "set for the " + *source},
			{Label: "to write", Command: command}}
	}
	target := conn.Config()
	database, user := pgx.Identifier{target.Database}.Sanitize(), pgx.Identifier{target.User}.Sanitize()
	switch *source {
	case "database":
		return set("alter database " + cli.Visible(database) + " reset " + name)
	case "user":
		return set("alter role " + cli.Visible(user) + " reset " + name)
	case "database user":
		return set("alter role " + cli.Visible(user) + " in database " + cli.Visible(database) + " reset " + name)
	case "client", "session":
		return set("take it out of PGOPTIONS or the connection string")
	}
	return set("alter system reset " + name + "; select pg_reload_conf()")
}

// explainRight names the grant that is missing, as far as the server says for what.
// It offers none on the tables of a tenant: these belong to the role that migrates
// them, and a grant would only hide that they do not.
func (f *factory) explainRight(err error) cli.Hint {
	role := f.ownRole()
	message := ""
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		message = pgErr.Message
	}
	kind, name, ok := strings.Cut(strings.TrimPrefix(message, "permission denied for "), " ")
	switch {
	case ok && kind == "database":
		return cli.Hint{Label: "as its owner", Command: "grant create on database " +
			cli.Visible(pgx.Identifier{name}.Sanitize()) + " to " + role}
	case ok && kind == "schema" && name == f.registry().Schema().String():
		return cli.Hint{Label: "as its owner", Command: "grant usage, create on schema " + f.registry().Place() +
			" to " + role}
	case ok && inRegistry(kind, name) && kind == "sequence":
		return cli.Hint{Label: "as its owner", Command: "grant select on all sequences in schema " + f.registry().Place() +
			" to " + role}
	case ok && inRegistry(kind, name):
		return cli.Hint{Label: "as its owner", Command: "grant select, insert, update, delete on all tables in schema " +
			f.registry().Place() + " to " + role}
	case ok && slices.Contains([]string{"schema", "table", "view", "sequence"}, kind),
		strings.HasPrefix(message, "must be owner of "):
		return cli.Hint{Label: "whose it is", Command: "crmctl doctor --check owner,grants"}
	}
	return cli.Hint{Label: "as its owner", Command: "grant RIGHT on OBJECT to " + role}
}

// ownRole returns the role that crmctl logs in as, quoted for SQL.
func (f *factory) ownRole() string {
	if target, err := f.target(); err == nil && target.User != "" {
		return cli.Visible(pgx.Identifier{target.User}.Sanitize())
	}
	return "ROLE"
}

// inRegistry reports whether a table or a sequence of that name is crmctl's own.
func inRegistry(kind, name string) bool {
	return (kind == "table" || kind == "sequence") && slices.Contains(registry.Objects(), name)
}

// explainUnreachable knows the private PostgreSQL, which is most often just not
// running.
func (f *factory) explainUnreachable() cli.Hint {
	if cfg, err := f.config(); err == nil && cfg.DatabaseFromProfile() {
		switch name, named := strings.CutPrefix(cfg.Profile, "local-"); {
		case cfg.Profile == app.LocalProfile(""):
			return cli.Hint{Label: "start it", Command: "crmctl local start"}
		case named:
			return cli.Hint{Label: "start it", Command: "crmctl local start --name " + name}
		}
	}
	return cli.Hint{Label: "where the address comes from", Command: "crmctl config show --origin"}
}

// explainPlace is about the nodes of a cluster.
func explainPlace(err error) []cli.Hint {
	if worker, is := errors.AsType[*db.WorkerError](err); is && worker.Coordinator != "" {
		return []cli.Hint{{Label: "connect to the coordinator", Command: worker.Coordinator}}
	}
	if place, is := errors.AsType[*app.PlaceError](err); is {
		return []cli.Hint{{Label: "give it to a node first", Command: "crmctl tenant distribute " + place.Slug}}
	}
	if _, is := errors.AsType[*app.NodeUnknownError](err); is {
		return []cli.Hint{{Label: "what the nodes are", Command: "crmctl cluster nodes"}}
	}
	_, lost := errors.AsType[*cluster.LostError](err)
	if _, is := errors.AsType[*cluster.NodeError](err); is || lost || db.NodeLost(err) {
		return []cli.Hint{{Label: "all nodes", Command: "crmctl cluster nodes"}}
	}
	return nil
}

// makes reports whether the migrations name a table.
func makes(plan *migrate.Plan, table string) bool {
	word := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(table) + `\b`)
	for _, m := range plan.After(0) {
		if slices.ContainsFunc(m.Up, func(s db.Statement) bool { return word.MatchString(s.SQL) }) {
			return true
		}
	}
	return false
}

// tableHint adds what leads to a table of contacts that fits: the tenant's own migrations,
// where it is behind. An application that has none is told so.
func (f *factory) tableHint(err error, slug string) error {
	ctx, cancel := context.WithTimeout(context.Background(), explainTimeout)
	defer cancel()
	behind := cli.WithHint(err, "bring it up to date", "crmctl migrate tenant "+slug+f.sameFlags())
	plan, planErr := f.tenantPlan(ctx)
	conn, connErr := f.connect(ctx)
	if connErr != nil {
		return behind
	}
	defer closeConn(ctx, conn)
	t, getErr := f.registry().Get(ctx, conn, slug)
	if planErr != nil || getErr != nil || isBehind(t, plan.Head()) {
		return behind
	}
	if table, is := errors.AsType[*importer.TableError](err); is && makes(plan, table.Table) {
		return cli.WithHint(err, "see what was changed by hand", "crmctl migrate drift --tenant "+slug+f.sameFlags())
	}
	return cli.WithHint(err, "all its migrations are applied; for its own tables",
		"crmctl tenant exec "+slug+" -c SQL")
}
