package db

import (
	"context"
	"strings"
	"time"
)

// A server, a database, a role or the environment may have any setting, and none of
// them may change what this program does or says. Those that a pooler passes on stand
// in the start-up message; the rest is set by each transaction for itself.
//
// What a database or a role has on purpose for what is made there is left: the
// tablespace, the access method, the compression, the role, synchronous_commit, the
// search configuration, session_replication_role, and whether transactions are read
// only.

// setStartup sets the parameters of the start-up message. A pooler refuses others.
func setStartup(params map[string]string) {
	for name := range params {
		switch strings.ToLower(name) {
		case "client_encoding", "standard_conforming_strings":
			delete(params, name)
		}
	}
	params["client_encoding"] = "UTF8"
	params["standard_conforming_strings"] = "on"
}

// setting is an expression that sets one; local is "true" where it ends with the
// transaction. value is an expression too.
func setting(name, value, local string) string {
	return ", pg_catalog.set_config('" + name + "', " + value + ", " + local + ")"
}

// unbounded switches off what would end a transaction that takes its time, and how
// names are written without need.
func unbounded(local string) string {
	return setting("idle_in_transaction_session_timeout", "'0'", local) +
		setting("quote_all_identifiers", "'off'", local) +
		// It is there since PostgreSQL 17.
		", case when pg_catalog.current_setting('transaction_timeout', true) is not null" +
		" then pg_catalog.set_config('transaction_timeout', '0', " + local + ") end"
}

// dialect fixes how values are written as text and read from it, and what a query
// finds. DateStyle keeps the order of day and month: statements that others wrote for
// the database count on it.
func dialect(local string) string {
	return setting("datestyle", "'ISO'", local) + setting("intervalstyle", "'postgres'", local) +
		setting("extra_float_digits", "'1'", local) + setting("bytea_output", "'hex'", local) +
		setting("xmloption", "'content'", local) + setting("array_nulls", "'on'", local) +
		setting("gin_fuzzy_search_limit", "'0'", local)
}

// plain keeps the server from compiling queries on the catalogs to machine code, which
// takes seconds where it thinks that they are costly, and saves milliseconds.
func plain(local string) string { return setting("jit", "'off'", local) }

// own are the settings of what this program reads and writes for itself.
func own() string {
	return "pg_catalog.set_config('search_path', '" + OwnPath + "', true)" +
		setting("row_security", "'off'", "true") + unbounded("true") + dialect("true") + plain("true")
}

// OwnSettings adds what Begin sets for the zero Locals, but for the limits: to a
// pipeline outside a transaction block, which is one implicit transaction, or to the
// rest of a transaction that stood in a tenant's schema.
func (p *Pipeline) OwnSettings() { p.Exec("select " + own()) }

// OwnTransaction is OwnSettings for a pipeline that is a transaction of its own: no
// limit of others bounds it.
func (p *Pipeline) OwnTransaction() {
	p.limits, p.limit = true, 0
	p.Exec("select " + own() + setting("statement_timeout", "'0'", "true") + setting("lock_timeout", "'0'", "true"))
}

// bounds are the limits that Reading sets.
type bounds struct{ lock, statement time.Duration }

type boundsKey struct{}

// Reading returns a context in which a statement of Select or Exec that is a transaction of
// its own only reads, with a bound for the wait for each lock, and for the statement.
func Reading(ctx context.Context, lock, statement time.Duration) context.Context {
	return context.WithValue(ctx, boundsKey{}, bounds{lock, statement})
}

// ownSettings is OwnTransaction unless q is in a transaction, whose limits stay, or the
// context is one of Reading.
func (p *Pipeline) ownSettings(ctx context.Context, q Querier) {
	b, reads := ctx.Value(boundsKey{}).(bounds)
	switch {
	case !idle(q):
		p.OwnSettings()
	case reads:
		p.limits, p.limit = true, b.statement
		p.Exec("select "+own()+setting("transaction_read_only", "'on'", "true")+setting("lock_timeout", "$1", "true")+
			setting("statement_timeout", "$2", "true"), milliseconds(b.lock), milliseconds(b.statement))
	default:
		p.OwnTransaction()
	}
}
