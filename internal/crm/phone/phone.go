package phone

import (
	"bytes"
	_ "embed" // for the table
	"regexp"
	"strings"
)

// table holds the countries' patterns; table_test.go makes it.
//
//go:embed table.tsv
var table string

// region is one line of the table.
type region struct {
	code, id      string // "49", "DE"
	international string // what is dialled before a country code, a pattern
	national      string // what is dialled before a number within the country
	parsing       string // the pattern that finds it, where it is not plain
	transform     string // what takes its place, with $1
	numbers       string // the pattern of all valid numbers

	prefix   *regexp.Regexp // of parsing, once it was needed
	compiled bool
}

// Parser reads numbers. It is not safe for concurrent use.
type Parser struct {
	home      *region // nil when there is none
	regions   map[string][]*region
	automata  map[string]*automaton // by country code
	dialOut   *regexp.Regexp        // of home
	digits    []byte
	candidate []byte
}

// Known reports whether there is a country of two letters such as "DE".
func Known(id string) bool {
	for line := range strings.Lines(table) {
		if _, rest, _ := strings.Cut(line, "\t"); strings.HasPrefix(rest, id+"\t") && len(id) == 2 {
			return true
		}
	}
	return false
}

// NewParser returns a parser that takes numbers without a country code for those
// of a country, "DE"; with "" they are not brought to E.164.
func NewParser(country string) *Parser {
	p := &Parser{regions: map[string][]*region{}, automata: map[string]*automaton{}}
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 7 {
			continue
		}
		r := &region{code: f[0], id: f[1], international: f[2], national: f[3], parsing: f[4], transform: f[5], numbers: f[6]}
		p.regions[r.code] = append(p.regions[r.code], r)
		if r.id == country && country != "" {
			p.home = r
		}
	}
	if p.home != nil {
		p.dialOut, _ = regexp.Compile("^(?:" + p.home.international + ")")
	}
	return p
}

// parsePrefix returns the pattern of what is dialled before a number within the
// country, nil where it is plain.
func (r *region) parsePrefix() *regexp.Regexp {
	if !r.compiled {
		r.compiled = true
		if r.parsing != "" && r.parsing != r.national {
			r.prefix, _ = regexp.Compile("^(?:" + r.parsing + ")")
		}
	}
	return r.prefix
}

// Append appends the E.164 form of raw, and reports whether raw is a valid number
// without an extension.
func (p *Parser) Append(dst, raw []byte) ([]byte, bool) {
	plus, ok := p.collect(raw)
	if !ok {
		return dst, false
	}
	if plus {
		return p.international(dst, p.digits)
	}
	if p.home == nil {
		return dst, false
	}
	if p.dialOut != nil {
		if at := p.dialOut.FindIndex(p.digits); len(at) > 1 && at[1] > 0 {
			if out, ok := p.international(dst, p.digits[at[1]:]); ok {
				return out, true
			}
		}
	}
	if out, ok := p.national(dst, p.home, p.digits); ok {
		return out, true
	}
	if rest, ok := bytes.CutPrefix(p.digits, []byte(p.home.code)); ok {
		return p.national(dst, p.home, rest) // 49171... without the plus
	}
	return dst, false
}

// collect gathers the digits of raw. It reports whether a plus stands before them,
// and whether there is nothing else but the usual marks.
func (p *Parser) collect(raw []byte) (plus, ok bool) {
	p.digits = p.digits[:0]
	raw = bytes.TrimSpace(raw)
	if len(raw) > 4 && bytes.EqualFold(raw[:4], []byte("tel:")) {
		raw = raw[4:]
	}
	open := false
	for i, c := range raw {
		switch {
		case c >= '0' && c <= '9':
			p.digits = append(p.digits, c)
		case c == '+':
			if len(p.digits) > 0 || plus || open && i > 1 {
				return false, false
			}
			plus = true
		case c == '(':
			if open {
				return false, false
			}
			open = true
			if plus && len(p.digits) > 0 && bytes.HasPrefix(raw[i:], []byte("(0)")) {
				// +49 (0)171: the zero is dialled within the country alone.
				rest := append(append([]byte{}, raw[:i]...), raw[i+3:]...)
				return p.collect(rest)
			}
		case c == ')':
			if !open {
				return false, false
			}
			open = false
		case c == ' ', c == '-', c == '.', c == '/':
		default:
			return false, false
		}
	}
	return plus, !open && len(p.digits) >= 5 && len(p.digits) <= 20
}

// international appends a number that begins with its country code.
func (p *Parser) international(dst, digits []byte) ([]byte, bool) {
	for n := 1; n <= 3 && n < len(digits); n++ {
		if regions := p.regions[string(digits[:n])]; regions != nil {
			return p.national(dst, regions[0], digits[n:])
		}
	}
	return dst, false
}

// national appends a number of a region, with or without what is dialled before it
// within the country.
func (p *Parser) national(dst []byte, r *region, number []byte) ([]byte, bool) {
	whole := p.valid(r.code, number)
	stripped, ok := p.strip(r, number)
	if ok && p.valid(r.code, stripped) {
		number = stripped
	} else if !whole {
		return dst, false
	}
	dst = append(dst, '+')
	dst = append(dst, r.code...)
	return append(dst, number...), true
}

// strip takes off what is dialled before a number within the country.
func (p *Parser) strip(r *region, number []byte) ([]byte, bool) {
	re := r.parsePrefix()
	if re == nil {
		rest, ok := bytes.CutPrefix(number, []byte(r.national))
		return rest, ok && r.national != ""
	}
	at := re.FindSubmatchIndex(number)
	if len(at) < 2 || at[1] == 0 {
		return number, false
	}
	last := len(at) - 2
	if r.transform != "" && last >= 2 && at[last] >= 0 {
		p.candidate = re.Expand(p.candidate[:0], []byte(strings.ReplaceAll(r.transform, "$1", "${1}")), number, at)
		p.candidate = append(p.candidate, number[at[1]:]...)
		return p.candidate, true
	}
	return number[at[1]:], true
}

// valid reports whether number is one of the country code.
func (p *Parser) valid(code string, number []byte) bool {
	a := p.automata[code]
	if a == nil {
		var patterns []string
		for _, r := range p.regions[code] {
			if r.numbers != "" {
				patterns = append(patterns, "(?:"+r.numbers+")")
			}
		}
		var err error
		if a, err = newAutomaton(strings.Join(patterns, "|")); err != nil {
			return false
		}
		p.automata[code] = a
	}
	return a.match(number)
}
