package stats

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// Suggestion is what would help a statement.
type Suggestion struct {
	Table string
	Why   string
	// Statements make it possible: those of a migration.
	Statements []string
	// Instead is how the condition has to be written then; "" for as it is.
	Instead string
}

// suggest looks for conditions that a step finds out row by row, on tables so large that it
// matters.
func (g PlanGroup) suggest(f Facts) []Suggestion {
	var out []Suggestion
	g.Plan.Root.walk(0, func(n *PlanNode, _ int) {
		if n.Filter == "" || n.Relation == "" || n.IndexCond != "" || g.largest(n.Relation) < largeTable {
			return
		}
		for _, c := range conditions(n.Filter) {
			c.share = n.Rows / float64(g.largest(n.Relation))
			for _, s := range c.suggest(g.relationsTotal[n.Relation][0], f.Trigram) {
				if !slices.ContainsFunc(out, func(o Suggestion) bool { return fmt.Sprint(o) == fmt.Sprint(s) }) {
					out = append(out, s)
				}
			}
		}
	})
	return out
}

// condition is a comparison of a column, or of a function of one, with a constant.
type condition struct {
	column   string // as SQL: email, lower(email)
	operator string // =, <, >, <=, >=, ~~ (LIKE), ~~* (ILIKE)
	constant string // without its quotes
	isParam  bool   // a parameter, whose value is not known
	share    float64
}

// suggest returns what helps a condition.
func (c condition) suggest(table TableFacts, trigram bool) []Suggestion {
	if strings.HasPrefix(c.operator, "~~") && !c.isParam && c.longest() < 3 {
		return nil // it finds nearly everything
	}
	create := func(why, columns, instead string) Suggestion {
		return Suggestion{Table: table.Table, Why: why, Statements: []string{"create index on " + table.Name + " " + columns},
			Instead: instead}
	}
	grams := create("finds any part of a text, by groups of three letters", "using gin ("+c.column+" gin_trgm_ops)", "")
	if !trigram {
		grams.Statements = append([]string{"create extension pg_trgm"}, grams.Statements...)
	}
	head, rest, wild := c.pattern()
	const few = 0.05
	switch {
	case !strings.HasPrefix(c.operator, "~~"):
		if c.share > few {
			return nil
		}
		return []Suggestion{create("the whole table is read for a small part of it", "("+c.column+")", "")}
	case c.isParam:
		return []Suggestion{{Table: table.Table,
			Why: "whether an index helps depends on the pattern: explain it with a value"}}
	case c.operator == "~~*":
		if head != "" && !strings.HasPrefix(c.column, "lower(") {
			return []Suggestion{create("serves what begins so, whatever its case", "(lower("+c.column+") text_pattern_ops)",
				"lower("+c.column+") like lower('"+quoteless(c.constant)+"')"), grams}
		}
		return []Suggestion{grams}
	case !wild:
		return []Suggestion{create("the whole table is read for a small part of it", "("+c.column+")", "")}
	case head != "":
		return []Suggestion{create("serves what begins so, in any collation", "("+c.column+" text_pattern_ops)", "")}
	case strings.HasPrefix(c.constant, "%") && rest != "" && !strings.ContainsAny(c.constant[1:], "%_"):
		return []Suggestion{
			create("an index by the end of the text; none by its beginning serves this",
				"(reverse("+c.column+") text_pattern_ops)",
				"reverse("+c.column+") like reverse('"+quoteless(c.constant)+"')"),
			grams,
		}
	}
	return []Suggestion{grams}
}

// pattern cuts the pattern of a LIKE: what is before its first wildcard, and behind it.
func (c condition) pattern() (head, rest string, wild bool) {
	for i := 0; i < len(c.constant); i++ {
		switch c.constant[i] {
		case '\\':
			i++
		case '%', '_':
			return c.constant[:i], c.constant[i+1:], true
		}
	}
	return c.constant, "", false
}

