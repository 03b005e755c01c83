package tabular

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wlynxg/chardet"
	"golang.org/x/text/encoding/htmlindex"
)

// guessEncoding judges a sample without a byte order mark, and says why. Its error
// asks when several encodings are as likely and read differently.
func guessEncoding(sample []byte) (name, evidence string, err error) {
	if name := guessWide(sample); name != "" {
		return name, "by where its zero bytes are", nil
	}
	if bytes.Contains(sample, []byte("\x1b$B")) || bytes.Contains(sample, []byte("\x1b$@")) {
		return "iso-2022-jp", "by its escape sequences", nil
	}
	valid, invalid := countSequences(sample)
	switch {
	case valid+invalid == 0:
		return utf8Name, "there is nothing but ASCII in its first part", nil
	case invalid == 0:
		return utf8Name, fmt.Sprintf("all of %d letters beyond ASCII are valid in it", valid), nil
	case valid >= invalid:
		// A UTF-8 file with a damaged row is still UTF-8; text of other encodings
		// hardly ever holds a valid sequence of several bytes.
		return utf8Name, fmt.Sprintf("%d of %d letters beyond ASCII are valid in it", valid, valid+invalid), nil
	}
	return guessLegacy(sample)
}

// legacyEncodings are the encodings of one or two bytes a letter that are told
// apart, the more frequent first.
func legacyEncodings() []string {
	return []string{
		windows1252Name, "windows-1250", "windows-1251", "shift_jis", "gb18030", "big5", "euc-jp", "euc-kr", "koi8-r",
		"ibm850", "macintosh",
		"windows-1254", "windows-1253", "ibm866", "windows-1255", "windows-1256", "ibm852",
	}
}

// reading is a sample as it reads in one encoding.
type reading struct {
	name  string
	text  string
	score float64 // 0 nonsense, 1 all letters make sense
}

const (
	// A reading must reach goodScore, and lead by enough, to be taken.
	goodScore = 0.8
	leadScore = 0.08
	hintScore = 0.1 // what the detector's opinion adds
	usualLead = 0.04
)

// guessLegacy tells encodings apart by whether the letters make sense in their
// words: of one language, of one case, nothing but letters in the middle; usual
// characters in Chinese, Japanese and Korean. A detector's opinion is a hint.
func guessLegacy(sample []byte) (name, evidence string, err error) {
	lines := highLines(sample)
	hint := detectorHint(lines)
	var readings []reading
	for i, name := range legacyEncodings() {
		r, ok := read(name, lines)
		if !ok {
			continue
		}
		if name == hint {
			r.score += hintScore
		}
		if i == 0 {
			r.score += usualLead
		}
		readings = append(readings, r)
	}
	slices.SortStableFunc(readings, func(a, b reading) int { return cmp.Compare(b.score, a.score) })
	if len(readings) > 0 && readings[0].score >= goodScore {
		best := readings[0]
		for _, r := range readings {
			if r.text == best.text && slices.Index(legacyEncodings(), r.name) < slices.Index(legacyEncodings(), best.name) {
				best.name = r.name // the more usual one that reads the same
			}
		}
		other := slices.IndexFunc(readings, func(r reading) bool { return r.text != best.text })
		if other < 0 || best.score-readings[other].score >= leadScore {
			return best.name, fmt.Sprintf("its letters beyond ASCII make sense in it (%.0f %%)", 100*min(best.score, 1)), nil
		}
	}
	return "", "", askEncoding(readings)
}

// askEncoding returns the error that names the likely encodings, with a piece of
// the file in each.
func askEncoding(readings []reading) error {
	e := &Error{Reason: "the encoding of the file cannot be told from its letters", Ask: AskEncoding,
		Hint: "say which it is"}
	const most = 4
	seen := map[string]bool{}
	for _, r := range readings {
		if len(e.Choices) == most {
			break
		}
		if piece := samplePiece(r.text); !seen[piece] {
			seen[piece] = true
			e.Choices = append(e.Choices, Choice{Name: r.name, Sample: piece})
		}
	}
	if len(e.Choices) == 0 {
		for _, name := range []string{windows1252Name, "windows-1251", "shift_jis", "gb18030"} {
			e.Choices = append(e.Choices, Choice{Name: name})
		}
	}
	return e
}

// samplePiece cuts out of a text the part around its first letters beyond ASCII.
func samplePiece(text string) string {
	i := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
	if i < 0 {
		return ""
	}
	start := strings.LastIndexAny(text[:i], ",;\t\n\"") + 1
	runes := []rune(text[start:min(len(text), start+120)])
	end := slices.IndexFunc(runes, func(r rune) bool { return r == '\n' || r == '\r' })
	if end >= 0 {
		runes = runes[:end]
	}
	return string(runes[:min(len(runes), 24)])
}

