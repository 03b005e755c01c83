package config

import (
	"slices"
	"strings"
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
			text = strings.ReplaceAll(text, s, hidden)
		}
	}
	return RedactText(text)
}
