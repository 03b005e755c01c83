package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/stats"
)

const (
	mapped  = 120 // tenants with a tile of their own
	ranked  = 12  // bars of the largest, and of those that grow fastest
	sizeMin = 1e6 // bytes: the classes of sizes count from there
)

func (f *Fleet) total() int64 { return stats.Sum(f.Sizes.Tenants).TotalBytes() }

// signed returns "+1.2 GB", "-96 MB", "0 B".
func (v view) signed(n int64) string {
	if n > 0 {
		return "+" + v.w.Size(n)
	}
	return strings.Replace(v.w.Size(n), "-", "−", 1)
}

// sizes shows what the tenants take and how they grow.
func (v view) sizes(f *Fleet) (string, []block) {
	known := slices.DeleteFunc(slices.Clone(f.Sizes.Tenants), func(t stats.TenantSize) bool { return !t.Known })
	if len(known) == 0 {
		return "There are no tenants with a schema yet.", nil
	}
	way := "as measured"
	if f.Sizes.Mode == stats.Estimate {
		way = "as the server estimates"
	}
	sum := stats.Sum(f.Sizes.Tenants)
	lead := fmt.Sprintf("%s take %s, %s: %s in tables, %s in indexes.", v.plural(len(known), "tenant"),
		v.w.Size(sum.TotalBytes()), way, v.w.Size(sum.TableBytes), v.w.Size(sum.IndexBytes))
	if sum.Unknown > 0 {
		lead += fmt.Sprintf(" %s without a schema.", v.isAre(sum.Unknown))
	}
	blocks := []block{v.sizeMap(f, known), v.largest(f, known), v.sizeClasses(known)}
	return lead, append(blocks, v.growth(f, known)...)
}

// growthTone says how fast a tenant grows.
func growthTone(t stats.TenantSize) string {
	if t.Growth == nil {
		return "new"
	}
	before := float64(t.TotalBytes() - t.Growth.Bytes)
	switch grown := float64(t.Growth.Bytes) / max(before, 1); {
	case grown < -0.01:
		return "less"
	case grown < 0.05:
		return "same"
	case grown < 0.25:
		return "more"
	}
	return "most"
}

// sizeMap shows the tenants as a map of what they take.
func (v view) sizeMap(f *Fleet, known []stats.TenantSize) block {
	total := float64(f.total())
	tiles := make([]tile, 0, mapped)
	used := map[string]bool{}
	for _, t := range known[:min(mapped, len(known))] {
		size := v.w.Size(t.TotalBytes())
		one := tile{value: float64(t.TotalBytes()), Label: v.w.Visible(t.Slug), Size: size, Tone: growthTone(t)}
		one.Full = fmt.Sprintf("%s: %s, %s of all", one.Label, size, percent(one.value, total))
		if t.Growth != nil {
			one.Full += ", " + v.signed(t.Growth.Bytes) + " since " + v.w.Minute(t.Growth.Since)
		}
		used[one.Tone] = true
		tiles = append(tiles, one)
	}
	if len(known) > mapped {
		for _, c := range classes(bytesOf(known[mapped:]), sizeMin) {
			if c.n > 0 {
				text := v.plural(c.n, "tenant") + " " + v.sizeRange(c)
				tiles = append(tiles, tile{value: c.sum, Tone: "rest", Label: text, Size: v.w.Size(int64(c.sum)),
					Full: text + ": " + v.w.Size(int64(c.sum)) + ", " + percent(c.sum, total) + " of all"})
			}
		}
		used["rest"] = true
	}
	slices.SortStableFunc(tiles, func(a, b tile) int { return cmp.Compare(b.value, a.value) })
	b := block{Title: "Where the room goes", Maps: []treemap{newTreemap("wide", 860, 400, tiles),
		newTreemap("narrow", 300, 480, tiles)}}
	if f.Sizes.History {
		for _, l := range []legend{{"less", "shrank"}, {"same", "under 5 % more"}, {"more", "5 to 25 % more"},
			{"most", "over 25 % more, in up to 30 days"}, {"new", "not compared"}} {
			if used[l.Tone] {
				b.Legend = append(b.Legend, l)
			}
		}
	}
	if used["rest"] {
		b.Legend = append(b.Legend, legend{"rest", "the smaller ones, by size"})
	}
	return b
}

func bytesOf(tenants []stats.TenantSize) []float64 {
	out := make([]float64, len(tenants))
	for i, t := range tenants {
		out[i] = float64(t.TotalBytes())
	}
	return out
}

// sizeRange returns "under 1.0 MB", "of 2.0 MB to 4.0 MB".
func (v view) sizeRange(c class) string {
	size := func(n float64) string { return strings.Replace(v.w.Size(int64(n)), ".0 ", " ", 1) }
	if c.from == 0 {
		return "under " + size(c.to)
	}
	return size(c.from) + " to " + size(c.to)
}

