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
