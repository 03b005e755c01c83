package picture

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"html"
	"strconv"
	"strings"
)

// The measures of a picture, in its own units.
const (
	cellWidth  = 8.4 // of a character of 14 units in most fixed-width fonts
	lineHeight = 20
	margin     = 16
	baseline   = 14 // of a line, from its top
)

// style colours a picture for a light and a dark page. What is behind the text is part of the picture: it can be
// read wherever it is shown.
const style = `
rect{fill:#fff;stroke:#d1d9e0}
text{font:14px ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;` +
	`fill:#1f2328;white-space:pre}
.bold{font-weight:600}.dim{fill:#59636e}.red{fill:#c4161c}.yellow{fill:#8a5a00}.green{fill:#12702f}
@media (prefers-color-scheme:dark){
rect{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}
.dim{fill:#9198a1}.red{fill:#ff7b72}.yellow{fill:#d8a72f}.green{fill:#4cc265}
}
`

// SVG renders a screen. Each run is told where it begins and how wide it is, so that columns stay where they are in
// any font. Nothing is loaded from elsewhere.
func (s Screen) SVG(title, description string) []byte {
	width := float64(s.Columns)*cellWidth + 2*margin
	height := len(s.Lines)*lineHeight + 2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%d" viewBox="0 0 %s %d" role="img" `+
		`aria-labelledby="title" aria-describedby="desc">`+"\n", number(width), height, number(width), height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s</style>\n",
		html.EscapeString(title), html.EscapeString(description), style)
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%s" height="%d" rx="8"/>`+"\n", number(width-1), height-1)
	for y, line := range s.Lines {
		for _, r := range line {
			class := ""
			if r.Style != Plain {
				class = ` class="` + string(r.Style) + `"`
			}
			fmt.Fprintf(&b, `<text x="%s" y="%d" textLength="%s" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
				number(margin+float64(r.Column)*cellWidth), margin+y*lineHeight+baseline,
				number(float64(r.Columns)*cellWidth), class, html.EscapeString(r.Text))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// number writes a length with a digit after the point at most.
func number(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// Picture is what a file of SVG holds.
type Picture struct {
	Title, Description string
	Screen             Screen
}

// Read reads what SVG has written.
func Read(svg []byte) (Picture, error) {
	var doc struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		Width   float64  `xml:"width,attr"`
		Height  int      `xml:"height,attr"`
		Title   string   `xml:"title"`
		Desc    string   `xml:"desc"`
		Texts   []struct {
			X      float64 `xml:"x,attr"`
			Y      int     `xml:"y,attr"`
			Length float64 `xml:"textLength,attr"`
			Class  string  `xml:"class,attr"`
			Text   string  `xml:",chardata"`
		} `xml:"text"`
	}
	dec := xml.NewDecoder(bytes.NewReader(svg))
	if err := dec.Decode(&doc); err != nil {
		return Picture{}, fmt.Errorf("read the picture: %w", err)
	}
	p := Picture{Title: doc.Title, Description: doc.Desc}
	columns := func(length float64) int { return int(length/cellWidth + 0.5) }
	p.Screen.Columns = columns(doc.Width - 2*margin)
	p.Screen.Lines = make([][]Run, max(0, (doc.Height-2*margin)/lineHeight))
	for _, t := range doc.Texts {
		y := (t.Y - margin) / lineHeight
		if y < 0 || y >= len(p.Screen.Lines) {
			return Picture{}, fmt.Errorf("read the picture: %q stands outside of it", t.Text)
		}
		p.Screen.Lines[y] = append(p.Screen.Lines[y], Run{Column: columns(t.X - margin), Columns: columns(t.Length),
			Text: t.Text, Style: Style(t.Class)})
	}
	return p, nil
}