// longest returns the length of the longest part of the pattern without a wildcard.
func (c condition) longest() int {
	most := 0
	for part := range strings.FieldsFuncSeq(c.constant, func(r rune) bool { return r == '%' || r == '_' }) {
		most = max(most, utf8.RuneCountInString(part))
	}
	return most
}

// quoteless returns a text as it stands within quotes in SQL.
func quoteless(text string) string { return strings.ReplaceAll(text, "'", "''") }

// conditions reads the comparisons out of a condition as EXPLAIN writes it:
// ((email)::text ~~ '%@example.com'::text). Those under NOT and OR are left out: an index on
// one of them serves no more than the others.
func conditions(filter string) []condition {
	tokens := sqltext.Tokens(filter)
	var out []condition
	for i, t := range tokens {
		if t.Is("or") || t.Is("not") || t.Is("case") {
			return nil
		}
		operator := operatorAt(tokens, i)
		if operator == "" {
			continue
		}
		c := condition{operator: operator, column: columnBefore(filter, tokens, i)}
		if c.column == "" || i+len(operator) >= len(tokens) {
			continue
		}
		switch v := tokens[i+len(operator)]; {
		case v.Kind == sqltext.String:
			c.constant = strings.ReplaceAll(strings.Trim(strings.TrimPrefix(v.Text, "E"), "'"), "''", "'")
		case v.Kind == sqltext.Number, v.Is("any"):
			c.constant = v.Text
		case v.Kind == sqltext.Symbol && strings.HasPrefix(v.Text, sign):
			c.isParam = true
		default:
			continue // another column, a function
		}
		out = append(out, c)
	}
	return out
}

// operatorAt returns the operator that begins at token i, "" for none of those that are
// known.
func operatorAt(tokens []sqltext.Token, i int) string {
	symbol := func(t sqltext.Token) bool {
		return t.Kind == sqltext.Symbol && len(t.Text) == 1 && strings.ContainsAny(t.Text, "=<>~*!@#%^&|+-/?")
	}
	if !symbol(tokens[i]) || i > 0 && symbol(tokens[i-1]) && tokens[i-1].End() == tokens[i].Offset {
		return ""
	}
	var operator strings.Builder
	for j := i; j < len(tokens) && symbol(tokens[j]) && (j == i || tokens[j-1].End() == tokens[j].Offset); j++ {
		operator.WriteString(tokens[j].Text)
	}
	if slices.Contains([]string{"=", "<", ">", "<=", ">=", "~~", "~~*"}, operator.String()) {
		return operator.String()
	}
	return ""
}

// columnBefore returns what stands on the left of the operator at token i, without the
// cast to text that the server writes: a column, or a function of one.
func columnBefore(filter string, tokens []sqltext.Token, i int) string {
	end := i - 1
	if end >= 3 && tokens[end].Is("text") && tokens[end-1].Is(":") && tokens[end-2].Is(":") {
		end -= 3
	}
	if end < 0 {
		return ""
	}
	if name := tokens[end]; name.Name() != "" {
		return name.Text // behind the dot of an alias too
	}
	if !tokens[end].Is(")") {
		return ""
	}
	depth, start := 0, end
	for ; start >= 0; start-- {
		if tokens[start].Is(")") {
			depth++
		}
		if tokens[start].Is("(") {
			if depth--; depth == 0 {
				break
			}
		}
	}
	if start < 0 {
		return ""
	}
	if start > 0 && tokens[start-1].Kind == sqltext.Word && tokens[start-1].End() == tokens[start].Offset {
		call := filter[tokens[start-1].Offset:tokens[end].End()]
		return strings.NewReplacer("((", "(", "))", ")").Replace(strings.ReplaceAll(call, "::text", ""))
	}
	if n := end - start; n == 2 || n == 4 && tokens[end-2].Is(".") { // (email), (c.email)
		return tokens[end-1].Text
	}
	return ""
}
