package stats

import (
	"fmt"
	"strings"
	"testing"
)

// What EXPLAIN writes of a condition is read back: the column without the server's cast,
// the operator, the constant.
func TestConditions(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"(email ~~ 'ada@%'::text)":                  "[email ~~ ada@%]",
		"((email)::text ~~ '%@example.com'::text)":  "[email ~~ %@example.com]",
		"(lower((email)::text) = 'x'::text)":        "[lower(email) = x]",
		"(lower(email) ~~ 'x%'::text)":              "[lower(email) ~~ x%]",
		"((c.email)::text ~~* '%it''s%'::text)":     "[email ~~* %it's%]",
		`(("Email")::text = 'x'::text)`:             `["Email" = x]`,
		"((age > 5) AND (name = 'x'::text))":        "[age > 5 name = x]",
		"((age >= 5) AND (age <= 9))":               "[age >= 5 age <= 9]",
		"(email ~~ $1)":                             "[email ~~ param]",
		"(id = ANY ('{1,2}'::integer[]))":           "[id = ANY]",
		"((age > 5) OR (name = 'x'::text))":         "[]",
		"(NOT (name = 'x'::text))":                  "[]",
		"(email !~~ 'x%'::text)":                    "[]",
		"(email <> 'x'::text)":                      "[]",
		"(first = last)":                            "[]",
		"((metadata ->> 'plan'::text) = 'x'::text)": "[]",
		"((a + b) = 5)":                             "[]",
		"(metadata @> '{\"a\": 1}'::jsonb)":         "[]",
		"(email IS NULL)":                           "[]",
		"(SubPlan 1)":                               "[]",
		"":                                          "[]",
		"(created_at > '2026-01-01 00:00:00+00'::timestamp with time zone)": "[created_at > 2026-01-01 00:00:00+00]",
	} {
		got := []string{}
		for _, c := range conditions(filter) {
			constant := c.constant
			if c.isParam {
				constant = "param"
			}
			got = append(got, c.column+" "+c.operator+" "+constant)
		}
		if text := fmt.Sprint(got); text != want {
			t.Errorf("%s: %s, want %s", filter, text, want)
		}
	}
}

// Each kind of pattern has its index, and none is promised what it cannot do.
func TestSuggestionsByPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"~~ ada@%":         "(email text_pattern_ops)",
		"~~ ada%@%":        "(email text_pattern_ops)",
		"~~ %@company.com": "(reverse(email) text_pattern_ops)|reverse(email) like reverse('%@company.com') gin_trgm_ops",
		"~~ %o'hara":       "(reverse(email) text_pattern_ops)|reverse(email) like reverse('%o''hara') gin_trgm_ops",
		"~~ %company%":     "gin_trgm_ops",
		"~~ %com_any":      "gin_trgm_ops",
		"~~ %":             "",
		"~~ %a_b%":         "",
		"~~ ada":           "(email)",
		`~~ 50\%`:          "(email)",
		"~~* ada@%":        "(lower(email) text_pattern_ops)|lower(email) like lower('ada@%') gin_trgm_ops",
		"~~* %company.com": "gin_trgm_ops",
		"= x":              "(email)",
		"> x":              "(email)",
	} {
		operator, constant, _ := strings.Cut(pattern, " ")
		c := condition{column: "email", operator: operator, constant: constant, share: 0.01}
		var got []string
		for _, s := range c.suggest(TableFacts{Table: "contacts", Name: "contacts"}, true) {
			one := strings.TrimPrefix(s.Statements[0], "create index on contacts ")
			one = strings.Replace(one, "using gin (email gin_trgm_ops)", "gin_trgm_ops", 1)
			if s.Instead != "" {
				one += "|" + s.Instead
			}
			got = append(got, one)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", pattern, strings.Join(got, " "), want)
		}
	}
	half := condition{column: "status", operator: "=", constant: "open", share: 0.5}
	if got := half.suggest(TableFacts{Table: "contacts", Name: "contacts"}, true); got != nil {
		t.Errorf("an index for half of the table: %v", got)
	}
	unknown := condition{column: "email", operator: "~~", isParam: true}
	if got := unknown.suggest(TableFacts{Table: "contacts", Name: "contacts"}, true); len(got) != 1 || got[0].Statements != nil {
		t.Errorf("for a pattern that is not known: %v", got)
	}
}
