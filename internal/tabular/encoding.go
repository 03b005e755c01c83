package tabular

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// sampleSize is how much of a file its encoding and dialect are judged by.
const sampleSize = 1 << 20

// Names of the encodings that are detected.
const (
	utf8Name        = "utf-8"
	utf16leName     = "utf-16le"
	utf16beName     = "utf-16be"
	utf32leName     = "utf-32le"
	utf32beName     = "utf-32be"
	windows1252Name = "windows-1252"
)

// byteOrderMarks in the order they must be tested: the mark of UTF-32LE begins
// with that of UTF-16LE.
var byteOrderMarks = [...]struct {
	name string
	mark string
}{
	{utf32leName, "\xFF\xFE\x00\x00"},
	{utf32beName, "\x00\x00\xFE\xFF"},
	{utf8Name, "\xEF\xBB\xBF"},
	{utf16leName, "\xFF\xFE"},
	{utf16beName, "\xFE\xFF"},
}

// text is the decoded content of a file.
type text struct {
	io.Reader
	encoding string
	evidence string
	bom      bool
	// replaces says that the decoder puts U+FFFD where the input is not valid,
	// and that the encoding has no such character itself.
	replaces bool
}

// decode returns the content of r in UTF-8. The encoding is that of a byte order
// mark, or the one asked for, or what a sample looks like: UTF-16 and UTF-32 by
// their zero bytes, UTF-8 when it is valid, otherwise the one whose letters make
// sense. What is not valid in UTF-16 or UTF-32 becomes text that is not valid
// UTF-8, so that it is noticed in its row.
func decode(r io.Reader, asked string) (text, error) {
	sample, err := io.ReadAll(io.LimitReader(r, sampleSize))
	if err != nil {
		return text{}, err
	}
	r = io.MultiReader(bytes.NewReader(sample), r)
	marked, mark := byteOrderMark(sample)
	if marked == utf16leName || marked == utf16beName {
		// Some programs put the mark of UTF-16 before UTF-32.
		if wide := guessWide(sample[mark:]); wide == utf32leName || wide == utf32beName {
			marked = wide
		}
	}
	name, err := encodingName(asked, marked)
	if err != nil {
		return text{}, err
	}
	t := text{encoding: name, bom: marked != "" && marked == name, evidence: "it was asked for"}
	switch {
	case t.bom:
		t.evidence = "the file begins with its byte order mark"
		if _, err := io.CopyN(io.Discard, r, int64(mark)); err != nil {
			return text{}, err
		}
	case name == "":
		if t.encoding, t.evidence, err = guessEncoding(sample); err != nil {
			return text{}, err
		}
	}
	switch t.encoding {
	case utf8Name:
		t.Reader = r
	case utf16leName, utf16beName:
		t.Reader = transform.NewReader(r, &wideDecoder{width: 2, big: t.encoding == utf16beName})
	case utf32leName, utf32beName:
		t.Reader = transform.NewReader(r, &wideDecoder{width: 4, big: t.encoding == utf32beName})
	default:
		enc, err := encodingOf(t.encoding)
		if err != nil {
			return text{}, fmt.Errorf("encoding %q: %w", t.encoding, err)
		}
		t.Reader, t.replaces = transform.NewReader(r, enc.NewDecoder()), true
	}
	return t, nil
}

// encodingOf returns an encoding by name: those of the web, and those of DOS that
// spreadsheets still write.
func encodingOf(name string) (encoding.Encoding, error) {
	if page, ok := dosPages[name]; ok {
		return page, nil
	}
	return htmlindex.Get(name)
}

var dosPages = map[string]encoding.Encoding{
	"ibm850": charmap.CodePage850, "ibm437": charmap.CodePage437, "ibm852": charmap.CodePage852,
	"ibm858": charmap.CodePage858,
}

func byteOrderMark(sample []byte) (name string, length int) {
	for _, b := range byteOrderMarks {
		if bytes.HasPrefix(sample, []byte(b.mark)) {
			return b.name, len(b.mark)
		}
	}
	return "", 0
}

