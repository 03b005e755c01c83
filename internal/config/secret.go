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

// words are those that messages are made of, of four letters or more. A password that is one
// of them, or a part of one that somebody forgot to escape, is no reason to black out every
// sentence.
const words = ` about admin after already application applied audit away backup been before behind cannot change
changed check cluster column command configuration connect connection contact contacts create created crmctl data
database default delete deleted demo denied development directory does done each empty error exist exists failed fails
file files first from given going gone have here host index instance into just last line list load local localhost lock
main master message messages migrate migration migrations missing more name named names need needs newest next none
nothing number object only open other pass passed password pending permission pool port postgres postgresql prod
production profile public query read refused registry relation restore role root rows running same schema schemas
script secret server session some staging start state statement stopped such table tables take tenant tenants test
text than that their them then there they this time under unknown update user users value version view wait waits want
were what when where which while will with word words work write written `

// ordinary reports whether a secret is one of the words that messages are made of.
func ordinary(s string) bool {
	return !strings.ContainsAny(s, " \n") && slices.Contains(strings.Fields(words), strings.ToLower(s))
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
