package shape

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// words are the patterns that statements are judged by. What two replays within a
// moment cannot tell is judged by the words of the statements. It may be refused too
// much here: the history is always there.
type words struct {
	wordOrQuoted *regexp.Regexp
	// schema.name, but for the table that a foreign key refers to: the rows of the
	// schema do not come from there.
	qualified *regexp.Regexp
	// Statements that only define things do not ask for the time when they run.
	runs, function *regexp.Regexp
	// A clock so coarse that two replays agree, and chance that may; a clock, and what
	// makes it coarse.
	coarse, clock, cut *regexp.Regexp
	// What these do is nowhere in the schema.
	elsewhere *regexp.Regexp
	// What the replays may differ in without the name having a part in it.
	momentOrUUID *regexp.Regexp
	// Comments before a statement.
	comments *regexp.Regexp
}

// patterns compiles them when they are first asked for: most commands do without.
var patterns = sync.OnceValue(func() words { //nolint:gochecknoglobals // never changed
	return words{
		wordOrQuoted: regexp.MustCompile(`"([^"]+)"|'([^']*)'|[\pL_][\pL\pN_$]*`),
		qualified:    regexp.MustCompile(`(?i)(references\s+)?("(?:[^"]|"")+"|[\pL_][\pL\pN_$]*)\s*\.\s*("(?:[^"]|"")+"|[\pL_][\pL\pN_$]*)`),
		runs:         regexp.MustCompile(`(?is)^\s*(insert|update|delete|merge|select|with|values|do|call|execute|refresh|create\s+(unlogged\s+)?table\s.*\bas\b|create\s+materialized)\b`),
		function:     regexp.MustCompile(`(?is)^\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\s+(?:"?[\pL_][\pL\pN_$]*"?\s*\.\s*)?"?([\pL_][\pL\pN_$]*)`),
		coarse:       regexp.MustCompile(`(?i)\b(current_date|current_time|localtime)\b|'(today|tomorrow|yesterday|allballs)'|\b(random|random_normal|setseed)\s*\(`),
		clock:        regexp.MustCompile(`(?i)\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(|\b(current_timestamp|localtimestamp)\b|'now'`),
		cut:          regexp.MustCompile(`(?i)\b(date_trunc|date_bin|extract|date_part|to_char|age|date|make_date)\s*\(|::\s*(pg_catalog\s*\.\s*)?date\b|\bas\s+date\b`),
		elsewhere:    regexp.MustCompile(`(?is)^\s*(notify\b|(create|alter|drop|comment\s+on)\s+(or\s+replace\s+)?(database|role|user|group|tablespace|publication|subscription|event\s+trigger|server|foreign|language|cast|access\s+method|system|schema)\b)|\bpg_notify\s*\(`),
		comments:     regexp.MustCompile(`^(\s*(--[^\n]*(\n|$)|/\*(?s:.*?)\*/))+`),
		momentOrUUID: regexp.MustCompile(`\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?)?|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`),
	}
})

const versionTable = "goose_db_version"

// volatile reports whether the result of a text depends on the time or on chance.
func volatile(text string) bool {
	return patterns().coarse.MatchString(text) || patterns().clock.MatchString(text) && patterns().cut.MatchString(text)
}

// judge says why the end of a history may be another tomorrow, or not be in the
// schema alone, "" where nothing speaks for it.
func judge(script []db.Statement) string {
	script = slices.Clone(script)
	for i := range script {
		script[i].SQL = patterns().comments.ReplaceAllString(script[i].SQL, "")
	}
	changing := volatileFunctions(script)
	for _, s := range script {
		if patterns().elsewhere.MatchString(s.SQL) {
			return "the migrations do something outside the tenant's schema: " + beginning(s.SQL)
		}
		if !patterns().runs.MatchString(s.SQL) || strings.Contains(s.SQL, versionTable) {
			continue // the times of versions are no part of the shape
		}
		if volatile(s.SQL) {
			return "the migrations go by a clock or by chance: " + beginning(s.SQL)
		}
		if name := anyOf(changing, s.SQL, ""); name != "" {
			return "the migrations call " + name + ", which goes by a clock or by chance"
		}
	}
	return ""
}

// volatileFunctions returns the names of functions that go by a clock or by chance,
// or call one that does.
func volatileFunctions(script []db.Statement) map[string]bool {
	bodies := map[string]string{}
	found := map[string]bool{}
	for _, s := range script {
		if f := patterns().function.FindStringSubmatch(s.SQL); f != nil {
			name := strings.ToLower(f[1])
			bodies[name] += s.SQL
			if volatile(s.SQL) {
				found[name] = true
			}
		}
	}
	for grown := len(found) > 0; grown; {
		grown = false
		for name, body := range bodies {
			if !found[name] && anyOf(found, body, name) != "" {
				found[name], grown = true, true
			}
		}
	}
	return found
}