// encodingName returns the encoding to use when one was asked for or marked, or
// "".
func encodingName(asked, marked string) (string, error) {
	name := strings.ToLower(strings.TrimSpace(asked))
	if marked != "" {
		// Three or four bytes that nothing else begins with say more than a habit.
		asked, name = "", ""
	}
	switch name {
	case "":
		return marked, nil
	case utf8Name, "utf8":
		return utf8Name, nil
	case utf16leName, utf16beName, utf32leName, utf32beName:
		return name, nil
	case "utf-16", "utf16":
		return utf16leName, nil
	case "utf-32", "utf32":
		return utf32leName, nil
	}
	for _, prefix := range []string{"cp", "cp-", "ibm-", "dos-", "dos", "oem"} {
		if number, ok := strings.CutPrefix(name, prefix); ok && dosPages["ibm"+number] != nil {
			return "ibm" + number, nil
		}
	}
	if dosPages[name] != nil {
		return name, nil
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return "", &Error{Reason: fmt.Sprintf("unknown encoding %q", asked),
			Hint: "try utf-8, utf-16, windows-1252, iso-8859-15 or another name the web uses"}
	}
	return htmlindex.Name(enc)
}

// guessWide tells UTF-16 and UTF-32 by where their zero bytes are: text that is
// mostly Latin has one in every second byte, or three in every fourth.
func guessWide(sample []byte) string {
	sample = sample[:min(len(sample), 4096)&^3]
	if len(sample) < 4 {
		return ""
	}
	var zeros [4]int
	for i, b := range sample {
		if b == 0 {
			zeros[i%4]++
		}
	}
	quads := len(sample) / 4
	most := func(n int) bool { return n*10 >= quads*7 }
	few := func(n int) bool { return n*10 <= quads }
	switch z := zeros; {
	case most(z[1]) && most(z[2]) && most(z[3]) && few(z[0]):
		return utf32leName
	case most(z[0]) && most(z[1]) && most(z[2]) && few(z[3]):
		return utf32beName
	case most(z[1]) && most(z[3]) && few(z[0]) && few(z[2]):
		return utf16leName
	case most(z[0]) && most(z[2]) && few(z[1]) && few(z[3]):
		return utf16beName
	}
	return guessUTF16(sample)
}

// guessUTF16 tells UTF-16 whose letters are not Latin by its line ends and
// delimiters, whose zero bytes all lie on one side, and by making sense as such.
func guessUTF16(sample []byte) string {
	var zeros [2]int
	for i, b := range sample {
		if b == 0 {
			zeros[i%2]++
		}
	}
	for side, name := range map[int]string{1: utf16leName, 0: utf16beName} {
		if zeros[side] < 2 || zeros[1-side] > 0 || zeros[side]*100 < len(sample) {
			continue
		}
		decoded, _, err := transform.Bytes(&wideDecoder{width: 2, big: side == 0}, sample)
		if err == nil && utf8.Valid(decoded) && bytes.ContainsAny(decoded, "\n\r") &&
			!bytes.ContainsFunc(decoded, func(r rune) bool {
				return !unicode.IsGraphic(r) && !unicode.IsSpace(r)
			}) {
			return name
		}
	}
	return ""
}

// countSequences counts the valid UTF-8 sequences of several bytes and the bytes
// that belong to none. A sequence cut by the end of the sample is neither.
func countSequences(sample []byte) (valid, invalid int) {
	for i := 0; i < len(sample); {
		if sample[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(sample[i:])
		switch {
		case r != utf8.RuneError || size > 1:
			valid++
		case !utf8.FullRune(sample[i:]):
			return valid, invalid
		default:
			invalid++
		}
		i += size
	}
	return valid, invalid
}

// wideDecoder turns UTF-16 (width 2) or UTF-32 (width 4) into UTF-8. What is not
// valid becomes the byte 0xFF, which no UTF-8 holds.
type wideDecoder struct {
	transform.NopResetter
	width int
	big   bool
}

const invalidByte = 0xFF

// Transform implements transform.Transformer.
func (d *wideDecoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		if len(src)-nSrc < d.width {
			if !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			dst[nDst] = invalidByte
			return nDst + 1, len(src), nil
		}
		r, size := rune(d.unit(src[nSrc:])), d.width
		if d.width == 2 && r >= 0xD800 && r < 0xDC00 {
			if len(src)-nSrc < 4 && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if len(src)-nSrc >= 4 {
				if low := rune(d.unit(src[nSrc+2:])); low >= 0xDC00 && low < 0xE000 {
					r, size = (r-0xD800)<<10|(low-0xDC00)+0x10000, 4
				}
			}
		}
		if utf8.ValidRune(r) {
			nDst += utf8.EncodeRune(dst[nDst:], r)
		} else {
			dst[nDst] = invalidByte
			nDst++
		}
		nSrc += size
	}
	return nDst, nSrc, nil
}

func (d *wideDecoder) unit(b []byte) uint32 {
	var u uint32
	for i := range d.width {
		if d.big {
			u = u<<8 | uint32(b[i])
		} else {
			u |= uint32(b[i]) << (8 * i)
		}
	}
	return u
}
