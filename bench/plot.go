package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The plot: what a tenant costs, by the size of the fleet, both on logarithmic axes. A
// line that does not rise is one whose cost grows with the fleet and no faster.
const (
	plotWidth, plotHeight = 820, 420
	plotLeft, plotRight   = 70, 220
	plotTop, plotBottom   = 40, 50
)

// plotColors can be told apart by most eyes, on light and dark ground.
var plotColors = [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7f7f7f"}

// axis maps values, by their logarithms, to places.
type axis struct{ low, high, from, to float64 }

func (a axis) place(v float64) float64 {
	if a.high <= a.low {
		return a.from
	}
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

// plot returns the plot as an SVG image, empty without figures.
func (r *record) plot() string {
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+
		"\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", plotWidth, plotHeight)
	fmt.Fprintf(&s, "<text x=\"%d\" y=\"22\" font-size=\"14\">milliseconds for each tenant, by the size of the "+
		"fleet</text>\n",
		plotLeft)
	if len(r.Scale) > 0 {
		r.plotLines(&s)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func (r *record) plotLines(s *strings.Builder) {
	var steps []int
	low, high := math.Inf(1), math.Inf(-1)
	for i, result := range r.Scale[0].Results {
		if !result.PerFleet {
			continue
		}
		steps = append(steps, i)
		for _, size := range r.Scale {
			at := math.Log10(1000 * size.cost(i))
			low, high = min(low, math.Floor(at)), max(high, math.Ceil(at))
		}
	}
	first, last := r.Scale[0].Tenants, r.Scale[len(r.Scale)-1].Tenants
	x := axis{math.Log10(float64(first)), math.Log10(float64(last)), plotLeft, plotWidth - plotRight}
	y := axis{low, high, plotHeight - plotBottom, plotTop}
	for power := low; power <= high; power++ {
		v := math.Pow(10, power)
		fmt.Fprintf(s, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#dddddd\"/>\n"+
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
			plotLeft, plotWidth-plotRight, y.place(v), y.place(v), plotLeft-8, y.place(v)+4, v)
	}
	for _, size := range r.Scale {
		at := x.place(float64(size.Tenants))
		fmt.Fprintf(s, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#eeeeee\"/>\n"+
			"<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			at, at, plotTop, plotHeight-plotBottom, at, plotHeight-plotBottom+20, thousands(size.Tenants))
	}
	// The names stand beside the ends of their lines, in that order and apart.
	largest := r.Scale[len(r.Scale)-1]
	slices.SortFunc(steps, func(a, b int) int {
		return int(math.Copysign(1, largest.cost(b)-largest.cost(a)))
	})
	const apart = 16
	free := 0.0
	for k, i := range steps {
		color := plotColors[k%len(plotColors)]
		var points []string
		for _, size := range r.Scale {
			px, py := x.place(float64(size.Tenants)), y.place(1000*size.cost(i))
			points = append(points, fmt.Sprintf("%.1f,%.1f", px, py))
			fmt.Fprintf(s, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", px, py, color)
		}
		free = max(free, y.place(1000*largest.cost(i))+4)
		fmt.Fprintf(s, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n"+
			"<text x=\"%d\" y=\"%.1f\" fill=\"%s\">%s</text>\n",
			strings.Join(points, " "), color, plotWidth-plotRight+12, free, color, r.Scale[0].Results[i].Step)
		free += apart
	}
}
