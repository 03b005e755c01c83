package catalog

import "strings"

// Differing returns both definitions, without the lines that two long ones have in common
// at their ends, and without how two long lines begin.
func (d Difference) Differing() (want, found string) {
	want, found = d.Want, d.Got
	if want == "" || found == "" {
		return want, found
	}
	a, b := strings.Split(want, "\n"), strings.Split(found, "\n")
	if len(a) > 1 || len(b) > 1 {
		head := 0
		for head < min(len(a), len(b))-1 && a[head] == b[head] {
			head++
		}
		tail := 0
		for tail < min(len(a), len(b))-1-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
			tail++
		}
		return strings.Join(a[head:len(a)-tail], "\n"), strings.Join(b[head:len(b)-tail], "\n")
	}
	const long, kept = 60, 20
	x, y := []rune(want), []rune(found)
	same := 0
	for same < min(len(x), len(y)) && x[same] == y[same] {
		same++
	}
	if same < long || max(len(x), len(y)) < long {
		return want, found
	}
	return "... " + string(x[same-kept:]), "... " + string(y[same-kept:])
}
