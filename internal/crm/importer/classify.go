package importer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Class is what the values of a column look like.
type Class string

// The classes of columns.
const (
	ClassEmpty   Class = "empty"
	ClassAddress Class = "address" // e-mail addresses
	ClassPhone   Class = "phone"
	ClassName    Class = "name" // of people
	ClassCompany Class = "company"
	ClassDate    Class = "date"
	ClassID      Class = "id"
	ClassText    Class = "text"
)

// look is what the sampled values of a column look like.
type look struct {
	class   Class
	share   float64 // of the values that are not empty, those of the class
	filled  int     // values that are not empty
	address float64 // share of addresses
	sample  string  // a typical value

	distinct int // different values
}

// classify judges the sampled values of one column. isNull tells values that mean
// nothing.
func classify(values []string, isNull func(string) bool) look {
	counts := map[Class]int{}
	first := map[Class]string{}
	distinct := map[string]bool{}
	filled := 0
	for _, v := range values {
		v = strings.TrimSpace(v)
		if v == "" || isNull(v) {
			continue
		}
		filled++
		distinct[v] = true
		c := valueClass(v)
		counts[c]++
		if _, ok := first[c]; !ok {
			first[c] = v
		}
	}
	if filled == 0 {
		return look{class: ClassEmpty}
	}
	l := look{class: ClassText, filled: filled, address: float64(counts[ClassAddress]) / float64(filled)}
	for _, c := range []Class{ClassAddress, ClassPhone, ClassDate, ClassID, ClassCompany, ClassName, ClassText} {
		if share := float64(counts[c]) / float64(filled); share > l.share {
			l.class, l.share = c, share
		}
	}
	l.distinct = len(distinct)
	l.sample = first[l.class]
	return l
}

// holdsAddresses reports whether the column is one of e-mail addresses by its values.
func (l look) holdsAddresses() bool { return l.filled > 0 && l.address >= 0.5 }

// isNoName reports whether the values are numbers or dates, whatever the header says.
func (l look) isNoName() bool {
	return l.share >= 0.8 && (l.class == ClassID || l.class == ClassDate || l.class == ClassPhone)
}

// valueClass says what a single value looks like.
func valueClass(v string) Class {
	if len(v) > 400 {
		return ClassText
	}
	if strings.ContainsAny(v, "@＠") && looksLikeAddress(v) {
		return ClassAddress
	}
	if _, ok := parseTime([]byte(v)); ok {
		return ClassDate
	}
	letters, digits, marks := 0, 0, 0
	for _, r := range v {
		switch {
		case unicode.IsLetter(r):
			letters++
		case r >= '0' && r <= '9':
			digits++
		case r != ' ':
			marks++
		}
	}
	switch {
	case letters == 0 && digits >= 6 && digits <= 8 && strings.Count(v, ".")+strings.Count(v, "/") == 2:
		return ClassDate
	case letters == 0 && digits >= 7 && digits <= 17 && phoneMarks(v) && (marks > 0 || strings.Contains(v, " ") ||
		v[0] == '0' || digits >= 10):
		return ClassPhone
	case letters == 0 && digits > 0 && marks == 0, isHexID(v):
		return ClassID
	case digits == 0 && letters > 1 && len(v) <= 60 && looksLikeCompany(v):
		return ClassCompany
	case digits == 0 && letters > 1 && len(v) <= 60 && looksLikeName(v):
		return ClassName
	}
	return ClassText
}

// looksLikeAddress reports whether v is an e-mail address, as people write one or
// several in a cell.
func looksLikeAddress(v string) bool {
	list := splitAddresses(nil, []byte(v))
	if len(list) == 0 {
		return false
	}
	var c changes
	google := strings.Contains(v, googleSeparator)
	for _, raw := range list {
		switch _, _, ok := cleanEmail(nil, raw, &c); {
		case !ok:
			return false
		case google:
			return true // the first counts
		}
	}
	return true
}

// phoneMarks reports whether v holds nothing but what phone numbers are written with.
func phoneMarks(v string) bool {
	for i, r := range v {
		switch {
		case r >= '0' && r <= '9', r == ' ', r == '-', r == '(', r == ')', r == '.', r == '/', r == '\u00A0':
		case r == '+' && (i == 0 || v[i-1] == '('):
		default:
			return false
		}
	}
	return true
}

// isHexID reports whether v is a UUID, a hash or the like.
func isHexID(v string) bool {
	digits := 0
	for _, r := range v {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'f', r >= 'A' && r <= 'F', r == '-':
		default:
			return false
		}
	}
	return digits > 0 && len(v) >= 16
}

var companyWords = map[string]bool{
	"inc": true, "ltd": true, "llc": true, "llp": true, "gmbh": true, "ag": true, "kg": true, "corp": true,
	"corporation": true, "company": true,
	"co": true, "plc": true, "sa": true, "sarl": true, "srl": true, "spa": true, "bv": true, "nv": true, "oy": true,
	"ab": true, "as": true, "limited": true,
	"group": true, "holding": true, "university": true, "school": true, "bank": true, "association": true,
	"foundation": true, "verein": true, "incorporated": true,
}

func looksLikeCompany(v string) bool {
	words := strings.FieldsFunc(strings.ToLower(v), func(r rune) bool { return !unicode.IsLetter(r) })
	return len(words) >= 2 && companyWords[words[len(words)-1]] ||
		strings.HasSuffix(v, "会社") || strings.HasPrefix(v, "株式会社") || strings.HasSuffix(v, "公司")
}

// looksLikeName reports whether v is written as names of people are: one to four
// words, each with a capital, or a few characters of a script without capitals.
func looksLikeName(v string) bool {
	words := strings.Fields(v)
	if len(words) == 0 || len(words) > 4 {
		return false
	}
	capitals := 0
	for _, w := range words {
		r, _ := utf8.DecodeRuneInString(w)
		switch {
		case unicode.IsUpper(r):
			capitals++
		case unicode.Is(unicode.Han, r), unicode.Is(unicode.Hiragana, r), unicode.Is(unicode.Katakana, r),
			unicode.Is(unicode.Hangul, r):
			if utf8.RuneCountInString(v) > 8 {
				return false
			}
			capitals++
		}
		for _, r := range w {
			if !unicode.IsLetter(r) && !unicode.IsMark(r) && r != '-' && r != '\'' && r != '’' && r != '.' && r != ',' {
				return false
			}
		}
	}
	return capitals > 0 && (len(words) == 1 || capitals >= 2)
}
