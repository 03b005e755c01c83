package sqltext_test

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/sqltext"
)

func TestFewerRows(t *testing.T) {
	tests := []struct{ sql, text, head string }{
		{"insert into t (a) values (1);", "insert into t (a) values (1);", "insert into t (a) values"},
		{"insert into t values (1, 'a'), (-2, null),\n(3.5, '; (') ;", "insert into t values (1, 'a') ;",
			"insert into t values"},
		{"insert into t values (1), (2)", "insert into t values (1)", "insert into t values"},
		{"insert into t values (1), (2) on conflict do nothing;", "insert into t values (1) on conflict do nothing;", ""},
		{"insert into t values (1), (f(2)), (3);", "insert into t values (1), (f(2)), (3);", ""},
		{"insert into t values (1), (2), (f(3)), (4);", "insert into t values (1), (f(3)), (4);", ""},
		{"insert into t values (f(1)), (2), (3);", "insert into t values (f(1)), (2), (3);", ""},
		{"insert into t values (1), (2 3);", "insert into t values (1), (2 3);", ""},
		{"insert into t values (1), (E'\\xzz'), ('open", "insert into t values (1), (E'\\xzz'), ('open", ""},
		{"insert into t values (1), (1a);", "insert into t values (1), (1a);", ""},
		{"insert into t values (1), (2),;", "insert into t values (1),;", ""},
		{"insert into t values (1), (2); insert into u values (3);",
			"insert into t values (1); insert into u values (3);", ""},
		{"insert into t (values) values ((1)), (2);", "insert into t (values) values ((1)), (2);", ""},
		{"insert into t select * from (values (1), (2)) v;", "insert into t select * from (values (1), (2)) v;", ""},
		{"select 1;", "select 1;", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		short := sqltext.FewerRows(tt.sql)
		if short.Text != tt.text || short.Head != tt.head {
			t.Errorf("%q\n  got  %q, head %q\n  want %q, head %q", tt.sql, short.Text, short.Head, tt.text, tt.head)
		}
		for _, word := range []string{"conflict", "f(", "into"} {
			if at := strings.LastIndex(short.Text, word); at >= 0 && tt.sql[short.Offset(at):][:len(word)] != word {
				t.Errorf("%q: offset %d of the shortened text is %d of the whole", tt.sql, at, short.Offset(at))
			}
		}
	}
}

// Rows of constants do not keep a refusal from being seen, wherever it stands.
func TestJudgeOfManyRows(t *testing.T) {
	rows := strings.Repeat("(1, 'a constant'), ", 2000)
	for sql, want := range map[string]bool{
		"insert into t values " + rows + "(2, 'b')":                                                true,
		"insert into public.t values " + rows + "(2, 'b')":                                         false,
		"insert into t values " + rows + "(2, set_config('search_path', 'public', false))":         false,
		"insert into t values " + rows + "(2, 'b'), (3, set_config('role', 'x', false)), (4, 'c')": false,
	} {
		if got := sqltext.Judge(sql, true).Refusal == nil; got != want {
			t.Errorf("%s ... %s: taken %v, want %v", sql[:40], sql[len(sql)-40:], got, want)
		}
	}
}
