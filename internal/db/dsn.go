package db

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ErrConnString is wrapped by the errors of a connection string that cannot be read.
// None holds any part of the string but the names of known parameters: what stands
// where in a string that is not well formed nobody knows, and it may be a password.
var ErrConnString = errors.New("the connection string cannot be read")

// libpqKeys are the parameters of a connection string that libpq knows, and database,
// which pgx takes for dbname.
const libpqKeys = `user password host hostaddr port dbname database passfile channel_binding connect_timeout
	client_encoding options
	application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
	tcp_user_timeout
	replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslpassword sslcertmode
	sslrootcert
	sslcrl sslcrldir sslsni requirepeer require_auth ssl_min_protocol_version ssl_max_protocol_version min_protocol_version
	max_protocol_version krbsrvname krbspn gsslib gssdelegation service servicefile target_session_attrs
	load_balance_hosts`

func isLibpqKey(name string) bool { return slices.Contains(strings.Fields(libpqKeys), name) }

// unescaped reports whether an @ of a URL may be one that somebody forgot to write as
// %40: then what stands before the last of them is a password, or a part of it.
func unescaped(dsn string) bool {
	_, rest, isURL := strings.Cut(dsn, "://")
	if !isURL {
		return false
	}
	rest = withoutKnown(rest)
	authority := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	return strings.Count(authority, "@") > 1 || strings.Contains(rest[len(authority):], "@")
}

// withoutKnown leaves out the parameters whose values may hold an @ as it is.
func withoutKnown(rest string) string {
	var kept strings.Builder
	for {
		start := strings.IndexAny(rest, "?&")
		if start < 0 {
			kept.WriteString(rest)
			return kept.String()
		}
		kept.WriteString(rest[:start+1])
		rest = rest[start+1:]
		if name, _, ok := strings.Cut(rest, "="); ok && isLibpqKey(name) {
			_, rest, ok = strings.Cut(rest, "&")
			if ok {
				rest = "&" + rest
			}
		}
	}
}

// checkURL refuses a URL that means something else than was meant.
func checkURL(dsn string) error {
	if whose := otherScheme(dsn); whose != "" {
		return fmt.Errorf("%w: it is written for %s; here it is postgresql://USER@HOST:PORT/DATABASE", ErrConnString, whose)
	}
	if unescaped(dsn) {
		return fmt.Errorf("%w: an @ in a password is written %%40 (: %%3A, / %%2F, ? %%3F, # %%23, %% %%25)", ErrConnString)
	}
	return nil
}

// unreadable is the error for a string that pgx could not read. Its own is left out of
// the chain.
func unreadable(dsn string, err error) error {
	text := err.Error()
	// pgx repeats the string, and then says why.
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	if !strings.Contains(dsn, "@") && !strings.Contains(strings.ToLower(dsn), "pass") && !strings.Contains(dsn, "://") {
		return fmt.Errorf("%w: %s", ErrConnString, text)
	}
	for _, known := range []struct{ in, say string }{
		{"sslmode is invalid", "sslmode is disable, allow, prefer, require, verify-ca or verify-full"},
		{"target_session_attrs", "target_session_attrs is any, read-write, read-only, primary, standby or prefer-standby"},
		{"connect_timeout", "connect_timeout is a number of seconds"},
		{"service", "the service file or the service in it cannot be read"},
		{"sslrootcert", "the file that sslrootcert names cannot be used"},
		{"CA file", "the file that sslrootcert names cannot be used"},
		{"sslcert", "sslcert and sslkey name a certificate and its key, both or neither"},
		{"invalid port", "behind a host stands its port, a number"},
	} {
		if strings.Contains(text, known.in) {
			return fmt.Errorf("%w: %s; in a URL the characters @:/?#%% of a password are written %%40 %%3A %%2F %%3F %%23 %%25",
				ErrConnString, known.say)
		}
	}
	if strings.Contains(dsn, "://") {
		return fmt.Errorf("%w: in a URL the characters @:/?#%% of a password are written %%40 %%3A %%2F %%3F %%23 %%25",
			ErrConnString)
	}
	return fmt.Errorf(`%w: it is a URL, or made of key=value; a value with a blank stands in quotes: password='my secret'`,
		ErrConnString)
}

// ParameterError says that a connection string has a parameter that belongs to
// another program and means something for the connection.
type ParameterError struct {
	Name    string
	Instead string // what PostgreSQL has for it, or what to do
}