// highLines returns the lines of the sample that hold bytes beyond ASCII, up to
// what it takes to judge them.
func highLines(sample []byte) []byte {
	const enough = 32 << 10
	var out []byte
	for line := range bytes.Lines(sample) {
		if bytes.ContainsFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) {
			out = append(out, line[:min(len(line), 4096)]...)
		}
		if len(out) > enough {
			break
		}
	}
	return out
}

// detectorHint returns the encoding that a detector takes the lines for, or "".
func detectorHint(lines []byte) string {
	name := strings.ToLower(chardet.Detect(lines).Encoding)
	switch name {
	case "gb2312", "gbk":
		name = "gb18030"
	case "cp949", "uhc":
		name = "euc-kr"
	case "cp932":
		name = "shift_jis"
	case "macroman":
		name = "macintosh"
	case "cp866":
		name = "ibm866"
	case "iso-8859-1":
		name = windows1252Name
	case "iso-8859-2":
		name = "windows-1250"
	}
	if enc, err := htmlindex.Get(name); err == nil {
		name, _ = htmlindex.Name(enc)
	}
	if slices.Contains(legacyEncodings(), name) {
		return name
	}
	return ""
}

// read decodes the lines and judges the result. It is false when the encoding has
// no meaning for many of the bytes.
func read(name string, lines []byte) (reading, bool) {
	enc, err := encodingOf(name)
	if err != nil {
		return reading{}, false
	}
	decoded, err := enc.NewDecoder().Bytes(lines)
	if err != nil {
		return reading{}, false
	}
	r := reading{name: name, text: string(decoded)}
	bad := strings.Count(r.text, "\uFFFD")
	letters := 0
	for _, c := range r.text {
		if c >= utf8.RuneSelf {
			letters++
		}
	}
	if letters == 0 || bad*3 > letters {
		return reading{}, false
	}
	if multibyte(name) {
		r.score = judgeCharacters(name, lines)
	} else {
		r.score = judgeWords(r.text)
	}
	r.score -= 2 * float64(bad) / float64(letters)
	return r, true
}

func multibyte(name string) bool {
	switch name {
	case "shift_jis", "gb18030", "big5", "euc-jp", "euc-kr":
		return true
	}
	return false
}

// judgeCharacters returns how usual the characters of two bytes are. A character
// whose second byte is a letter between letters is probably none.
func judgeCharacters(name string, b []byte) float64 {
	sum, n, high, kana := 0.0, 0, 0, 0
	for i := 0; i < len(b); i++ {
		lead := b[i]
		if lead < 0x80 {
			continue
		}
		n++
		if name == "shift_jis" && lead >= 0xA1 && lead <= 0xDF {
			sum += 0.4 // half-width kana
			continue
		}
		if i+1 == len(b) {
			break
		}
		trail := b[i+1]
		worth := usual(name, lead, trail)
		if lead > 0xC8 {
			high++
		}
		if lead == 0xA4 || lead == 0xA5 {
			kana++
		}
		if isASCIILetter(trail) && (i > 0 && isASCIILetter(b[i-1]) || i+2 < len(b) && isASCIILetter(b[i+2]) && trail >= 'a') {
			worth = 0
		}
		sum += worth
		i++
		if name == "gb18030" && trail >= '0' && trail <= '9' {
			i += 2 // a character of four bytes
		}
	}
	if n == 0 {
		return 0
	}
	score := sum / float64(n)
	// The place of Korean syllables is only the first part of that of Chinese
	// characters: a text that stays within it is probably Korean.
	const telling = 8
	if n >= telling && high == 0 && (name == "gb18030" || name == "euc-jp" && kana == 0) {
		score *= 0.85
	}
	return score
}

func isASCIILetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// usual says how usual a character is, by its place in the table of its encoding:
// the first level of characters, kana and punctuation are what texts are made of.
func usual(name string, lead, trail byte) float64 {
	between := func(low, high byte) bool { return lead >= low && lead <= high }
	switch name {
	case "shift_jis":
		switch {
		case between(0x81, 0x83), between(0x88, 0x97), lead == 0x98 && trail <= 0x72:
			return 1
		case between(0x98, 0x9F), between(0xE0, 0xEA):
			return 0.5
		}
	case "gb18030":
		switch {
		case trail < 0xA1:
			return 0.1
		case lead == 0xA4 || lead == 0xA5: // kana
			return 0.2
		case between(0xB0, 0xD7), between(0xA1, 0xA3):
			return 1
		case between(0xD8, 0xF7):
			return 0.5
		}
	case "big5":
		switch {
		case between(0xA4, 0xC6), between(0xA1, 0xA3):
			return 0.97
		case between(0xC9, 0xF9):
			return 0.4
		}
	case "euc-jp":
		switch {
		case lead == 0xA4 || lead == 0xA5:
			return 1
		case between(0xB0, 0xCF), lead == 0xA1, lead == 0xA3:
			return 0.95
		case between(0xD0, 0xF4):
			return 0.4
		}
	case "euc-kr":
		switch {
		case between(0xB0, 0xC8):
			return 0.97
		case lead == 0xA1, lead == 0xA3:
			return 0.8
		case between(0xCA, 0xFD):
			return 0.2
		}
	}
	return 0
}

