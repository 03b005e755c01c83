package anonymize_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/anonymize"
)

// Addresses that are not the same never become the same, and those that are do.
func TestFakesAreUnique(t *testing.T) {
	t.Parallel()
	d := anonymize.New("seed")
	seen := map[string]bool{}
	for i := range 20_000 {
		fake := string(d.Email(fmt.Appendf(nil, "user%d@example.com", i)))
		if seen[fake] || fake != strings.ToLower(fake) {
			t.Fatalf("%s comes twice or is not lower case", fake)
		}
		seen[fake] = true
	}
	if a, b := d.Email([]byte("Ada@Example.com ")), d.Email([]byte("ada@example.com")); !bytes.Equal(a, b) {
		t.Errorf("%s and %s for one address", a, b)
	}
	for value, want := range map[string]string{
		"+49 30 1234567": "+999", "(030) 123-456": "+999", "ada@example.com": "@example.com", "Ada Lovelace": "Q",
		"one two three four five six": ".",
	} {
		if fake := string(d.Guess([]byte(value))); !strings.Contains(fake, want) || strings.Contains(fake, value) {
			t.Errorf("%q becomes %q", value, fake)
		}
	}
	if a, b := d.Phone([]byte("+49 (30) 123-456")), d.Phone([]byte("4930123456")); !bytes.Equal(a, b) {
		t.Errorf("%s and %s for one number", a, b)
	}
	id := []byte("0123456789abcdef")
	if a, b := d.ID(id), d.ID(id); !bytes.Equal(a, b) || bytes.Equal(a, id) || len(a) != 16 || a[6]>>4 != 8 {
		t.Errorf("%x and %x for one id", a, b)
	}
}
