package sqltext

import (
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {" ; -- a;\n ;", nil},
		"two":     {"select 1; select 2", []string{"select 1;", "select 2"}},
		"strings": {`select ';', 'it''s;', e'\';', "a;""b;"; b`,
			[]string{`select ';', 'it''s;', e'\';', "a;""b;";`, "b"}},
		"backslash in a plain string": {`select '\'; b`, []string{`select '\';`, "b"}},
		"continued string":            {"select e'a' \n -- c\n '\\';'; b", []string{"select e'a' \n -- c\n '\\';';", "b"}},
		"no continuation":             {"select e'a' '\\'; b", []string{"select e'a' '\\';", "b"}},
		"prefixes": {`select U&';', u&'\'; n';' x'1', U&"\;"; b`,
			[]string{`select U&';', u&'\';`, `n';' x'1', U&"\;";`, "b"}},
		"dollar quotes": {"do $$ a; $$; do $ü1$ ;$$; $ü1$; b",
			[]string{"do $$ a; $$;", "do $ü1$ ;$$; $ü1$;", "b"}},
		"dollar in a name":      {"select a$b$; select c$b$", []string{"select a$b$;", "select c$b$"}},
		"dollar after a number": {"select 1$$;$$; b", []string{"select 1$$;$$;", "b"}},
		"parameter":             {"select $1; b", []string{"select $1;", "b"}},
		"parameter and quote":   {"select $1$$;$$; b", []string{"select $1$$;$$;", "b"}},
		"comments":              {"select 1 /* ; /* ; */ ; */; -- x;\nb", []string{"select 1 /* ; /* ; */ ; */;", "b"}},
		"a comment ends at CR":  {"-- a\rselect 1; b", []string{"select 1;", "b"}},
		"operator and comment":  {"select 1 +-- ;\n 2; b", []string{"select 1 +-- ;\n 2;", "b"}},
		"rule": {"create rule r as on insert to t do also (insert into a values (1); insert into b values (2)); b", []string{
			"create rule r as on insert to t do also (insert into a values (1); insert into b values (2));", "b",
		}},
		"atomic": {"create or replace function f() returns int begin atomic select case when a then 1 end; select 2; end; " +
			"create function g() returns int language sql as 'x'; b", []string{
			"create or replace function f() returns int begin atomic select case when a then 1 end; select 2; end;",
			"create function g() returns int language sql as 'x';", "b",
		}},
		"atomic with a bracket": {"create procedure p() begin atomic insert into t values ((case when true then 1 end)); " +
			"end; b", []string{
			"create procedure p() begin atomic insert into t values ((case when true then 1 end)); end;", "b",
		}},
		"columns named as words": {"create table t (begin int, atomic int, case_ int); create function begin() returns int " +
			"return 1; b", []string{
			"create table t (begin int, atomic int, case_ int);", "create function begin() returns int return 1;", "b",
		}},
		"begin alone":      {"begin; atomic; end", []string{"begin;", "atomic;", "end"}},
		"open bracket":     {"select (1; b", []string{"select (1; b"}},
		"closed too often": {"select 1); b", []string{"select 1);", "b"}},
		"open quote":       {"select 'a; b", []string{"select 'a; b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, command := range Split(c.text) {
				if !strings.HasPrefix(c.text[command.Offset:], command.Text) {
					t.Errorf("offset %d of %q is wrong", command.Offset, command.Text)
				}
				got = append(got, command.Text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	var got []string
	for _, token := range Tokens(`SELECT "A""b", u&"c", Tab.x::int4 /* no */ FROM t$1 WHERE y >= 1.5e3 AND z = $12`) {
		name := token.Name()
		if name == "" {
			name = "<" + token.Text + ">"
		}
		got = append(got, name)
	}
	want := []string{
		"select", `A"b`, "<,>", "c", "<,>", "tab", "<.>", "x", "<:>", "<:>", "int4", "from", "t$1", "where",
		"y", "<>>", "<=>", "<1.5e3>", "and", "z", "<=>", "<$12>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLeading(t *testing.T) {
	t.Parallel()
	if got := Leading("/* a */ Create -- b\n UNIQUE index", 4); !slices.Equal(got,
		[]string{"create", "unique", "index", ""}) {
		t.Errorf("got %q", got)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	text := `copy t from /* here */ STDIN; 'from stdin' "from" stdin from x stdin from stdin`
	if got := Follow(text, "from", "stdin"); len(got) != 2 || got[0] != 7 {
		t.Errorf("got %v", got)
	}
}

// FuzzSplit holds that nothing but white space, comments and semicolons is lost, and
// that what was cut is not cut any further.
func FuzzSplit(f *testing.F) {
	f.Add("select 1; select $a$;$a$; create function f() begin atomic select 1; end; /* ; */")
	f.Add("create rule r as on insert to t do (a; b); e'\\';' 'x'\n';'")
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		for _, c := range Split(text) {
			if c.Offset < at || c.Offset+len(c.Text) > len(text) {
				t.Fatalf("%q lies at %d, before %d", c.Text, c.Offset, at)
			}
			for _, lost := range Tokens(text[at:c.Offset]) {
				if !lost.Is(";") {
					t.Fatalf("lost %q", lost.Text)
				}
			}
			if again := Split(c.Text); len(again) != 1 || again[0].Text != c.Text {
				t.Fatalf("%q is cut again into %d", c.Text, len(again))
			}
			at = c.Offset + len(c.Text)
		}
		for _, lost := range Tokens(text[at:]) {
			if !lost.Is(";") {
				t.Fatalf("lost %q at the end", lost.Text)
			}
		}
	})
}