// anyOf returns a name that a text has, but for one.
func anyOf(names map[string]bool, text, but string) string {
	if len(names) == 0 {
		return ""
	}
	for _, w := range wordsOf(text) {
		if names[w] && w != but {
			return w
		}
	}
	return ""
}

// beginning returns a statement's first words.
func beginning(sql string) string {
	const most = 60
	text := strings.Join(strings.Fields(sql), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return text
}

// wordsOf returns the identifiers of a text, as written and in lower case, and what
// stands between quotes, each once.
func wordsOf(text string) []string {
	found := map[string]bool{}
	var scan func(string)
	scan = func(text string) {
		for _, m := range patterns().wordOrQuoted.FindAllStringSubmatch(text, -1) {
			switch {
			case m[1] != "":
				found[m[1]] = true
				scan(m[1])
			case m[2] != "":
				found[m[2]] = true
				scan(m[2])
			default:
				found[m[0]], found[strings.ToLower(m[0])] = true, true
			}
		}
	}
	scan(text)
	out := make([]string, 0, len(found))
	for w := range found {
		if len(w) <= 63 && w != "" { // no longer name exists
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return out
}

// text is everything that a history says.
func (h History) text() string {
	var b strings.Builder
	for _, s := range h.Script {
		b.WriteString(s.SQL)
		b.WriteByte('\n')
	}
	return b.String()
}

// names returns the pairs schema.name that a text has, and whatever else looks like
// it, as the server would fold them.
func names(text string) (schemas, objects []string) {
	seen := map[[2]string]bool{}
	for _, m := range patterns().qualified.FindAllStringSubmatch(text, -1) {
		pair := [2]string{folded(m[2]), folded(m[3])}
		if m[1] != "" || seen[pair] {
			continue
		}
		seen[pair] = true
		schemas, objects = append(schemas, pair[0]), append(objects, pair[1])
	}
	return schemas, objects
}

func folded(identifier string) string {
	if inner, quoted := strings.CutPrefix(identifier, `"`); quoted {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return strings.ToLower(identifier)
}

// foreign says which relation outside a tenant's schema the history names: what it
// is may change, and so may what the migrations make of it. Functions and types
// that belong to no tenant are part of the key.
func foreign(ctx context.Context, conn *pgx.Conn, reg registry.Registry, h History) (string, error) {
	schemas, objects := names(h.text())
	found, err := db.Select(ctx, conn, pgx.RowTo[string], `
		select pg_catalog.format('%I.%I', p.nsp, p.name)
		from unnest($1::text[], $2::text[]) p (nsp, name)
		join pg_catalog.pg_namespace n on n.nspname = p.nsp
		where n.nspname <> 'pg_catalog' and n.nspname <> 'information_schema'
		  and (exists (select from `+reg.Tenants()+` t where t.schema_name = n.nspname)
			or exists (select from pg_catalog.pg_class c where c.relname = p.name and c.relnamespace = n.oid)
			or not exists (select from pg_catalog.pg_proc f where f.proname = p.name and f.pronamespace = n.oid)
			  and not exists (select from pg_catalog.pg_type y where y.typname = p.name and y.typnamespace = n.oid))
		order by 1 limit 1`, schemas, objects)
	if err != nil {
		return "", fmt.Errorf("look up what the migrations name: %w", err)
	}
	if len(found) == 0 {
		return "", nil
	}
	return "the migrations name something outside the tenant's schema: " + found[0], nil
}

// suspicious returns why rows may come from a clock: a table with rows has a default
// or a trigger that goes by one.
func (r *result) suspicious() string {
	for _, t := range r.rows {
		if len(t.rows) > 0 && !t.view && volatile(t.code) {
			return "rows of " + t.name + " may go by a clock or by chance: so does a default or a trigger of it"
		}
	}
	return ""
}

// byName says in what two replays differ that is not a moment or a random
// identifier, and so may come from the name of the schema.
func byName(a, b *result) string {
	if what := difference(a.shape, b.shape, "the schema"); what != "" {
		return what + " is different under another name"
	}
	name := masked(a.rows).firstDifference(masked(b.rows))
	if name != "" {
		return "rows of " + name + " are different under another name"
	}
	if name := a.sequences.firstDifference(b.sequences); name != "" {
		return "sequence " + name + " is different under another name"
	}
	return ""
}

func masked(in tables) tables {
	out := slices.Clone(in)
	for i, t := range out {
		rows := make([]string, len(t.rows))
		for j, row := range t.rows {
			rows[j] = patterns().momentOrUUID.ReplaceAllString(row, "?")
		}
		out[i].rows = rows
	}
	return out
}
