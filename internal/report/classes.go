package report

import "slices"

// class is a class of a distribution: from is in it, to is not.
type class struct {
	from, to float64
	n        int
	sum      float64
}

// classes cuts values into about a dozen classes at the most, whose bounds are round numbers:
// 1, 2, 5, 10 and so on, or fewer where that makes too many. The first class begins with 0
// where the values do, which one of unit is the smallest for.
func classes(values []float64, unit float64) []class {
	if len(values) == 0 {
		return nil
	}
	const most = 11
	sorted := slices.Sorted(slices.Values(values))
	low, high := max(sorted[0], unit), max(sorted[len(sorted)-1], unit)
	var out []class
	for _, steps := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		out = nil
		for ten := unit; ten <= high; ten *= 10 {
			for i, step := range steps {
				c := class{from: ten * step, to: ten * 10}
				if i+1 < len(steps) {
					c.to = ten * steps[i+1]
				}
				if c.to > low && c.from <= high {
					out = append(out, c)
				}
			}
		}
		if len(out) <= most {
			break
		}
	}
	if sorted[0] < out[0].from {
		out[0].from = 0
	}
	at := 0
	for _, value := range sorted {
		for at < len(out)-1 && value >= out[at].to {
			at++
		}
		out[at].n++
		out[at].sum += value
	}
	return out
}