// alphabets are the letters beyond ASCII of the languages, in lower case.
func alphabets() []string {
	return []string{
		"äöüß", "éèêëàâùûüîïôœçÿæ", "áéíóúñü", "àèéìòóùî", "áâãàçéêíóôõúü", "ëïéèöüáóç", "åäöé", "æøåéö", // western
		"ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž", "äõöüšž", "āčēģīķļņšūž",
		"ąčęėįšųūž",
		"çğıöşüâîû",
	}
}

// western is how many of alphabets are those that texts mix.
const western = 8

// judgeWords returns how much sense the letters beyond ASCII make in their words.
func judgeWords(text string) float64 {
	sum, n := 0.0, 0
	counts := map[rune]int{}
	runes := []rune(text)
	letter := func(i int) bool { return i >= 0 && i < len(runes) && unicode.IsLetter(runes[i]) }
	for i, r := range runes {
		if r < utf8.RuneSelf {
			continue
		}
		n++
		switch {
		case r == '\uFFFD', unicode.IsControl(r):
		case !unicode.IsLetter(r):
			switch {
			case letter(i-1) && letter(i+1) && r != '’' && r != '–':
				// a symbol in the middle of a word
			case unicode.IsPunct(r), r == '°', r == '€', r == '£', r == '§', r == '\u00A0', r == '®', r == '™', r == '©',
				r == '½', r == '²', r == 'º', r == 'ª':
				sum += 0.8
			case letter(i-1) || letter(i+1):
			default:
				sum += 0.3
			}
		case i > 0 && unicode.IsLower(runes[i-1]) && unicode.IsUpper(r):
			// a capital after a small letter
		case script(r) != 0 && (letter(i-1) && script(runes[i-1]) != script(r) || letter(i+1) &&
			script(runes[i+1]) != script(r)):
			// two scripts in a word
		case r == 'õ' && (i+1 == len(runes) || runes[i+1] != 'e'):
			sum += 0.3 // Portuguese has it before an e; it is what the Hungarian ő becomes
		case unicode.Is(unicode.Latin, r):
			counts[unicode.ToLower(r)]++ // judged below
		case commonLetter(r):
			sum++
		default:
			sum += 0.3
		}
	}
	if n == 0 {
		return 0
	}
	return (sum + latinSense(counts)) / float64(n)
}

// latinSense returns how many of the letters fit one language, or, for less, the
// western ones together.
func latinSense(counts map[rune]int) float64 {
	fit := func(alphabet string) (n float64) {
		for r, k := range counts {
			if strings.ContainsRune(alphabet, r) {
				n += float64(k)
			}
		}
		return n
	}
	all := alphabets()
	best := 0.88 * fit(strings.Join(all[:western], ""))
	for _, alphabet := range all {
		best = max(best, fit(alphabet))
	}
	// Icelandic is rare, and what Turkish becomes in Windows-1252.
	return max(best, 0.85*fit("áðéíóúýþæö"))
}

// script tells the scripts that one encoding of a byte may hold apart.
func script(r rune) int {
	switch {
	case unicode.Is(unicode.Latin, r):
		return 1
	case unicode.Is(unicode.Cyrillic, r):
		return 2
	case unicode.Is(unicode.Greek, r):
		return 3
	case unicode.Is(unicode.Hebrew, r):
		return 4
	case unicode.Is(unicode.Arabic, r):
		return 5
	}
	return 0
}

// commonLetter reports whether a letter is one of Russian, Greek, Hebrew or Arabic
// rather than of their rarer relatives.
func commonLetter(r rune) bool {
	return r >= 'А' && r <= 'я' || r == 'ё' || r == 'Ё' || r == 'і' || r == 'І' || r == 'ї' || r == 'є' ||
		r >= 'Ά' && r <= 'ώ' || r >= 'א' && r <= 'ת' || r >= 'ء' && r <= 'ي'
}
