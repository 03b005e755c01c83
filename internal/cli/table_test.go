package cli

import (
	"strings"
	"testing"
)

type reasoned struct{ name, title, why string }

func reasons() List[reasoned] {
	return List[reasoned]{
		Name: func(r reasoned) string { return r.name },
		Columns: []Column[reasoned]{
			{Name: "name", Value: func(r reasoned) any { return r.name }},
			{Name: "title", Spare: true, Value: func(r reasoned) any { return r.title }},
			{Name: "version", Value: func(reasoned) any { return Serial(20261124091500) }},
			{Name: "why", Text: true, Value: func(r reasoned) any { return r.why }},
		},
	}
}

// A text is broken, a name is not cut while another column can go, and a number that is
// a name has no commas.
func TestNarrowTable(t *testing.T) {
	t.Parallel()
	rows := []reasoned{
		{"acme-corporation", "Acme Corporation of Springfield",
			"the lock was not granted in five attempts: a_word_that_is_longer_than_the_column"},
		{"globex", "Globex", ""},
	}
	d := &papers{}
	p := newPrinter(d, "table")
	p.Terminal, p.Width = true, 60
	if err := PrintList(p, reasons(), rows); err != nil {
		t.Fatal(err)
	}
	same(t, "table", d.out.String(), `NAME              VERSION         WHY
acme-corporation  20261124091500  the lock was not granted
                                  in five attempts:
                                  a_word_that_is_longer_than
                                  _the_column
globex            20261124091500
`)
}

func TestFold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"short", "short"},
		{"target    crm_prod on db1:5432 as migrator", "target    crm_prod\n  on db1:5432 as\n  migrator"},
		{"a_word_that_has_no_blank_at_all and more", "a_word_that_has_no_blank_at_all\n  and more"},
		{"one\ntwo", "one\ntwo"},
		{strings.Repeat("x", 20), strings.Repeat("x", 20)},
	} {
		same(t, tt.text, Fold(tt.text, 18, "  "), tt.want)
	}
}

// What is there to be copied is never cut: where there is no room it stands below its row.
// Elsewhere it is a column, and a column has a name in a pipe.
func TestCopiedColumn(t *testing.T) {
	t.Parallel()
	list := List[reasoned]{
		Name: func(r reasoned) string { return r.title },
		Columns: []Column[reasoned]{
			{Name: "name", Key: true, Value: func(r reasoned) any { return r.name }},
			{Name: "version", Spare: true, Value: func(reasoned) any { return Serial(4) }},
			{Name: "file", Copied: true, Value: func(r reasoned) any { return r.title }},
			{Name: "note_of_it", Blank: true, Copied: true, Text: true, Value: func(r reasoned) any { return r.why }},
		},
	}
	rows := []reasoned{
		{"acme-corporation", "a directory/acme-corporation-20261124T091500Z-v4", "the checksum is not the one that was written"},
		{"globex", "b/globex-20261124T091500Z-v4", ""},
	}
	for _, tt := range []struct {
		width int
		want  string
	}{
		{122, `NAME              VERSION  FILE
acme-corporation  4        a directory/acme-corporation-20261124T091500Z-v4  the checksum is not the one that was written
globex            4        b/globex-20261124T091500Z-v4
`},
		{80, `NAME              VERSION  FILE
acme-corporation  4        a directory/acme-corporation-20261124T091500Z-v4
  the checksum is not the one that was written
globex            4        b/globex-20261124T091500Z-v4
`},
		{30, `NAME              VERSION
acme-corporation  4
  a directory/acme-corporation-20261124T091500Z-v4
  the checksum is not the one
  that was written
globex            4
  b/globex-20261124T091500Z-v4
`},
	} {
		d := &papers{}
		p := newPrinter(d, "table")
		p.Terminal, p.Width = true, tt.width
		if err := PrintList(p, list, rows); err != nil {
			t.Fatal(err)
		}
		same(t, "a terminal", d.out.String(), tt.want)
	}
	d := &papers{}
	if err := PrintList(newPrinter(d, "table"), list, rows[1:]); err != nil {
		t.Fatal(err)
	}
	same(t, "a pipe", d.out.String(), "NAME\tVERSION\tFILE\tNOTE OF IT\nglobex\t4\tb/globex-20261124T091500Z-v4\t\n")
}
