package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The file of the working directory is the project's: a repository brings it along,
// and whoever may write into the directory may have put it there. So it says how to
// work on the project's database, and not what could be turned against whoever stands
// in the directory:
//
//   - it names no program to run (pg_bin is passed by);
//   - its connection strings hold no parameter that reads or writes a file, loads a
//     library into the server or hands over credentials (projectParams);
//   - its query for the application's tenants calls no function but those that make texts
//     of texts (whoever runs it asks TenantsQueryFromProject);
//   - a profile of the user or the machine is not replaced by one of its own of the
//     same name, and a guard that they set (dry_run, expect_database) stays.

// restrict takes out of a project's file what it may not say.
func (c *Config) restrict(f *file, env environment) error {
	f.project = true
	groups := []map[string]string{f.values}
	for _, p := range f.profiles {
		groups = append(groups, p.values)
	}
	for _, values := range groups {
		if _, ok := values[KeyPGBin]; ok {
			delete(values, KeyPGBin)
			place := envName(KeyPGBin)
			if dir := userDir(env); dir != "" {
				place = dir + "/" + fileName + " or " + place
			}
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: pg_bin is ignored: a file of the working directory may not say "+
				"which programs run; put it into %s", f.path, place))
		}
		for _, name := range []string{KeyDatabaseURL, KeyDirectURL} {
			if param := foreignParam(values[name]); param != "" {
				return atFiles(invalidf("%s: %s: the parameter %q is not taken from a file of the working directory\n"+
					"put the address into DATABASE_URL or the user's own file", f.path, name, param))
			}
		}
	}
	return nil
}

// projectParams are the parameters of a connection that a project's file may set.
// service names an entry of the user's own service file.
func projectParams() []string {
	return []string{
		"host", "hostaddr", "port", "dbname", "database", "user", "password", "service", "application_name",
		"fallback_application_name",
		"connect_timeout", "client_encoding", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout",
		"sslmode", "ssl", "sslnegotiation", "sslsni", "sslrootcert", "sslcompression", "ssl_min_protocol_version",
		"ssl_max_protocol_version",
		"channel_binding", "gssencmode", "target_session_attrs", "load_balance_hosts", "min_protocol_version",
		"max_protocol_version",
		"options", "search_path", "timezone", "statement_timeout", "lock_timeout",
	}
}

// foreignParam returns the first parameter of a connection string that a project's
// file may not set, "" for none.
func foreignParam(dsn string) string {
	for _, p := range paramsOf(dsn) {
		switch {
		case !slices.Contains(projectParams(), p[0]):
			return p[0]
		case p[0] == "options" && !harmlessOptions(p[1]):
			return "options=" + p[1]
		}
	}
	return ""
}

// harmlessOptions reports whether the server's command line only sets what concerns
// names and time, or routes a connection. session_preload_libraries would load code.
func harmlessOptions(text string) bool {
	allowed := []string{"search_path", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
		"timezone", "datestyle", "role"}
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case strings.HasPrefix(word, "endpoint=") || strings.HasPrefix(word, "project=") ||
			strings.HasPrefix(word, "reference="):
			continue
		case word == "-c" && i+1 < len(words):
			i++
			word = words[i]
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		case strings.HasPrefix(word, "--"):
			word = strings.ReplaceAll(word[2:], "-", "_")
		default:
			return false
		}
		name, _, _ := strings.Cut(word, "=")
		if !slices.Contains(allowed, strings.ToLower(name)) {
			return false
		}
	}
	return true
}

// paramsOf returns the parameters of a connection string beside the address of a URL,
// names in lower case. What cannot be cut counts as a parameter of its own, which
// nothing allows.
func paramsOf(dsn string) [][2]string {
	var out [][2]string
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		_, query, _ := strings.Cut(dsn, "?")
		for pair := range strings.SplitSeq(query, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			decoded, err := url.QueryUnescape(name)
			text, err2 := url.QueryUnescape(value)
			if err != nil || err2 != nil {
				decoded, text = pair, ""
			}
			out = append(out, [2]string{strings.ToLower(decoded), text})
		}
		return out
	}
	rest := dsn
	for {
		rest = strings.TrimLeft(rest, " \t\r\n\f\v")
		if rest == "" {
			return out
		}
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return append(out, [2]string{"(not readable)", ""})
		}
		value, left := cutValue(strings.TrimLeft(after, " \t\r\n\f\v"))
		out = append(out, [2]string{strings.ToLower(strings.TrimSpace(name)), value})
		rest = left
	}
}

// cutValue cuts a value off key=value pairs, as libpq does: quoted, or up to a blank,
// with a backslash before what is meant as it stands.
func cutValue(text string) (value, rest string) {
	quoted := strings.HasPrefix(text, "'")
	if quoted {
		text = text[1:]
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case quoted && c == '\'', !quoted && strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			return b.String(), text[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// guarded reports whether a key of a project's file is passed by because a weaker place
// that the user or the machine owns sets a guard there.
func guarded(k key, value string, weaker []layer) bool {
	if k.name != KeyDryRun && k.name != KeyExpectDatabase {
		return false
	}
	for _, l := range weaker {
		other, _, ok := l.lookup(k)
		if !ok || l.fallback {
			continue
		}
		if k.name == KeyExpectDatabase {
			return other != value
		}
		if on, err := parseBool(other); err == nil && on {
			return true
		}
	}
	return false
}
