package report

import "unicode/utf8"

// treemap is a rectangle cut into the shares of its parts. Labels are cut to the width that
// they have: the page has one for wide screens and paper and one for phones.
type treemap struct {
	Class  string // of the page's style: "wide" or "narrow"
	Height int    // pixels
	Tiles  []tile
}

// tile is a part of a map: its place in percent, and what is written in it.
type tile struct {
	X, Y, W, H              float64
	Tone, Label, Size, Full string

	value float64
}

// newTreemap lays tiles out, the largest first, in rows as square as can be (Bruls, Huizing
// and van Wijk, "Squarified Treemaps", 2000). width is the least that it is shown with.
func newTreemap(class string, width, height int, tiles []tile) treemap {
	m := treemap{Class: class, Height: height}
	whole := 0.0
	for _, t := range tiles {
		whole += t.value
	}
	if whole <= 0 {
		return m
	}
	w, h := float64(width), float64(height)
	scale := w * h / whole
	x, y, right, bottom := 0.0, 0.0, w, h
	for len(tiles) > 0 && tiles[0].value > 0 {
		side := min(right-x, bottom-y)
		n, sum := rowOf(tiles, side, scale)
		thick := sum * scale / side
		at := 0.0
		for _, t := range tiles[:n] {
			long := t.value * scale / thick
			if right-x >= bottom-y {
				t.X, t.Y, t.W, t.H = x, y+at, thick, long
			} else {
				t.X, t.Y, t.W, t.H = x+at, y, long, thick
			}
			at += long
			m.Tiles = append(m.Tiles, t.labelled().relative(w, h))
		}
		if right-x >= bottom-y {
			x += thick
		} else {
			y += thick
		}
		tiles = tiles[n:]
	}
	return m
}

// rowOf returns how many of the tiles make the row with the least stretched ones.
func rowOf(tiles []tile, side, scale float64) (n int, sum float64) {
	worst := func(sum, least, most float64) float64 {
		area := sum * scale
		return max(side*side*most*scale/(area*area), area*area/(side*side*least*scale))
	}
	sum = tiles[0].value
	last := worst(sum, sum, sum)
	for n = 1; n < len(tiles) && tiles[n].value > 0; n++ {
		next := worst(sum+tiles[n].value, tiles[n].value, tiles[0].value)
		if next > last {
			break
		}
		last, sum = next, sum+tiles[n].value
	}
	return n, sum
}

// labelled leaves out, or cuts, what has no room.
func (t tile) labelled() tile {
	const letter, pad, one, two = 7.2, 16, 24, 40 // pixels: of a letter, beside it, of a line and of two
	room := int((t.W - pad) / letter)
	if t.H < two || utf8.RuneCountInString(t.Size) > room {
		t.Size = ""
	}
	if t.H < one || room < 3 {
		t.Label = ""
	} else if r := []rune(t.Label); len(r) > room {
		t.Label = string(r[:room-1]) + "…"
	}
	return t
}

func (t tile) relative(w, h float64) tile {
	t.X, t.Y, t.W, t.H = share(t.X, w), share(t.Y, h), share(t.W, w), share(t.H, h)
	return t
}
