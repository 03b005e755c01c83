package cli

// Color is a meaning, not a decoration: red failed, yellow waits, green is
// done, dim is incidental.
type Color int

// The colours there are.
const (
	Plain Color = iota
	Red
	Yellow
	Green
	Dim
)

// Painter colours text, or leaves it alone.
type Painter struct{ On bool }

// Paint returns s in a colour where the painter is on.
func (p Painter) Paint(c Color, s string) string {
	if !p.On || s == "" {
		return s
	}
	switch c {
	case Red:
		return "\x1b[31m" + s + "\x1b[0m"
	case Yellow:
		return "\x1b[33m" + s + "\x1b[0m"
	case Green:
		return "\x1b[32m" + s + "\x1b[0m"
	case Dim:
		return "\x1b[2m" + s + "\x1b[0m"
	case Plain:
	}
	return s
}