func (v view) largest(f *Fleet, known []stats.TenantSize) block {
	b := block{Title: "The largest", Half: true}
	total, most := float64(f.total()), float64(known[0].TotalBytes())
	for _, t := range known[:min(ranked, len(known))] {
		n := float64(t.TotalBytes())
		b.Bars = append(b.Bars, bar{Label: v.w.Visible(t.Slug), Value: v.w.Size(t.TotalBytes()), Aside: percent(n, total),
			Share: share(n, most), Tone: main})
	}
	b.Note = v.more(len(known) - ranked)
	return b
}

func (v view) sizeClasses(known []stats.TenantSize) block {
	b := block{Title: "Tenants by size", Half: true}
	found := classes(bytesOf(known), sizeMin)
	most := 0
	for _, c := range found {
		most = max(most, c.n)
	}
	for _, c := range found {
		b.Bars = append(b.Bars, bar{Label: v.sizeRange(c), Value: v.count(c.n), Share: share(float64(c.n), float64(most)),
			Aside: percent(float64(c.n), float64(len(known))), Tone: main})
	}
	return b
}

// growth shows how all tenants have grown together, and who grows fastest.
func (v view) growth(f *Fleet, known []stats.TenantSize) []block {
	var out []block
	past := slices.Clone(f.History)
	if len(past) > 0 && f.Sizes.At.After(past[len(past)-1].At) {
		past = append(past, stats.Past{At: f.Sizes.At, Bytes: f.total()})
	}
	if len(past) > 1 {
		out = append(out, block{Title: "All tenants together", Half: true, Line: v.line(past)})
	}
	grown := slices.DeleteFunc(slices.Clone(known), func(t stats.TenantSize) bool {
		return t.Growth == nil || t.Growth.Bytes == 0
	})
	if len(grown) == 0 {
		if !f.Sizes.History {
			out = append(out, block{Title: "Growth", Half: true,
				Note: "No earlier sizes to compare with: they are recorded with crmctl stats sizes --record, once a day."})
		}
		return out
	}
	size := func(t stats.TenantSize) int64 { return max(t.Growth.Bytes, -t.Growth.Bytes) }
	slices.SortStableFunc(grown, func(a, b stats.TenantSize) int { return cmp.Compare(size(b), size(a)) })
	b := block{Title: "Changed most, in up to 30 days", Half: true}
	for _, t := range grown[:min(ranked, len(grown))] {
		one := bar{Label: v.w.Visible(t.Slug), Value: v.signed(t.Growth.Bytes), Tone: main,
			Aside: v.signedPercent(t), Share: share(float64(size(t)), float64(size(grown[0])))}
		if t.Growth.Bytes < 0 {
			one.Tone = quiet
		}
		b.Bars = append(b.Bars, one)
	}
	b.Note = v.more(len(grown) - ranked)
	return append(out, b)
}

func (v view) signedPercent(t stats.TenantSize) string {
	before := t.TotalBytes() - t.Growth.Bytes
	if before <= 0 {
		return "new"
	}
	p := 100 * float64(t.Growth.Bytes) / float64(before)
	if p > -0.5 && p < 0.5 {
		return "0 %"
	}
	return strings.Replace(fmt.Sprintf("%+.0f %%", p), "-", "−", 1)
}

// line draws a curve over time. It begins at zero unless that would make it flat.
func (v view) line(past []stats.Past) *line {
	const width, height = 600.0, 150.0
	first, last := past[0], past[len(past)-1]
	low, high := float64(first.Bytes), float64(first.Bytes)
	for _, p := range past {
		low, high = min(low, float64(p.Bytes)), max(high, float64(p.Bytes))
	}
	fromZero := low < 0.6*high
	if fromZero {
		low = 0
	} else {
		low -= 0.15 * (high - low)
	}
	span := max(high-low, 1)
	whole := max(last.At.Sub(first.At).Seconds(), 1)
	var path strings.Builder
	for i, p := range past {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		x := width * p.At.Sub(first.At).Seconds() / whole
		y := height - (height-8)*(float64(p.Bytes)-low)/span
		fmt.Fprintf(&path, "%s%s %s", letter, short(x), short(y))
	}
	l := &line{Path: path.String(), First: v.w.Size(first.Bytes), FirstAt: v.w.Minute(first.At),
		Last: v.w.Size(last.Bytes), Till: v.w.Minute(last.At)}
	if fromZero {
		l.Area = l.Path + fmt.Sprintf("L%s %sL0 %sZ", short(width), short(height), short(height))
	} else {
		l.Top = "The scale does not begin at zero."
	}
	return l
}

// short writes a coordinate.
func short(x float64) string { return fmt.Sprint(math.Round(x*10) / 10) }
