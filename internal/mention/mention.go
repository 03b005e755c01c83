package mention

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Mention is something that holds the name.
type Mention struct {
	Object string // as PostgreSQL describes it: `function public.f(text)`
	Where  string // in what of it: "its text", "its setting search_path"
}

// String returns `function public.f(text) (its text)`.
func (m Mention) String() string { return m.Object + " (" + m.Where + ")" }

// most is how many are returned: whoever mends them asks again.
const most = 50

// Find returns what holds the name of a schema as a text, at most 50, in the order of
// their descriptions. schema is what the schema is called now, which is another name
// within a transaction that has renamed it. It finds too much rather than too little:
// a word in a comment of a function's body counts.
func Find(ctx context.Context, q db.Querier, name string, schema db.Schema) ([]Mention, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByName[Mention], findQuery(),
		inText(name), longestWord(name), inTree(name), schema.String(), most, bytesOf(name))
	if err != nil {
		return nil, fmt.Errorf("look for what mentions %s: %w", name, err)
	}
	return found, nil
}

// inText returns a regular expression of PostgreSQL's for the name as a word of a
// text, as it is and as it stands within quotes.
func inText(name string) string {
	forms := []string{escape(name)}
	for _, quote := range []string{`"`, `'`} {
		if strings.Contains(name, quote) {
			forms = append(forms, escape(strings.ReplaceAll(name, quote, quote+quote)))
		}
	}
	return `(?<![[:alnum:]_$])(?:` + strings.Join(forms, "|") + `)(?![[:alnum:]_$])`
}

func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 && !isWord(byte(r)) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// longestWord returns the longest part of the name that stands in every form of it, in
// lower case: a text without it need not be looked at closely.
func longestWord(name string) string {
	longest, begin := "", 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && isWord(name[i]) {
			continue
		}
		if i-begin > len(longest) {
			longest = name[begin:i]
		}
		begin = i + 1
	}
	return strings.ToLower(longest)
}

// inTree returns a regular expression for the name as a word of a constant in an
// expression as the catalog keeps it, where the bytes of a constant stand as numbers:
// `:constvalue 12 [ 48 0 0 0 116 101 110 97 110 116 95 97 ]`. Letters count in both
// cases. A byte above 127 is a negative number where char has a sign.
func inTree(name string) string {
	// A letter, digit, _ or $, or part of another character.
	const word = ` (?:36|4[89]|5[0-7]|6[5-9]|[78][0-9]|90|95|9[789]|1[01][0-9]|12[0-2]|12[89]|1[3-9][0-9]|2[0-9][0-9]|-[0-9]+)`
	// The strings of a jsonb stand one after the other: no end of a word is seen there.
	const jsonb = `:consttype 3802 [^]]*`
	bytes := bytesOf(name)
	return `(?<!` + word + `)` + bytes + `(?!` + word + ` )(?= )|` + jsonb + bytes + `(?= )`
}

// bytesOf returns a regular expression for the bytes of the name as inTree has them,
// whatever stands before and after.
func bytesOf(name string) string {
	var b strings.Builder
	for i := range len(name) {
		b.WriteByte(' ')
		switch c := name[i]; {
		case c >= 0x80:
			fmt.Fprintf(&b, "(?:%d|%d)", c, int(c)-256)
		case c >= 'a' && c <= 'z':
			fmt.Fprintf(&b, "(?:%d|%d)", c, c-'a'+'A')
		case c >= 'A' && c <= 'Z':
			fmt.Fprintf(&b, "(?:%d|%d)", c, c-'A'+'a')
		default:
			b.WriteString(strconv.Itoa(int(c)))
		}
	}
	return b.String()
}
