package importer

import (
	"bytes"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxEmail = 254 // bytes; RFC 5321, 4.5.3.1.3, less the angle brackets
	maxPhone = 128 // bytes; far above any number with its extension
)

// emailByte tells what a byte may be in an address of the plain kind.
type emailByte uint8

const (
	emailLocal  emailByte = 1 << iota // in the part before the @, dots apart
	emailDomain                       // in a label of the domain
)

var emailBytes = func() (t [256]emailByte) {
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = emailLocal|emailDomain, emailLocal|emailDomain
	}
	for c := byte('0'); c <= '9'; c++ {
		t[c] = emailLocal | emailDomain
	}
	for _, c := range []byte("!#$%&'*+/=?^_`{|}~") {
		t[c] = emailLocal
	}
	t['-'] = emailLocal | emailDomain
	return t
}()

// appendEmail appends the normal form of an e-mail address, trimmed and in lower
// case, and reports whether it is one: what net/mail takes as a bare address, with
// a dot in the domain, at most 254 bytes.
func appendEmail(dst, raw []byte) ([]byte, bool) {
	addr := trimAll(raw)
	if len(addr) > maxEmail {
		return dst, false
	}
	if out, ok := appendPlainEmail(dst, addr); ok {
		return out, true
	}
	text := string(addr)
	parsed, err := mail.ParseAddress(text)
	if err != nil || parsed.Address != text {
		return dst, false
	}
	lower := strings.ToLower(text)
	_, domain, _ := strings.Cut(lower[strings.LastIndexByte(lower, '@'):], "@")
	if !strings.Contains(domain, ".") || strings.HasPrefix(domain, "[") || len(lower) > maxEmail {
		return dst, false
	}
	// The database compares with its own lower(); a letter that has no lower
	// case of its own must not make it see a difference.
	for _, r := range lower {
		if unicode.IsUpper(r) || unicode.IsTitle(r) || unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError {
			return dst, false
		}
	}
	return append(dst, lower...), true
}

// appendPlainEmail does so for addresses of ASCII letters, digits and the usual
// marks, which are nearly all, without allocating.
func appendPlainEmail(dst, addr []byte) ([]byte, bool) {
	start := len(dst)
	at, dots, label := -1, 0, 0
	for i, c := range addr {
		switch {
		case c == '.':
			if label == 0 {
				return dst[:start], false
			}
			if at >= 0 {
				dots++
			}
			label = 0
		case c == '@' && at < 0:
			if label == 0 {
				return dst[:start], false
			}
			at, label = i, 0
		case at < 0 && emailBytes[c]&emailLocal != 0, at >= 0 && emailBytes[c]&emailDomain != 0:
			label++
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
		default:
			return dst[:start], false
		}
		dst = append(dst, c)
	}
	if at < 0 || dots == 0 || label == 0 {
		return dst[:start], false
	}
	return dst, true
}

// trimAll takes white space and marks that cannot be seen off both ends.
func trimAll(b []byte) []byte {
	if len(b) > 0 && b[0] > ' ' && b[0] < utf8.RuneSelf && b[len(b)-1] > ' ' && b[len(b)-1] < utf8.RuneSelf {
		return b
	}
	return bytes.TrimFunc(b, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) })
}

// trimBlanks takes blanks and no-break spaces off both ends. Other characters
// stay as they came, tabs and line ends too.
func trimBlanks(b []byte) []byte {
	if len(b) > 0 && b[0] != ' ' && b[0] < utf8.RuneSelf && b[len(b)-1] != ' ' && b[len(b)-1] < utf8.RuneSelf {
		return b
	}
	return bytes.TrimFunc(b, func(r rune) bool { return r == ' ' || r == '\u00A0' })
}

// appendPhone appends a phone number as it came, but for white space, which is
// trimmed and folded to single blanks, and marks that cannot be seen, which
// address books put around numbers. It reports whether the length is acceptable.
func appendPhone(dst, raw []byte) ([]byte, bool) {
	start := len(dst)
	blank := false
	for i := 0; i < len(raw); {
		c := raw[i]
		if c > ' ' && c < utf8.RuneSelf {
			if blank && len(dst) > start {
				dst = append(dst, ' ')
			}
			blank = false
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(raw[i:])
		switch {
		case unicode.IsSpace(r):
			blank = true
		case unicode.Is(unicode.Cf, r):
		default:
			if blank && len(dst) > start {
				dst = append(dst, ' ')
			}
			blank = false
			dst = append(dst, raw[i:i+size]...)
		}
		i += size
	}
	return dst, len(dst)-start <= maxPhone
}

// googleSeparator stands between several values in one cell of a Google export.
const googleSeparator = " ::: "

// timeLayouts are the forms a time may have: those that cannot be mistaken.
var timeLayouts = [...]string{
	time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05Z07",
	"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

// parseTime reads a time; without a zone it is in UTC.
func parseTime(raw []byte) (time.Time, bool) {
	text := string(trimAll(raw))
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1 {
			return t, true
		}
	}
	return time.Time{}, false
}

// presetLayouts are forms of a time that known programs write and that cannot be
// mistaken either: the month is a word, or the zone has no colon.
var presetLayouts = [...]string{
	"2006-01-02T15:04:05.000-0700", "2006-01-02T15:04:05-0700", "2 Jan 2006", "02 Jan 2006", "Jan 2, 2006",
	"January 2, 2006", "2 January 2006",
	"2006-01-02 15:04:05 MST", "Mon, 02 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 MST",
	"20060102T150405Z", "20060102",
}

// parsePresetTime reads a time as known programs write it.
func parsePresetTime(raw []byte) (time.Time, bool) {
	text := string(trimAll(raw))
	for _, layout := range presetLayouts {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1000 {
			return t, true
		}
	}
	return time.Time{}, false
}

// NormalEmail returns the form in which an address is stored, and reports whether the text
// is one.
func NormalEmail(text string) (string, bool) {
	out, ok := appendEmail(nil, []byte(text))
	return string(out), ok
}

// TidyPhone returns a number that is not brought to E.164 as it is stored, and reports
// whether it is not too long for one.
func TidyPhone(text string) (string, bool) {
	out, ok := appendPhone(nil, []byte(text))
	return string(out), ok
}
