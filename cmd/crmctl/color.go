package main

// color is a meaning, not a decoration: red failed, yellow waits, green is
// done, dim is incidental.
type color int

const (
	plain color = iota
	red
	yellow
	green
	dim
)

// painter colours text, or leaves it alone.
type painter struct{ on bool }

func (p painter) paint(c color, s string) string {
	if !p.on || s == "" {
		return s
	}
	switch c {
	case red:
		return "\x1b[31m" + s + "\x1b[0m"
	case yellow:
		return "\x1b[33m" + s + "\x1b[0m"
	case green:
		return "\x1b[32m" + s + "\x1b[0m"
	case dim:
		return "\x1b[2m" + s + "\x1b[0m"
	case plain:
	}
	return s
}
