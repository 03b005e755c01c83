package contactfile_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\\b\f\n\r\t\x01\x1f\x7f", "ü\u2028\U0001F600</script>"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !utf8.Valid(in) || bytes.IndexByte(in, 0) >= 0 {
			return // rejected before
		}
		var back string
		out := contactfile.AppendString([]byte("before"), in)
		if err := json.Unmarshal(out[len("before"):], &back); err != nil || back != string(in) ||
			bytes.ContainsFunc(out, func(r rune) bool { return r < ' ' || r == 0x7F }) {
			t.Fatalf("%q: %s reads as %q, %v", in, out, back, err)
		}
	})
}