// Unwrap returns ErrConnString.
func (e *ParameterError) Unwrap() error { return ErrConnString }

// Error names the parameter, but not its value.
func (e *ParameterError) Error() string {
	return fmt.Sprintf("the parameter %q of the connection string is another program's, not PostgreSQL's: %s",
		e.Name, e.Instead)
}

// foreign are parameters of other programs which change how to connect, with what to
// say of them.
func foreign(name, value string) (instead string, known bool) {
	switch name {
	case "sslaccept":
		if value == "accept_invalid_certs" { // no certificate is checked unless sslmode says so
			return "", true
		}
		return "sslmode=verify-full says it here", true
	case "ssl", "sslfactory", "encrypt":
		return "sslmode=require or verify-full says it here", true
	case "schema", "currentschema", "search_path":
		// Where tenants stand is in the registry; a search_path of the start is the
		// server's, and db sets its own over it.
		return "", name != "search_path"
	case "targetservertype":
		return "target_session_attrs says it here", true
	case "hostaddr":
		return "host takes the address", true
	case "gssencmode":
		if value != "require" {
			return "", true
		}
		return "leave it out, it cannot be kept to here", true
	case "socket", "unix_sock", "sslidentity", "requirepeer", "requiressl", "sslcrl", "sslcrldir",
		"ssl_min_protocol_version", "ssl_max_protocol_version":
		return "leave it out, it cannot be kept to here", true
	}
	return "", slices.Contains(strings.Fields(elsewhere), name)
}

// elsewhere are parameters without a meaning here: of pools, caches and names of
// Prisma, JDBC, SQLAlchemy, asyncpg, Rails, Node, Go and .NET, and those of libpq that
// only tune what this program does in its own way.
const elsewhere = `pgbouncer connection_limit pool_timeout socket_timeout statement_cache_size single_use_connections
	preparethreshold preparedstatementcachequeries preparedstatementcachesizemib applicationname logintimeout
	sockettimeout connecttimeout
	tcpkeepalive stringtype rewritebatchedinserts binarytransfer loglevel loggerlevel defaultrowfetchsize autosave
	prepared_statement_cache_size prepared_statement_name_func async_fallback command_timeout
	max_inactive_connection_lifetime
	pool checkout_timeout reaping_frequency prepared_statements encoding adapter min_messages idle_timeout
	uselibpqcompat max min pool_min pool_max pool_size max_overflow pool_recycle pool_pre_ping
	pool_max_conns pool_min_conns pool_min_idle_conns pool_max_conn_lifetime pool_max_conn_idle_time
	pool_max_conn_lifetime_jitter
	pool_health_check_period pool_ping_timeout
	default_query_exec_mode statement_cache_capacity statement_cache_mode description_cache_capacity
	pooling minimum_pool_size maximum_pool_size supa workaround timezone_in_session
	keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout sslcompression gsslib gssdelegation
	fallback_application_name load_balance_hosts`

// takeForeign takes out of the start-up parameters what the server would refuse.
func takeForeign(params map[string]string) error {
	for name, value := range params {
		instead, known := foreign(strings.ToLower(name), value)
		switch {
		case instead != "":
			return &ParameterError{Name: name, Instead: instead}
		case known:
			delete(params, name)
		}
	}
	return nil
}

// ForeignParameters returns the names of the parameters of a URL that ParseConfig leaves
// out: they are other programs'.
func ForeignParameters(dsn string) []string {
	_, query, _ := strings.Cut(dsn, "?")
	var names []string
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		if instead, known := foreign(strings.ToLower(name), value); known && instead == "" && !isLibpqKey(name) {
			names = append(names, name)
		}
	}
	return names
}

// OnlyKnown returns a connection string without the parameters that libpq does not
// know, which it would refuse.
func OnlyKnown(dsn string) string {
	address, query, found := strings.Cut(dsn, "?")
	if !found || !strings.Contains(address, "://") {
		return dsn
	}
	var kept []string
	for param := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(param, "=")
		if decoded, err := url.PathUnescape(name); err == nil && (isLibpqKey(decoded) && decoded != "database" ||
			param == "ssl=true") {
			kept = append(kept, param)
		}
	}
	return strings.TrimSuffix(address+"?"+strings.Join(kept, "&"), "?")
}
