package registry

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxSlug is the longest slug, in bytes. A longer name is refused rather than
// cut, so that two names never become one.
const MaxSlug = 100

// ErrInvalidName is wrapped by every error about a name.
var ErrInvalidName = errors.New("invalid tenant name")

// Slug returns the name a tenant goes by, made from the name somebody typed:
// composed (NFC), lower case, white space around it dropped, and every run of
// characters that are neither letters nor digits one hyphen. "Tech Startup",
// "tech-startup" and "TECH_STARTUP " are the same tenant, tech-startup.
//
// A name with control characters, invisible formatting characters or invalid
// UTF-8 is refused, as is one that starts with a hyphen (it was meant as a flag),
// one without a letter or digit, and one longer than MaxSlug.
func Slug(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("%w %q: not valid UTF-8", ErrInvalidName, name)
	}
	trimmed := strings.Trim(name, " ")
	if strings.HasPrefix(trimmed, "-") {
		return "", fmt.Errorf("%w %q: starts with a hyphen, like a flag", ErrInvalidName, name)
	}
	var b strings.Builder
	gap := false
	// Lower case may decompose a letter, so it is composed again afterwards.
	for _, r := range norm.NFC.String(strings.ToLower(norm.NFC.String(trimmed))) {
		switch {
		case Invisible(r):
			return "", fmt.Errorf("%w %q: holds the character %U, which is not shown", ErrInvalidName, name, r)
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r) && b.Len() > 0 && !gap:
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
		default:
			gap = true
		}
	}
	slug := b.String()
	switch {
	case slug == "":
		return "", fmt.Errorf("%w %q: no letter or digit in it", ErrInvalidName, name)
	case len(slug) > MaxSlug:
		return "", fmt.Errorf("%w %q: %d bytes, at most %d are kept", ErrInvalidName, shorten(name), len(slug), MaxSlug)
	}
	return slug, nil
}

// Invisible reports whether a name must not hold a character because it is not shown, or
// not as what it is: controls, formatting, private use, separators of lines, and what is
// no valid UTF-8.
func Invisible(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co) || r == '\u2028' || r == '\u2029' ||
		r == utf8.RuneError
}

func shorten(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
