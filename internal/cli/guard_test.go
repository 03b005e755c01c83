package cli

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever is written piece by piece, a terminal gets text and sequences of ours alone.
func TestGuard(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b]0;title\x07b\x1b[2Jc\x1b[31md\x1b[0m\u202ee\u009bm\x7f\x00ä\xff\r\x1b[J\n"
	const want = "a\\x1b]0;title\\x07b\\x1b[2Jc\x1b[31md\x1b[0m\\u202ee\\u009bm\\x7f\\x00ä\\xff\r\x1b[J\n"
	for size := 1; size <= len(hostile); size++ {
		var out bytes.Buffer
		g := NewGuard(&out)
		for text := hostile; text != ""; {
			n := min(size, len(text))
			if written, err := g.Write([]byte(text[:n])); written != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", written, n, err)
			}
			text = text[n:]
		}
		if out.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, out.String(), want)
		}
	}
	for _, s := range ownSequences() {
		if strings.ContainsAny(Visible(s), "\x1b") {
			t.Errorf("%q is not escaped where it comes from outside", s)
		}
	}
}
