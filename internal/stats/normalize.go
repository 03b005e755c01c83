package stats

import (
	"regexp"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// schemas tells what the name before a dot may be.
type schemas struct {
	tenants map[string]string // slug by schema
	roles   map[string]string // slug by role
	others  map[string]bool   // the other schemas of the database
}

// normalized is a statement's text without what differs from tenant to tenant.
type normalized struct {
	key  string // equal for statements that differ in tenants, constants and spelling alone
	text string // for people
	slug string // of the one tenant whose schema it names; "" for none, or several
}

// sign stands in a text for a constant, and tenantSign for the schema of a tenant that is no
// qualification.
const (
	sign       = "$"
	tenantSign = "<tenant>"
)

// numbered are the commands whose names programs number: savepoints, cursors, prepared
// statements.
var numbered = []string{"savepoint", "release", "rollback", "declare", "fetch", "move", "close", "prepare",
	"deallocate", "execute"}

// qualifying are the commands in which a name before a dot is a schema or stands elsewhere
// too. In SET it may be the class of a setting, in COMMENT a table.
var qualifying = []string{"select", "insert", "update", "delete", "merge", "with", "values", "table", "copy",
	"create", "alter", "drop", "truncate", "analyze", "vacuum", "lock"}

// plainIdentifier is a name that means the same with quotes and without.
var plainIdentifier = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

var digits = regexp.MustCompile(`[0-9]+`)

// normalize takes out of a statement what differs between tenants and between calls:
// comments, which programs put their traces into; the schemas of tenants, also of those
// that are gone; constants and parameters, and how many of them a list has. Strings do
// not come out of it: pg_stat_statements leaves those of utility commands as they are,
// passwords among them.
func (s schemas) normalize(text string) normalized {
	n := normalizer{schemas: s, text: text}
	scanner := sqltext.NewScanner(text)
	for t, ok := scanner.Token(); ok; t, ok = scanner.Token() {
		n.tokens = append(n.tokens, t)
	}
	for len(n.tokens) > 0 && n.tokens[len(n.tokens)-1].Is(";") {
		n.tokens = n.tokens[:len(n.tokens)-1]
	}
	n.read()
	out := normalized{key: strings.Join(n.key, " "), text: strings.Join(n.shown, "")}
	if len(n.slugs) == 1 {
		out.slug = n.slugs[0]
	}
	return out
}

type normalizer struct {
	schemas

	text   string
	tokens []sqltext.Token
	alone  map[string]bool // names that stand somewhere without a dot behind them
	first  string          // word of the command
	key    []string
	shown  []string // a part for each of key, with the space before it
	end    int      // in text of the last token that was taken
	slugs  []string
}

func (n *normalizer) read() {
	n.alone = map[string]bool{"excluded": true, "new": true, "old": true}
	for i, t := range n.tokens {
		name := t.Name()
		if n.first == "" && t.Kind == sqltext.Word {
			n.first = name
		}
		if name != "" && !n.dot(i+1) {
			n.alone[name] = true
		}
	}
	for i := 0; i < len(n.tokens); i++ {
		if n.qualifies(i) {
			n.found(n.tokens[i].Name())
			n.end = n.tokens[i+1].End() // as if it stood there without it
			if i > 0 && n.tokens[i-1].End() < n.tokens[i].Offset {
				n.end--
			}
			i++
			continue
		}
		n.take(i)
	}
}

func (n *normalizer) dot(i int) bool { return i < len(n.tokens) && n.tokens[i].Is(".") }

// qualifies reports whether token i is the schema of a tenant before a name. A tenant's
// schema may be called like an alias or a table of the statement, which is known by
// standing elsewhere too. What no schema is called that is there, and nothing in the
// statement, is the schema of a tenant that is gone.
func (n *normalizer) qualifies(i int) bool {
	name := n.tokens[i].Name()
	if name == "" || !n.dot(i+1) || i+2 >= len(n.tokens) || n.tokens[i+2].Name() == "" ||
		i > 0 && n.tokens[i-1].Is(".") {
		return false
	}
	return !n.alone[name] && (n.tenants[name] != "" || !n.others[name] && slices.Contains(qualifying, n.first))
}

// found notes the tenant of a schema.
func (n *normalizer) found(schema string) {
	if slug := n.tenants[schema]; slug != "" && !slices.Contains(n.slugs, slug) {
		n.slugs = append(n.slugs, slug)
	}
}

// take adds token i to the key and to the text.
func (n *normalizer) take(i int) {
	t := n.tokens[i]
	key, shown := t.Text, t.Text
	switch {
	case t.Kind == sqltext.String:
		key, shown = sign, sign
	case t.Kind == sqltext.Number, strings.HasPrefix(t.Text, sign) && t.Kind == sqltext.Symbol:
		key = sign
	case t.Kind == sqltext.Word, t.Kind == sqltext.Quoted:
		key, shown = n.name(i)
	}
	switch {
	case key == sign && n.endsIn(sign, ","): // one more of a list
		n.shorten(1)
	case key == ")" && n.endsIn("(", sign, ")", ",", "(", sign): // one more row
		n.shorten(3)
	default:
		if len(n.shown) > 0 && t.Offset > n.end {
			shown = " " + shown
		}
		n.key, n.shown = append(n.key, key), append(n.shown, shown)
	}
	n.end = t.End()
}

// shorten takes back the last tokens, and shows that what is before them goes on.
func (n *normalizer) shorten(tokens int) {
	const more = ", ..."
	left := len(n.key) - tokens
	n.key, n.shown = n.key[:left], n.shown[:left]
	if !strings.HasSuffix(n.shown[left-1], more) {
		n.shown[left-1] += more
	}
}

// name returns the name that token i is, for the key and for people.
func (n *normalizer) name(i int) (key, shown string) {
	t := n.tokens[i]
	name := t.Name()
	if t.Kind == sqltext.Quoted {
		// Sequelize calls the table of a schema "tenant_acme.contacts".
		if schema, rest, cut := strings.Cut(name, "."); cut && n.tenants[schema] != "" {
			n.found(schema)
			return `"` + rest + `"`, `"` + rest + `"`
		}
	}
	if (n.tenants[name] != "" || n.roles[name] != "" || n.path(i) && !n.others[name]) && n.names(i) {
		n.found(name)
		return tenantSign, tenantSign
	}
	key, shown = t.Text, t.Text
	if plainIdentifier.MatchString(name) {
		key = name
	}
	last := 4 // fetch forward 10 from x
	if n.first == "declare" {
		last = 1 // a query follows
	}
	if i > 0 && i <= last && slices.Contains(numbered, n.first) {
		key = digits.ReplaceAllString(key, sign)
	}
	return key, shown
}

// names reports whether token i names a schema or a role where that is no qualification: in
// SET search_path and SET ROLE, and behind the word SCHEMA.
func (n *normalizer) names(i int) bool {
	if n.first == "set" {
		return i > 1
	}
	for at := i - 1; at > 0 && at >= i-4; at-- { // create schema if not exists x
		if n.tokens[at].Is("schema") {
			return true
		}
	}
	return false
}

// path reports whether token i is a schema in SET search_path.
func (n *normalizer) path(i int) bool {
	at := slices.IndexFunc(n.tokens[:min(3, len(n.tokens))], func(t sqltext.Token) bool { return t.Is("search_path") })
	return n.first == "set" && at > 0 && i > at+1 && n.tokens[i].Name() != "$user" && !n.tokens[i].Is("default")
}

// endsIn reports whether the key ends in these tokens.
func (n *normalizer) endsIn(tokens ...string) bool {
	return len(n.key) >= len(tokens) && slices.Equal(n.key[len(n.key)-len(tokens):], tokens)
}
