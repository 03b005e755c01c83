package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s with everything escaped that a terminal would obey instead
// of show: control characters, line breaks, marks that change the direction of
// text, invisible format characters and bytes that are not UTF-8. Names and
// contacts come from strangers.
func Visible(s string) string {
	if !strings.ContainsFunc(s, Hazardous) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !Hazardous(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

// Hazardous reports whether visible escapes a rune. The replacement character
// stands for invalid bytes too, so it has to be looked at. The zero-width
// joiner is let through: families and flags of emoji are made with it.
func Hazardous(r rune) bool {
	const zeroWidthJoiner = '\u200d'
	return r == utf8.RuneError || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		(unicode.Is(unicode.Cf, r) && r != zeroWidthJoiner)
}
