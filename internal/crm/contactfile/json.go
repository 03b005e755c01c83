package contactfile

import "encoding/hex"

// AppendString appends a text, which is valid UTF-8, as a JSON string. Nothing in it moves a
// cursor or ends a line.
func AppendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i, c := range s {
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7F {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = hex.AppendEncode(append(dst, `\u00`...), s[i:i+1])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
