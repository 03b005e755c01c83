package suggest_test

import (
	"testing"

	"github.com/crmctl/crmctl/internal/suggest"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	commands := []string{"all-tenants", "public", "status", "retry", "runs", "tenant"}
	tests := []struct{ word, want string }{
		{"al-tenants", "all-tenants"},
		{"all-tenatns", "all-tenants"},
		{"All-Tenants", "all-tenants"},
		{"pubilc", "public"},
		{"stat", "status"},
		{"tenants", "tenant"},
		{"rnus", "runs"},
		{"", ""},
		{"x", ""},
		{"import", ""},
		{"completely-else", ""},
	}
	for _, tt := range tests {
		if got := suggest.Nearest(tt.word, commands); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	if got, want := suggest.DidYouMean("acme", []string{"globex", "acme-corp"}),
		`; did you mean "acme-corp"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := suggest.DidYouMean("zzz", []string{"globex"}); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}
