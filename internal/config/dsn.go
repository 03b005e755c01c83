package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden stands where a secret was.
const hidden = "xxxxx"

// minSecret is the length from which on a secret is replaced wherever its text
// turns up. A shorter one would wipe out innocent letters; it is still hidden
// where the shape of the text gives it away.
const minSecret = 4

// DSN is a connection string, in libpq's URL or key=value form, and may hold a
// password. Printing it hides the password; convert it to a string to connect.
type DSN string

// String returns the connection string with its passwords hidden.
func (d DSN) String() string {
	text := string(d)
	if from, to := d.urlPassword(); to > from {
		text = text[:from] + hidden + text[to:]
	}
	text = bareParam.ReplaceAllString(text, "${1}"+hidden+"${2}")
	if !strings.Contains(text, "://") {
		if text != "" && !keyValue.MatchString(text) {
			return hidden // neither form: nobody knows what stands where
		}
		text = looseKeyPassword.ReplaceAllString(text, "${1}"+hidden+"${3}")
	}
	return keyPassword.ReplaceAllString(text, "${1}"+hidden)
}

// urlPassword returns where the password of a URL begins and ends. In doubt
// (somebody forgot to escape an @ or a / in it) it is taken to be long.
func (d DSN) urlPassword() (from, to int) {
	_, rest, isURL := strings.Cut(string(d), "://")
	if !isURL {
		return 0, 0
	}
	offset := len(d) - len(rest)
	if u, err := url.Parse(string(d)); err == nil && u.User == nil {
		// An @ in the value of a parameter belongs to no password.
		rest = paramWithAt.ReplaceAllStringFunc(rest, func(m string) string { return strings.ReplaceAll(m, "@", "_") })
	}
	from = strings.IndexAny(rest, ":/?#@[")
	to = strings.LastIndexByte(rest, '@')
	if from >= 0 && rest[from] == '[' && to > from && !address.MatchString(rest[from:]) {
		from = strings.IndexAny(rest, ":/?#@") // it belongs to a user's name
	}
	if from < 0 || rest[from] != ':' {
		return 0, 0
	}
	if to < 0 {
		// Without an @ a port stands there, or a password whose host was forgotten.
		end := from + 1 + len(strings.TrimRight(rest[from+1:], "/"))
		if i := strings.IndexAny(rest[from+1:], "/?,"); i >= 0 {
			end = from + 1 + i
		}
		if strings.Trim(rest[from+1:end], "0123456789") == "" {
			return 0, 0
		}
		to = end
		if i := strings.IndexAny(rest[from+1:], "/?"); i < 0 {
			to = len(rest)
		}
	}
	return offset + from + 1, offset + to
}

// GoString is String: %#v must not show more than %v.
func (d DSN) GoString() string { return d.String() }

// MarshalText is String, for every encoder.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// following are the parameters that may follow a password.
const following = `user|password|host|hostaddr|port|dbname|passfile|connect_timeout|options|application_name|service|` +
	`target_session_attrs|ssl\w+`

var (
	// The address of a host, and what may follow it.
	address = regexp.MustCompile(`^\[[^\]@]*\](:\d+)?([/?#,]|$)`)
	// What the key=value form begins with.
	keyValue = regexp.MustCompile(`^\s*\w+\s*=`)
	// A password of the key=value form, which lacks its quotes, or has too many, up to
	// the next parameter.
	looseKeyPassword = regexp.MustCompile(`(?is)\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|.+?)(\s+(?:` + following +
		`)\s*=|\s*$)`)
	// A parameter of a URL whose value may hold an @.
	paramWithAt = regexp.MustCompile(`[?&](?:` + following + `)=[^&]*`)
	// A parameter of a URL without a value: the end of a password, more likely.
	bareParam = regexp.MustCompile(`(://.*[?&])[^=&?]+(&|$)`)
	// The password of a URL, up to the last @ of the word: an @ that somebody
	// forgot to escape must not leave the rest of a password standing.
	urlPassword = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^:/?#@\s"'` + "`" + `]*:)([^\s"'` + "`" + `]*)@`)
	// password=… and sslpassword=… of both forms; quoted values may hold blanks.
	keyPassword = regexp.MustCompile(`(?i)\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&'"]+)`)
)

// RedactText hides whatever looks like the password of a connection string in
// any text.
func RedactText(s string) string {
	s = urlPassword.ReplaceAllString(s, "${1}"+hidden+"@")
	return keyPassword.ReplaceAllString(s, "${1}"+hidden)
}

// passwords returns the secrets that d holds, as written and decoded. Some may
// be empty.
func (d DSN) passwords() []string {
	var found []string
	if from, to := d.urlPassword(); to > from {
		found = append(found, spellings(string(d)[from:to])...)
		found = append(found, parts(string(d)[from:to])...)
	}
	if !strings.Contains(string(d), "://") {
		if d != "" && !keyValue.MatchString(string(d)) {
			return append(parts(string(d)), string(d))
		}
		for _, m := range looseKeyPassword.FindAllStringSubmatch(string(d), -1) {
			found = append(found, parts(m[2])...)
		}
	}
	for _, m := range keyPassword.FindAllStringSubmatch(string(d), -1) {
		unquoted := strings.TrimSuffix(strings.TrimPrefix(m[2], "'"), "'")
		found = append(found, strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(unquoted))
		found = append(found, spellings(unquoted)...)
	}
	return found
}

// parts returns what a program may take a badly escaped password apart to.
func parts(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("@:/?#% '&=", r) })
}

// spellings returns a secret as it was written and as a program may show it
// after decoding.
func spellings(s string) []string {
	all := []string{s}
	for _, decode := range []func(string) (string, error){url.PathUnescape, url.QueryUnescape} {
		if decoded, err := decode(s); err == nil {
			all = append(all, decoded, url.QueryEscape(decoded), url.PathEscape(decoded))
		}
	}
	return all
}

// HasPassword reports whether the connection string itself holds a password.
func (d DSN) HasPassword() bool {
	return slices.ContainsFunc(d.passwords(), func(p string) bool { return p != "" })
}

// namePair finds what a key=value string says openly.
var namePair = regexp.MustCompile(`\b(?:user|dbname|host)\s*=\s*'?([^\s&'"]+)`)

// names returns the user, database and host that d names.
func (d DSN) names() []string {
	var found []string
	if u, err := url.Parse(string(d)); err == nil && u.Scheme != "" {
		found = append(found, u.User.Username(), u.Hostname(), strings.TrimPrefix(u.Path, "/"))
	}
	for _, m := range namePair.FindAllStringSubmatch(string(d), -1) {
		found = append(found, m[1])
	}
	return found
}
