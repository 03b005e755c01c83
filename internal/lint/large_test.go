package lint_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/lint"
)

// Rows of constants are passed over, and what stands before, among and behind them is
// seen all the same, at its place.
func TestRowsOfConstants(t *testing.T) {
	rows := "values\n" + strings.Repeat("(1, 'a constant'),\n", 60000)
	tests := []struct {
		sql, rules string
		line       int // of the first finding
	}{
		{"insert into t " + rows + "(2, 'b');", "", 0},
		{"insert into other.t " + rows + "(2, 'b');", "other-schema", 2},
		{"insert into t " + rows + "(2, 'b') on conflict do nothin;", "syntax", 60003},
		{"insert into t " + rows + "(2, other.f());", "shared-object", 60003},
		{"insert into t " + rows + "(2, b c);", "syntax", 60003},
		{"insert into t " + rows + "(" + strings.Repeat("2, ", 400000) + "f());", "unchecked", 2},
		{"create table u as " + rows + "(2, 'b');", "unchecked", 2},
		{"insert into t values (1);\ninsert into t values (2), (3);\ninsert into u values (4;", "goose syntax", 4},
		{"insert into t (a) values (1);\ninsert into t (a) values (nextval('other.s'));", "schema-name", 3},
	}
	for _, tt := range tests {
		findings := check(t, lint.Options{}, file("1_x.sql", up(tt.sql)))
		if got := rules(findings); got != tt.rules || len(findings) > 0 && findings[0].Line != tt.line {
			t.Errorf("%.40s … %s\n  got  %q %.200v\n  want %q in line %d", tt.sql, tt.sql[max(0, len(tt.sql)-40):], got,
				findings, tt.rules, tt.line)
		}
	}
}
