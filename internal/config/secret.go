package config

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// collectSecrets gathers everything that Redact hides.
func (c *Config) collectSecrets(env environment) {
	c.secrets = append(c.secrets, c.DatabaseURL.passwords()...)
	c.secrets = append(c.secrets, c.DirectURL.passwords()...)
	for _, name := range []string{"PGPASSWORD", "PGSSLPASSWORD"} {
		c.secrets = append(c.secrets, env[name])
	}
	for _, name := range []string{"DATABASE_URL", envName(KeyDatabaseURL), envName(KeyDirectURL)} {
		c.secrets = append(c.secrets, DSN(env[name]).passwords()...)
	}
	// A password that is also the name of the user or the database, as on so
	// many machines of developers, is no reason to black out every "postgres" of
	// a message. It is still hidden where a connection string is shown.
	c.names = append(c.DatabaseURL.names(), env["PGUSER"], env["PGDATABASE"], env["PGHOST"], env["USER"])
	c.sortSecrets()
}

// AddSecret makes Redact hide s too, for instance a password that was found in
// .pgpass. It may be called while others redact.
func (c *Config) AddSecret(s string) {
	c.secretsMu.Lock()
	defer c.secretsMu.Unlock()
	c.secrets = append(slices.Clone(c.secrets), s)
	c.sortSecrets()
}

// sortSecrets leaves out what cannot be looked for, and puts the longest first,
// so that no secret is cut in two by a shorter one within it.
func (c *Config) sortSecrets() {
	c.secrets = slices.DeleteFunc(c.secrets, func(s string) bool {
		return len(s) < minSecret || slices.Contains(c.names, s)
	})
	slices.SortFunc(c.secrets, func(a, b string) int { return len(b) - len(a) })
	c.secrets = slices.Compact(c.secrets)
}

// Redact hides every known secret in any text, and whatever else looks like
// the password of a connection string. It works on a nil Config too.
func (c *Config) Redact(text string) string {
	if c != nil {
		if c.DatabaseURL != "" {
			text = strings.ReplaceAll(text, string(c.DatabaseURL), c.DatabaseURL.String())
		}
		c.secretsMu.RLock()
		secrets := c.secrets
		c.secretsMu.RUnlock()
		for _, s := range secrets {
			if ordinary(s) {
				text = hideWord(text, s)
			} else {
				text = strings.ReplaceAll(text, s, hidden)
			}
		}
	}
	return RedactText(text)
}

// maxOrdinary is the length of a word that may stand in a message for itself.
const maxOrdinary = 12

// ordinary reports whether a secret is a word like those that messages are made of, such as
// "postgres" or "tenant".
func ordinary(s string) bool {
	return len(s) <= maxOrdinary && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// hideWord hides a secret that is an ordinary word where it may come from a connection
// string: in quotes, beside an @, behind an = or a :, as the name of a host that is looked
// up. To hide it in every sentence would spoil the sentence, and tell the secret.
func hideWord(text, word string) string {
	const before, after = "\"'`=@:", "\"'`@"
	var b strings.Builder
	done := 0
	for {
		at := strings.Index(text[done:], word)
		if at < 0 {
			return b.String() + text[done:]
		}
		at += done
		end := at + len(word)
		last, _ := utf8.DecodeLastRuneInString(text[:at])
		next, _ := utf8.DecodeRuneInString(text[end:])
		b.WriteString(text[done:at])
		done = end
		switch {
		case at > 0 && inWord(last), end < len(text) && inWord(next):
			b.WriteString(word)
		case at > 0 && strings.ContainsRune(before, last), end < len(text) && strings.ContainsRune(after, next),
			strings.HasSuffix(text[:at], "lookup "):
			b.WriteString(hidden)
		default:
			b.WriteString(word)
		}
	}
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
